use super::*;

#[test]
fn a_constant_stays_constant_and_a_crop_keeps_the_left_half() {
    let flat = upscale_logits(&[1.5; 16], 4, 16, Size::new(8, 16), Size::new(20, 40));
    assert_eq!(flat.len(), 800);
    assert!(flat.iter().all(|&v| v == 1.5));
    // Left half of the grid positive; the image fills only the left half of the input.
    let halves: Vec<f32> = (0..16).map(|i| if i % 4 < 2 { 1.0 } else { -1.0 }).collect();
    let up = upscale_logits(&halves, 4, 16, Size::new(16, 7), Size::new(16, 7));
    assert!(up.iter().all(|&v| v > 0.0));
}
