use super::*;
use resect_checkpoint::write_random;
use resect_encoder::numbers;
use resect_layers::Cpu;
use resect_prompt::{BoxPrompt, MaskPrompt, PromptError};

const ORIGINAL: Size = Size::new(50, 64);

fn predictor(dir: &std::path::Path) -> Predictor<Cpu> {
    write_random(dir, &SamConfig::named("tiny").unwrap(), 5).unwrap();
    let checkpoint = Checkpoint::open(dir).unwrap();
    Predictor::load(checkpoint, Weights::Base, 8, &Default::default()).unwrap()
}

fn pixels(frame: &Frame) -> Vec<u8> {
    (0..3 * frame.resized().pixels()).map(|i| (i * 7919 % 251) as u8).collect()
}

fn boxed(text: &str) -> Prompt {
    Prompt::of_box(text.parse::<BoxPrompt>().unwrap())
}

#[test]
fn an_image_set_by_its_pixels_gives_what_its_features_give() {
    let dir = tempfile::tempdir().unwrap();
    let predictor = predictor(dir.path());
    let frame = Frame::new(predictor.config(), ORIGINAL);
    let pixels = pixels(&frame);
    assert!(predictor.encoder.get().is_none(), "loaded when it is needed");
    let by_pixels = predictor.set_image(&pixels, ORIGINAL).unwrap();
    assert_eq!(by_pixels.frame(), &frame);
    let normalised = predictor.normalised(&pixels, &frame).unwrap();
    let values = numbers(predictor.encoder().unwrap().forward(normalised).unwrap());
    let by_features = predictor.set_embedding(Embedding::F32(&values), ORIGINAL).unwrap();
    let prompts = [boxed("3,4,40.5,30"), Prompt::of_points(["20,9,1".parse().unwrap()]), boxed("0,0,9,9")];
    for multimask in [false, true] {
        let predictions = by_pixels.predict(&prompts, multimask).unwrap();
        assert_eq!(predictions, by_features.predict(&prompts, multimask).unwrap());
        assert_eq!(predictions.len(), 3);
        let mask = &predictions[0].masks()[predictions[0].best()];
        let upscaled = mask.upscaled(&frame).unwrap();
        assert_eq!(upscaled.len(), ORIGINAL.pixels());
        let inside: Vec<bool> = upscaled.iter().map(|logit| *logit > 0.0).collect();
        assert_eq!(mask.mask(&frame).unwrap().pixels(), inside);

        // The logits of a prediction are a prompt again.
        let again = Prompt { mask: Some(MaskPrompt::Logits(mask.logits.clone())), ..prompts[0].clone() };
        assert_ne!(by_pixels.predict(&[again], multimask).unwrap()[0], predictions[0]);
    }
}

#[test]
fn what_does_not_fit_is_refused_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let predictor = predictor(dir.path());
    let frame = Frame::new(predictor.config(), ORIGINAL);
    let pixels = pixels(&frame);
    let refused = predictor.set_image(&pixels[1..], ORIGINAL).err().unwrap();
    assert!(matches!(refused, SegmentError::Image(_)), "{refused}");
    let refused = predictor.set_embedding(Embedding::F32(&[0.0; 7]), ORIGINAL).err().unwrap();
    assert!(refused.to_string().starts_with("the stored embedding has 7 numbers, the base"), "{refused}");

    let session = predictor.set_image(&pixels, ORIGINAL).unwrap();
    let refused = session.predict(&[boxed("1,1,9,9"), boxed("1,1,65,9")], false).unwrap_err();
    let SegmentError::Prompt { index: 1, source: PromptError::BoxOutside { .. } } = refused else {
        panic!("{refused}")
    };
    let refused = frame.mask(&[0.0; 5]).unwrap_err().to_string();
    assert!(refused.starts_with("5 logits were given for a low-res grid of"), "{refused}");
    let side = predictor.config().image_size() as u32;
    let refused = Frame::of_resized(predictor.config(), ORIGINAL, Size::new(5, side + 1)).unwrap_err();
    assert!(matches!(refused, SegmentError::Resized { .. }), "{refused}");
}
