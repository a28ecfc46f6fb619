use super::*;
use resect_checkpoint::{SamConfig, write_random};
use resect_geometry::{Size, View};
use resect_images::ImageRef;
use resect_numeric::Dtype;

#[test]
fn an_encoder_of_other_weights_is_told_from_one_that_agrees() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = [1, 2].map(|seed| {
        let path = dir.path().join(seed.to_string());
        write_random(&path, &SamConfig::named("tiny").unwrap(), seed).unwrap();
        Checkpoint::open(&path).unwrap()
    });
    let resized = Size::new(256, 256);
    let pixels: Vec<u8> = (0..3 * resized.pixels()).map(|i| (i * i % 251) as u8).collect();
    let image = ImageRef { id: "polyp-3", pixel_hash: "", original: resized, resized, pixels: &pixels };
    let row = Row { image, view: View::Identity };
    // An encoder of other weights stands for a GPU that computes something else.
    let single = Precision::F32;
    let encoder = Encoder::load(&on_cpu, &checkpoints[0], Dtype::F32, single).unwrap();
    assert_eq!(agrees(&encoder, &checkpoints[0], row).unwrap(), 0.0);
    let error = agrees(&encoder, &checkpoints[1], row).unwrap_err().to_string();
    for part in ["the embedding of image polyp-3 differs by", "is allowed", "--device cpu"] {
        assert!(error.contains(part), "{part} is not in\n{error}");
    }
}
