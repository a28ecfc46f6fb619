use super::*;
use crate::loss::Values;
use crate::tensor_trainer::TensorTrainer;
use burn_autodiff::Autodiff;
use resect_checkpoint::{Part, part_tensors, random};
use resect_embeddings::Embedding;
use resect_geometry::Size;
use resect_sam::Sam;
use std::path::Path;

type Tensors = TensorTrainer<Autodiff<Cpu>>;

const LOGITS: usize = 0;
const LOSS: usize = 1;
const GRADIENT: usize = 2;
const TENSOR: usize = 3;

/// A backend that computes one thing wrong.
struct Wrong<const WHAT: usize>(Tensors);

impl<const WHAT: usize> Trainer for Wrong<WHAT> {
    type Device = <Tensors as Trainer>::Device;

    const IS_REFERENCE: bool = false;

    const STEPS_AT_ONCE: usize = Tensors::STEPS_AT_ONCE;

    fn new(
        config: &SamConfig,
        tensors: Vec<NamedTensor>,
        prompts: &PromptEncoder<Cpu>,
        params: &TrainParams,
        device: &Self::Device,
    ) -> Result<Self, TrainError> {
        Tensors::new(config, tensors, prompts, params, device).map(Self)
    }

    fn step(&mut self, group: &[Sample<'_>], learning_rate: f64) {
        self.0.step(group, learning_rate);
    }

    fn outcomes(&mut self) -> Vec<Outcome> {
        let mut outcomes = self.0.outcomes();
        match WHAT {
            LOSS => outcomes[0].losses = vec![Values::default()],
            GRADIENT => outcomes[0].stepped = Stepped::Taken { gradient_norm: f64::NAN },
            _ => {}
        }
        outcomes
    }

    fn logits(&mut self, batch: &[Sample<'_>]) -> Vec<Vec<f32>> {
        let mut logits = self.0.logits(batch);
        if WHAT == LOGITS {
            // The last line of the last mask was never written.
            logits[batch.len() - 1].iter_mut().rev().take(256).for_each(|logit| *logit = 0.0);
        }
        logits
    }

    fn tensors(&self) -> Vec<NamedTensor> {
        self.0.tensors()
    }

    fn average(&self) -> Option<Vec<NamedTensor>> {
        self.0.average()
    }

    fn moments(&self) -> Vec<NamedTensor> {
        let mut moments = self.0.moments();
        if WHAT == TENSOR {
            // The gradient of one small tensor is another's, which no norm tells.
            let name = "first.mask_decoder.transformer.layers.1.layer_norm2.bias";
            let tensor = moments.iter_mut().find(|tensor| tensor.name == name).unwrap();
            tensor.data.reverse();
        }
        moments
    }

    fn save(&self, dir: &Path) -> Result<(), TrainError> {
        self.0.save(dir)
    }

    fn restore(
        &mut self,
        dir: &Path,
        steps: u32,
        average: Option<Vec<NamedTensor>>,
    ) -> Result<(), TrainError> {
        self.0.restore(dir, steps, average)
    }
}

#[test]
fn whatever_a_step_gets_wrong_is_named() {
    let config = SamConfig::named("tiny").unwrap();
    let names: Vec<_> = part_tensors(&config, Part::MaskDecoder).into_iter().map(|spec| spec.name).collect();
    let tensors: Vec<NamedTensor> =
        random(&config, 0).filter(|tensor| names.contains(&tensor.name)).collect();
    let prompts = Sam::random(&config, 0, &Default::default()).unwrap().prompt_encoder;
    let (channels, side) = (config.embedding_channels(), config.low_res());
    let places = channels * config.grid() * config.grid();
    let embedding: Vec<f32> = (0..places).map(|i| (i * i % 1009) as f32 / 504.5 - 1.0).collect();
    let tokens: Vec<f32> = (0..2 * channels).map(|i| (i as f32).sin()).collect();
    let mask: Vec<u8> = (0..side * side).map(|i| u8::from(i % side > i / side)).collect();
    let image = Size::square(side as u32);
    let sample = |name| Sample {
        name,
        embedding: Embedding::F32(&embedding),
        row: 0,
        tokens: &tokens,
        mask: &mask,
        image,
    };
    let batch = [sample("a"), sample("b")];
    let params = TrainParams::default();
    let make = Make { config: &config, prompts: &prompts, params: &params };

    // What is rounded on either side of a tie is not wrong.
    for precision in [Precision::Bf16, Precision::F16] {
        let params = TrainParams { precision, ..Default::default() };
        let make = Make { config: &config, prompts: &prompts, params: &params };
        agrees::<Tensors>(&make, &Default::default(), &tensors, &batch).unwrap();
    }
    let difference = agrees::<Tensors>(&make, &Default::default(), &tensors, &batch).unwrap();
    assert!(difference < 1e-4, "{difference}");
    let logits = agrees::<Wrong<LOGITS>>(&make, &Default::default(), &tensors, &batch);
    let loss = agrees::<Wrong<LOSS>>(&make, &Default::default(), &tensors, &batch);
    let gradient = agrees::<Wrong<GRADIENT>>(&make, &Default::default(), &tensors, &batch);
    let tensor = agrees::<Wrong<TENSOR>>(&make, &Default::default(), &tensors, &batch);
    for (found, what) in [
        (logits, "the mask of target b differs by"),
        (loss, "the loss of the first batch differs by"),
        (gradient, "the gradient's norm on the first batch differs by NaN"),
        (tensor, "layers.1.layer_norm2.bias on the first batch, in AdamW's first moment, differs by"),
    ] {
        let error = found.unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
}
