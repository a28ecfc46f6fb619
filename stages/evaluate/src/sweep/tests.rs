use super::*;

#[test]
fn the_likeliest_mask_is_not_always_the_best() {
    let of = |dice: f64, predicted: f64| {
        (Some(Overlap { dice, iou: dice / 2.0, precision: None, recall: 0.5 }), predicted)
    };
    let masks = [of(0.2, 0.7), of(0.9, 0.3), of(0.5, 0.7)];
    let dice = |kind| choose(kind, &masks).unwrap().0.unwrap().dice;
    assert_eq!((dice(PromptKind::Multimask), dice(PromptKind::MultimaskOracle)), (0.2, 0.9));
    assert_eq!(choose(PromptKind::Point, &masks[1..2]).unwrap().1, 0.3);
    assert!(matches!(choose(PromptKind::Point, &[]), Err(EvaluateError::Internal(_))));
}

#[test]
fn only_whole_coordinates_are_pixels() {
    assert_eq!(
        [pixel(7.0), pixel(0.0), pixel(7.5), pixel(-1.0), pixel(f64::NAN)],
        [Some(7), Some(0), None, None, None]
    );
}
