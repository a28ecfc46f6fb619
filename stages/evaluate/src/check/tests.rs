use super::*;
use resect_segment::{PredictedMask, Prediction};

#[test]
fn the_decoder_that_is_wrong_is_named() {
    let masks = |logit: f32, predicted_iou| {
        Prediction::new(vec![PredictedMask { logits: vec![logit, -3.0], predicted_iou }])
    };
    let of = |untuned: f32, tuned: f32| Answer { untuned: masks(untuned, 0.5), tuned: masks(tuned, 0.5) };
    let largest = same("a", &of(2.0, 2.03), &of(2.0, 2.0)).unwrap();
    assert!((largest - 0.01).abs() < 1e-6, "{largest}");
    for (found, what) in [(of(0.0, 2.0), "the untuned decoder"), (of(2.0, f32::NAN), "the tuned decoder")] {
        let error = same("polyp-7", &found, &of(2.0, 2.0)).unwrap_err().to_string();
        assert!(error.contains(&format!("the mask of target polyp-7 by {what} differs by")), "{error}");
    }
    let unsure = Answer { untuned: masks(2.0, 0.5), tuned: masks(2.0, 0.1) };
    let error = same("polyp-7", &unsure, &of(2.0, 2.0)).unwrap_err().to_string();
    assert!(error.contains("the predicted IoU of target polyp-7 by the tuned decoder differs by"), "{error}");
}
