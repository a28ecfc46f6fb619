use super::*;
use crate::{BoxPrompt, PointPrompt};

const ORIGINAL: Size = Size::new(50, 100);
const RESIZED: Size = Size::new(512, 1024);

#[test]
fn each_part_is_scaled_as_the_image_is() {
    let prompt = Prompt {
        bounds: Some("10,5,30.5,40".parse().unwrap()),
        points: vec!["3,4,0".parse().unwrap(), "99.5,49,1".parse().unwrap()],
        mask: None,
    };
    let found = prompt.to_model(ORIGINAL, RESIZED, 256).unwrap();
    assert_eq!(found.bounds, Some([102.4, 51.2, 312.32, 409.6]));
    let point = |x, y, label| ModelPoint { x, y, label };
    assert_eq!(
        found.points,
        [point(30.72, 40.96, Label::Background), point(1018.88, 501.76, Label::Foreground)]
    );
    assert_eq!(found.form(), Form { bounds: true, points: 2, mask: false });
}

#[test]
fn a_mask_in_pixels_lies_on_the_grid_as_the_image_does() {
    let left = Mask::from_fn(Size::new(4, 8), |x, _| x < 4);
    let logits = mask_logits(&left, 4);
    let row = [CERTAIN, CERTAIN, -CERTAIN, -CERTAIN];
    assert_eq!(logits, [row, row, [-CERTAIN; 4], [-CERTAIN; 4]].concat());
    assert!((CERTAIN - (0.999f32 / 0.001).ln()).abs() < 1e-4);
    let prompt = |mask| Prompt { bounds: None, points: Vec::new(), mask: Some(mask) };
    let to_model = |mask, original| prompt(mask).to_model(original, Size::new(8, 16), 4);
    let of_pixels = to_model(MaskPrompt::Pixels(left.clone()), Size::new(4, 8)).unwrap();
    assert_eq!(of_pixels.mask.as_ref(), Some(&logits));
    let of_logits = to_model(MaskPrompt::Logits(logits), Size::new(4, 8)).unwrap();
    assert_eq!(of_logits, of_pixels);
    let wrong = to_model(MaskPrompt::Pixels(left), Size::new(5, 8)).unwrap_err().to_string();
    assert_eq!(wrong, "the mask has 8x4 pixels, the image 8x5");
    let wrong = to_model(MaskPrompt::Logits(vec![0.0; 15]), Size::new(4, 8)).unwrap_err().to_string();
    assert_eq!(wrong, "the mask has 15 logits, the low-res grid 4 x 4");
}

#[test]
fn what_lies_outside_the_image_is_no_prompt_of_the_model() {
    let outside: BoxPrompt = "0,0,101,20".parse().unwrap();
    let prompt = Prompt { bounds: Some(outside), points: Vec::new(), mask: None };
    assert!(matches!(prompt.to_model(ORIGINAL, RESIZED, 256), Err(PromptError::BoxOutside { .. })));
    let outside: PointPrompt = "100,0,1".parse().unwrap();
    let prompt = Prompt { bounds: None, points: vec![outside], mask: None };
    assert!(matches!(prompt.to_model(ORIGINAL, RESIZED, 256), Err(PromptError::PointOutside { .. })));
}
