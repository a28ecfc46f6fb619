use super::*;

#[test]
fn points_belong_to_the_one_box_and_several_boxes_are_several_prompts() {
    let a = ("1,2,3,4".parse().unwrap(), "a".to_owned());
    let b = ("5,6,7,8".parse().unwrap(), "b".to_owned());
    let point: PointPrompt = "1,2,1".parse().unwrap();
    let arrange = |boxes: &[_], points: &[_], mask: Option<&str>| {
        arrange(boxes.to_vec(), points.to_vec(), mask.map(PathBuf::from), "p".into())
    };
    assert_eq!(arrange(&[], &[], None), Err(ArrangeError::Nothing));
    let [only] = arrange(&[], &[point, point], None).unwrap().try_into().unwrap();
    assert_eq!((only.bounds, only.points.len()), (None, 2));
    let [only] = arrange(std::slice::from_ref(&a), &[point], Some("m")).unwrap().try_into().unwrap();
    assert_eq!((only.bounds, only.points.len(), only.from.as_str()), (Some(a.0), 1, "a"));
    assert!(only.mask.is_some());
    assert_eq!(arrange(&[a.clone(), b.clone()], &[], None).unwrap().len(), 2);
    assert_eq!(arrange(&[a.clone(), b.clone()], &[point], None), Err(ArrangeError::Points(2)));
    assert_eq!(arrange(&[a, b], &[], Some("m")), Err(ArrangeError::Mask(2)));
}
