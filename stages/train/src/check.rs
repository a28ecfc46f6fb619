//! Whether a GPU trains as the CPU does.

use crate::TrainError;
use crate::batch::Sample;
use crate::tape_trainer::TapeTrainer;
use crate::trainer::{Outcome, Stepped, Trainer};
use resect_checkpoint::SamConfig;
use resect_device::{DeviceError, NARROW_TOLERANCE, SINGLE_TOLERANCE, compare, compare_whole, norm};
use resect_params::{Precision, TrainParams};
use resect_sam::{Cpu, NamedTensor, PromptEncoder};
use std::collections::BTreeMap;

/// What trainers are made from, besides tensors and a device.
pub struct Make<'a> {
    pub config: &'a SamConfig,
    pub prompts: &'a PromptEncoder<Cpu>,
    pub params: &'a TrainParams,
}

/// How far a tensor's gradient may lie from the CPU's as a whole, in single precision and in a narrow one. Rounded differently, a
/// rectifier passes what it did not, and of long sums most cancels: between two ways over the CPU it was up to 0.11 in bf16. What a
/// wrong kernel gives is about 1 away, or more.
const GRADIENT_TOLERANCE: [f32; 2] = [0.1, 0.5];

/// A tensor's gradient may differ by so much of the whole's norm in any case. That of a key's bias is 0 but for rounding, as a softmax
/// does not see it.
const GRADIENT_FLOOR: f32 = 1e-3;

/// Decodes a batch, learns from it and takes a step of length 0, on a device and on the CPU, with trainers that are dropped
/// afterwards. Logits, loss and the gradient's norm must agree, the largest difference among them, as a share, is returned; and so
/// must the gradient of each tensor.
pub fn agrees<T: Trainer>(
    make: &Make<'_>,
    device: &T::Device,
    tensors: &[NamedTensor],
    batch: &[Sample<'_>],
) -> Result<f32, TrainError> {
    let found = first_step(make.trainer::<T>(device, tensors)?, batch);
    let expected = first_step(make.trainer::<TapeTrainer>(&(), tensors)?, batch);
    let single = make.params.precision == Precision::F32;
    let tolerance = if single { SINGLE_TOLERANCE } else { NARROW_TOLERANCE };
    let mut largest = 0f32;
    for ((what, found), (_, expected)) in found.numbers.iter().zip(&expected.numbers) {
        let difference = compare(what, found, expected, tolerance).map_err(DeviceError::Disagrees)?;
        largest = largest.max(difference);
    }
    let [in_single, in_narrow] = GRADIENT_TOLERANCE;
    let tolerance = if single { in_single } else { in_narrow };
    let least = GRADIENT_FLOOR * norm(expected.gradient.values().flatten().copied());
    for (name, expected) in &expected.gradient {
        let found = found.gradient.get(name).map(Vec::as_slice).unwrap_or_default();
        let what = format!("the gradient of {name} on the first batch, in AdamW's first moment,");
        compare_whole(&what, found, expected, tolerance, least).map_err(DeviceError::Disagrees)?;
    }
    Ok(largest)
}

impl Make<'_> {
    fn trainer<T: Trainer>(&self, device: &T::Device, tensors: &[NamedTensor]) -> Result<T, TrainError> {
        T::new(self.config, tensors.to_vec(), self.prompts, self.params, device)
    }
}

/// What a first step computes.
struct FirstStep {
    /// Each sample's logits, the loss, and the norm of its gradient, each with its name.
    numbers: Vec<(String, Vec<f32>)>,
    /// A share of each tensor's gradient, which the first moment takes: the same of all.
    gradient: BTreeMap<String, Vec<f32>>,
}

fn first_step(mut trainer: impl Trainer, batch: &[Sample<'_>]) -> FirstStep {
    let logits = trainer.logits(batch).into_iter().zip(batch);
    let mut found: Vec<(String, Vec<f32>)> =
        logits.map(|(logits, sample)| (format!("the mask of target {}", sample.name), logits)).collect();
    trainer.step(batch, 0.0);
    for Outcome { losses, stepped } in trainer.outcomes() {
        let losses = losses.iter().map(|loss| loss.total() as f32).collect();
        found.push(("the loss of the first batch".into(), losses));
        // In f16 the first scale of the loss may be too large for the gradient: where one side skips the step, both must.
        let norm = match stepped {
            Stepped::Taken { gradient_norm } => gradient_norm as f32,
            Stepped::Skipped { .. } => 0.0,
        };
        found.push(("the gradient's norm on the first batch".into(), vec![norm]));
    }
    let gradient = trainer.moments().into_iter();
    let gradient =
        gradient.filter_map(|tensor| Some((tensor.name.strip_prefix("first.")?.to_owned(), tensor.data)));
    FirstStep { numbers: found, gradient: gradient.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::Values;
    use crate::tensor_trainer::TensorTrainer;
    use burn_autodiff::Autodiff;
    use resect_checkpoint::{Part, part_tensors, random};
    use resect_data::embeddings::Embedding;
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
        let names: Vec<_> =
            part_tensors(&config, Part::MaskDecoder).into_iter().map(|spec| spec.name).collect();
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
}
