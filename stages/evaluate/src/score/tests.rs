use super::*;

#[test]
fn cells_belong_to_the_image_by_their_centres() {
    for (side, cells) in
        [(1024, 256), (1023, 256), (1022, 255), (1021, 255), (1019, 255), (1018, 254), (2, 1)]
    {
        let found = image_cells(Size::new(side, 1024), 256, 1024);
        let expected = (0..256).filter(|i| (f64::from(*i) + 0.5) * 4.0 < f64::from(side)).count().max(1);
        assert_eq!((found.height as usize, found.width), (expected, 256), "{side}");
        assert_eq!(found.height, cells, "{side}");
    }
}

#[test]
fn probabilities_count_within_the_image_alone() {
    let size = Size::new(2, 3);
    let truth = Mask::from_fn(size, |x, y| x == 0 && y == 0);
    let logits = [3.0f32.ln(), -(3.0f32.ln()), 50.0, 50.0, 50.0, 50.0];
    let found = figures(&Predicted::of_logits(size, &logits), &truth, 1.0, Size::new(1, 2));
    assert!((found.mean_absolute_error.unwrap() - 0.25).abs() < 1e-6);
    assert_eq!(found.precision, Some(0.2));
    let sure = Predicted { mask: truth.clone(), probabilities: None };
    assert_eq!(figures(&sure, &truth, 1.0, size).mean_absolute_error, Some(0.0));
}

#[test]
fn without_truth_there_is_no_figure_and_without_prediction_no_distance() {
    let size = Size::new(4, 4);
    let some = Mask::from_fn(size, |x, _| x < 2);
    let of = |mask: &Mask| Predicted { mask: mask.clone(), probabilities: None };
    assert_eq!(figures(&of(&some), &Mask::empty(size), 1.0, size), Figures::default());
    let missed = figures(&of(&Mask::empty(size)), &some, 1.0, size);
    assert_eq!((missed.dice, missed.precision, missed.hd95), (Some(0.0), None, None));
    assert_eq!((missed.recall, missed.surface_dice), (Some(0.0), Some(0.0)));
}
