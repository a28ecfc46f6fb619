use super::*;
use resect_checkpoint::{NamedTensor, write_safetensors};

#[test]
fn the_mask_of_highest_score_is_taken() {
    assert_eq!(best(&[0.1, 0.9, 0.9], 3), Ok(1));
    assert_eq!(best(&[-3.0], 1), Ok(0));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.safetensors");
    let write = |prompts: usize, masks: usize, scores: &[f32]| {
        let data = (0..prompts * masks * 16).map(|i| (i / 16) as f32).collect();
        let tensors = [
            NamedTensor { name: "logits".into(), shape: vec![prompts, masks, 4, 4], data },
            NamedTensor { name: "iou_scores".into(), shape: vec![scores.len()], data: scores.to_vec() },
        ];
        write_safetensors(&path, tensors, None).unwrap();
        read(&path, Size::new(9, 9), 4, Limits::default())
    };
    assert_eq!(write(1, 3, &[0.2, 0.1, 0.4]), Ok(MaskPrompt::Logits(vec![2.0; 16])));
    assert_eq!(write(1, 1, &[0.2]), Ok(MaskPrompt::Logits(vec![0.0; 16])));
    assert!(write(2, 1, &[0.2, 0.1]).unwrap_err().contains("the logits of 2 prompts"));
    assert!(write(1, 3, &[0.2]).unwrap_err().contains("3 masks and 1 scores"));
    assert!(
        read(&path, Size::new(9, 9), 8, Limits::default())
            .unwrap_err()
            .contains("this model takes [1, masks, 8, 8]")
    );
}

#[test]
fn a_picture_is_a_mask_of_the_images_size() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.png");
    let mut picture = image::GrayImage::from_fn(8, 4, |x, _| image::Luma([if x < 4 { 255 } else { 0 }]));
    picture.save(&path).unwrap();
    let mask = read(&path, Size::new(4, 8), 4, Limits::default());
    assert_eq!(mask, Ok(MaskPrompt::Pixels(Mask::from_fn(Size::new(4, 8), |x, _| x < 4))));
    assert!(
        read(&path, Size::new(8, 4), 4, Limits::default())
            .unwrap_err()
            .contains("the mask has 8x4 pixels, the image 4x8")
    );
    picture.pixels_mut().for_each(|pixel| pixel.0[0] = pixel.0[0].min(1));
    picture.save(&path).unwrap();
    assert!(
        read(&path, Size::new(4, 8), 4, Limits::default()).unwrap_err().contains("its brightest value is 1")
    );
}
