use super::*;
use crate::Weights;
use resect_checkpoint::{Checkpoint, SamConfig, write_random};
use resect_prompt::BoxPrompt;

#[test]
fn a_device_of_other_weights_is_told_from_one_that_agrees() {
    let dir = tempfile::tempdir().unwrap();
    let predictors = [1, 2].map(|seed| {
        let path = dir.path().join(seed.to_string());
        write_random(&path, &SamConfig::named("tiny").unwrap(), seed).unwrap();
        let checkpoint = Checkpoint::open(&path).unwrap();
        Predictor::<Cpu>::load(checkpoint, Weights::Base, 8, &Default::default()).unwrap()
    });
    let original = Size::new(200, 256);
    let pixels: Vec<u8> = (0..3 * original.pixels()).map(|i| (i * 7919 % 251) as u8).collect();
    let prompt = Prompt::of_box("20,10,90,80".parse::<BoxPrompt>().unwrap());
    // The CPU stands for a GPU; a model of other weights for one that computes something else.
    let compared = |device: &Predictor<Cpu>| {
        device.compare_with_cpu(&predictors[0], "polyp.jpg", (&pixels, original), &prompt, true)
    };
    assert_eq!(compared(&predictors[0]).unwrap(), Agreement { embedding: 0.0, prediction: 0.0 });
    let error = compared(&predictors[1]).unwrap_err().to_string();
    for part in ["the embedding of polyp.jpg differs by", "is allowed", "--device cpu"] {
        assert!(error.contains(part), "{part} is not in\n{error}");
    }
}

#[test]
fn masks_and_scores_are_compared_each_by_its_own_magnitude() {
    let dir = tempfile::tempdir().unwrap();
    write_random(dir.path(), &SamConfig::named("tiny").unwrap(), 1).unwrap();
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    let predictor = Predictor::<Cpu>::load(checkpoint, Weights::Base, 8, &Default::default()).unwrap();
    let original = Size::new(60, 70);
    let values = predictor.decoders().shape().iter().product::<usize>();
    let values: Vec<f32> = (0..values).map(|i| (i as f32 * 0.37).sin()).collect();
    let session = predictor.set_embedding(Embedding::F32(&values), original).unwrap();
    let of = |bounds: &str| {
        let prompt = Prompt::of_box(bounds.parse::<BoxPrompt>().unwrap());
        session.predict(&[prompt], false).unwrap().remove(0)
    };
    let (first, other) = (of("1,2,30,40"), of("5,5,60,50"));
    assert_eq!(compare("target polyp-7", &first, &first).unwrap(), 0.0);
    let largest = first.masks()[0].logits.iter().fold(0f32, |most, logit| most.max(logit.abs()));
    let mut moved = first.masks()[0].clone();
    moved.logits[0] += 0.01 * largest;
    let moved = Prediction::new(vec![moved]);
    let difference = compare("target polyp-7", &moved, &first).unwrap();
    assert!((difference - 0.01).abs() < 1e-3, "{difference}");
    let mut unsure = first.masks()[0].clone();
    unsure.predicted_iou += 0.5 + first.masks()[0].predicted_iou.abs();
    let unsure = Prediction::new(vec![unsure]);
    let error = compare("target polyp-7", &unsure, &first).unwrap_err().to_string();
    assert!(error.contains("the predicted IoU of target polyp-7 differs by"), "{error}");
    let error = compare("target polyp-7", &other, &first).unwrap_err().to_string();
    assert!(error.contains("the mask of target polyp-7 differs by"), "{error}");
}
