use super::*;
use crate::ModelTrainer;
use crate::loss::Values;
use crate::model::Roles;
use resect_checkpoint::{Part, SamConfig, part_tensors, random};
use resect_embeddings::Embedding;
use resect_geometry::Size;
use resect_layers::Reference;
use resect_sam::PromptEncoder;
use resect_train_params::Loss;
use std::path::Path;

/// The layers, the loss and AdamW in tensors.
type Tensors = ModelTrainer<Reference>;

const LOGITS: usize = 0;
const LOSS: usize = 1;
const GRADIENT: usize = 2;
const TENSOR: usize = 3;
const ROWS: usize = 4;
/// Operands and products have the 10 bits of TF32, as f16 has, whatever is asked for.
const ROUNDED: usize = 5;

/// The tensor of whose gradient [`ROWS`] misses a fifth.
const WITHOUT_ROWS: &str = "mask_decoder.transformer.layers.0.cross_attn_image_to_token.v_proj.weight";

/// A backend that computes one thing wrong.
struct Wrong<const WHAT: usize>(Tensors);

impl<const WHAT: usize> Trainer for Wrong<WHAT> {
    type Device = <Tensors as Trainer>::Device;

    const IS_REFERENCE: bool = false;

    const STEPS_AT_ONCE: usize = Tensors::STEPS_AT_ONCE;

    fn new(setup: &Setup<'_>, tensors: Vec<NamedTensor>, device: &Self::Device) -> Result<Self, TrainError> {
        let precision = if WHAT == ROUNDED { Precision::F16 } else { setup.params.precision };
        let params = TrainParams { precision, ..setup.params.clone() };
        Tensors::new(&Setup { params: &params, ..*setup }, tensors, device).map(Self)
    }

    fn step(&mut self, group: &[Sample<'_>], learning_rate: f64) -> Result<(), TrainError> {
        self.0.step(group, learning_rate)
    }

    fn outcomes(&mut self) -> Result<Vec<Outcome>, TrainError> {
        let mut outcomes = self.0.outcomes()?;
        match WHAT {
            LOSS => outcomes[0].losses = vec![Values::default()],
            GRADIENT => outcomes[0].stepped = Stepped::Taken { gradient_norm: f64::NAN },
            _ => {}
        }
        Ok(outcomes)
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
        if WHAT == ROWS {
            let name = format!("first.{WITHOUT_ROWS}");
            let tensor = moments.iter_mut().find(|tensor| tensor.name == name).unwrap();
            let written = tensor.shape[0] * 4 / 5 * tensor.shape[1];
            tensor.data[written..].fill(0.0);
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
    let prompts = PromptEncoder::random(&config, 0, &Default::default()).unwrap();
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
    let roles = Roles::new(&config, &params.tuning()).unwrap();
    let setup = Setup { config: &config, roles: &roles, prompts: &prompts, params: &params, base: None };

    // What is rounded on either side of a tie is not wrong. Nor can a fifth of a gradient's rows be told from it, which only the fixed
    // problem refuses.
    for precision in [Precision::Bf16, Precision::F16] {
        let params = TrainParams { precision, ..Default::default() };
        let setup = Setup { params: &params, ..setup };
        agrees::<Tensors>(&setup, &Default::default(), &tensors, &batch).unwrap();
        agrees::<Wrong<ROWS>>(&setup, &Default::default(), &tensors, &batch).unwrap();
    }
    let difference = agrees::<Tensors>(&setup, &Default::default(), &tensors, &batch).unwrap();
    assert!(difference < 1e-4, "{difference}");
    let logits = agrees::<Wrong<LOGITS>>(&setup, &Default::default(), &tensors, &batch);
    let loss = agrees::<Wrong<LOSS>>(&setup, &Default::default(), &tensors, &batch);
    let gradient = agrees::<Wrong<GRADIENT>>(&setup, &Default::default(), &tensors, &batch);
    let tensor = agrees::<Wrong<TENSOR>>(&setup, &Default::default(), &tensors, &batch);
    for (found, what) in [
        (logits, "the mask of target b of the first batch differs by"),
        (loss, "the loss of the first batch differs by"),
        (gradient, "the gradient's norm on the first batch differs by NaN"),
        (tensor, "layers.1.layer_norm2.bias on the first batch, in AdamW's first moment, differs by"),
    ] {
        let error = found.unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
}

#[test]
fn the_fixed_problem_refuses_what_rounding_does_not_explain() {
    let place = Default::default();
    // Whatever is to be trained in.
    let params = TrainParams { precision: Precision::Bf16, ..Default::default() };
    let difference = solves_fixed_problem::<Tensors>(&place, &params).unwrap();
    assert!(difference < 1e-4, "{difference}");
    let focal = TrainParams { loss: Loss::DiceFocal, ..params.clone() };
    solves_fixed_problem::<Wrong<ROUNDED>>(&place, &focal).unwrap();
    solves_fixed_problem::<Wrong<ROUNDED>>(&place, &params).unwrap();
    for (found, what) in [
        (solves_fixed_problem::<Wrong<ROWS>>(&place, &params), WITHOUT_ROWS),
        (solves_fixed_problem::<Wrong<TENSOR>>(&place, &params), "layers.1.layer_norm2.bias"),
        (solves_fixed_problem::<Wrong<LOGITS>>(&place, &params), "the mask of target 2 of the fixed problem"),
        (solves_fixed_problem::<Wrong<LOSS>>(&place, &params), "the loss of the fixed problem"),
    ] {
        let error = found.unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
}

#[test]
fn the_fixed_problem_leaves_no_embedding_on_the_device() {
    let place = <Tensors as Trainer>::Device::default();
    solves_fixed_problem::<Tensors>(&place, &TrainParams::default()).unwrap();
    assert_eq!(place.resident(), 0);
}

/// A fifth of any tensor's gradient is more than what may differ in any case; that of a key's bias is 0 but for rounding.
#[test]
fn the_fixed_problem_teaches_every_tensor() {
    let problem = Problem::new().unwrap();
    let params = TrainParams::default();
    let Problem { config, roles, prompts, .. } = &problem;
    let setup = Setup { config, roles, prompts, params: &params, base: None };
    let trainer = OnCpu::new(&setup, problem.tensors.clone(), &Default::default()).unwrap();
    let step = first_step(trainer, &problem.batch(), "a test").unwrap();
    let least = FIXED.floor * norm(step.gradient.values().flatten().copied());
    for (name, gradient) in &step.gradient {
        let share = norm(gradient.iter().copied()) / least;
        assert!(share > 10.0 || name.ends_with("k_proj.bias"), "{name}: {share}");
    }
}
