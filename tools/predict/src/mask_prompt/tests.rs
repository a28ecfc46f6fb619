use super::*;
use resect_checkpoint::{NamedTensor, write_safetensors};

#[test]
fn the_mask_of_highest_score_is_taken() {
    assert_eq!(highest(&[0.1, 0.9, 0.9]), 1);
    assert_eq!(highest(&[-3.0]), 0);
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
    assert_eq!(write(1, 3, &[0.2, 0.1, 0.4]).unwrap(), [2.0; 16]);
    assert_eq!(write(1, 1, &[0.2]).unwrap(), [0.0; 16]);
    assert!(write(2, 1, &[0.2, 0.1]).unwrap_err().contains("the logits of 2 prompts"));
    assert!(write(1, 3, &[0.2]).unwrap_err().contains("3 masks and 1 scores"));
    assert!(
        read(&path, Size::new(9, 9), 8, Limits::default())
            .unwrap_err()
            .contains("this model takes [1, masks, 8, 8]")
    );
}

#[test]
fn a_picture_lies_on_the_grid_as_the_image_does() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.png");
    let mut picture = image::GrayImage::from_fn(8, 4, |x, _| image::Luma([if x < 4 { 255 } else { 0 }]));
    picture.save(&path).unwrap();
    let logits = read(&path, Size::new(4, 8), 4, Limits::default()).unwrap();
    let signs: Vec<bool> = logits.iter().map(|logit| *logit > 0.0).collect();
    let row = [true, true, false, false];
    assert_eq!(signs, [row, row, [false; 4], [false; 4]].concat());
    assert!(logits.iter().all(|logit| (logit.abs() - (0.999f32 / 0.001).ln()).abs() < 1e-4));
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
