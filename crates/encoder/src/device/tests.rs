use super::*;
use resect_checkpoint::{SamConfig, write_random};

#[test]
fn an_encoder_of_other_weights_is_told_from_one_that_agrees() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = [1, 2].map(|seed| {
        let path = dir.path().join(seed.to_string());
        write_random(&path, &SamConfig::named("tiny").unwrap(), seed).unwrap();
        Checkpoint::open(&path).unwrap()
    });
    let side = checkpoints[0].config().image_size();
    let pixels: Vec<f32> = (0..3 * side * side).map(|i| (i * i % 251) as f32 / 125.5 - 1.0).collect();
    // An encoder of other weights stands for a GPU that computes something else.
    let encoder = Encoder::<Cpu>::load(&checkpoints[0], Precision::F32, &Default::default()).unwrap();
    let compared = |checkpoint: &Checkpoint| {
        let reference = Encoder::<Cpu>::load(checkpoint, Precision::F32, &Default::default()).unwrap();
        compare_with_cpu(&encoder, &reference, Place::Neck, "the embedding of polyp-3", pixels.clone())
    };
    let agreement = compared(&checkpoints[0]).unwrap();
    assert_eq!(agreement.difference, 0.0);
    assert_eq!(agreement.expected, numbers(encoder.forward(pixels.clone()).unwrap()));
    let error = compared(&checkpoints[1]).unwrap_err().to_string();
    for part in ["the embedding of polyp-3 differs by", "is allowed", "--device cpu"] {
        assert!(error.contains(part), "{part} is not in\n{error}");
    }
    let error = encoder.forward(vec![0.0; 3 * side * side + 1]).unwrap_err();
    assert!(matches!(error, EncoderError::Pixels { .. }), "{error}");
}
