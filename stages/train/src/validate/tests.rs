use super::*;
use resect_train_params::Padding;

#[test]
fn dice_of_small_masks() {
    let of = |padding, image, logits: &[f32], mask: &[u8]| {
        let objective = Objective::new(&TrainParams { padding, ..Default::default() });
        hard_dice(objective, image, logits, mask)
    };
    let (whole, top, left) = (Size::square(2), Size::new(1, 2), Size::new(2, 1));
    let (logits, mask) = ([1.0, 1.0, -1.0, 0.0], [1, 0, 1, 0]);
    assert_eq!(of(Padding::Counted, whole, &logits, &mask), Some(0.5));
    assert_eq!(of(Padding::Counted, top, &logits, &mask), Some(0.5));
    assert_eq!(of(Padding::Ignored, whole, &logits, &mask), Some(0.5));
    assert_eq!(of(Padding::Ignored, top, &logits, &mask), Some(2.0 / 3.0));
    assert_eq!(of(Padding::Ignored, left, &logits, &mask), Some(2.0 / 3.0));
    assert_eq!(of(Padding::Ignored, top, &[1.0, 0.0, 1.0, 1.0], &[1, 0, 0, 0]), Some(1.0));
    let one = Size::square(1);
    assert_eq!(of(Padding::Counted, one, &[-1.0], &[0]), None);
    assert_eq!(of(Padding::Counted, one, &[1.0], &[0]), None);
    assert_eq!(of(Padding::Counted, one, &[-1.0], &[1]), Some(0.0));
}
