//! Whether a GPU trains as the CPU does.

use crate::TrainError;
use crate::batch::Sample;
use crate::tape_trainer::TapeTrainer;
use crate::trainer::{Outcome, Stepped, Trainer};
use resect_checkpoint::SamConfig;
use resect_device::{DeviceError, NARROW_TOLERANCE, SINGLE_TOLERANCE, compare};
use resect_params::{Precision, TrainParams};
use resect_sam::{Cpu, NamedTensor, PromptEncoder};

/// What trainers are made from, besides tensors and a device.
pub struct Make<'a> {
    pub config: &'a SamConfig,
    pub prompts: &'a PromptEncoder<Cpu>,
    pub params: &'a TrainParams,
}

/// Decodes a batch, learns from it and takes a step of length 0, on a device and on the CPU, with trainers that are dropped
/// afterwards. Logits, loss and the gradient's norm must agree; the largest difference among them, as a share.
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
    for ((what, found), (_, expected)) in found.iter().zip(&expected) {
        let difference = compare(what, found, expected, tolerance).map_err(DeviceError::Disagrees)?;
        largest = largest.max(difference);
    }
    Ok(largest)
}

impl Make<'_> {
    fn trainer<T: Trainer>(&self, device: &T::Device, tensors: &[NamedTensor]) -> Result<T, TrainError> {
        T::new(self.config, tensors.to_vec(), self.prompts, self.params, device)
    }
}

/// Each sample's logits, the loss, and the norm of its gradient, each with its name.
fn first_step(mut trainer: impl Trainer, batch: &[Sample<'_>]) -> Vec<(String, Vec<f32>)> {
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
    found
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

        let difference = agrees::<Tensors>(&make, &Default::default(), &tensors, &batch).unwrap();
        assert!(difference < 1e-4, "{difference}");
        let logits = agrees::<Wrong<LOGITS>>(&make, &Default::default(), &tensors, &batch);
        let loss = agrees::<Wrong<LOSS>>(&make, &Default::default(), &tensors, &batch);
        let gradient = agrees::<Wrong<GRADIENT>>(&make, &Default::default(), &tensors, &batch);
        for (found, what) in [
            (logits, "the mask of target b differs by"),
            (loss, "the loss of the first batch differs by"),
            (gradient, "the gradient's norm on the first batch differs by NaN"),
        ] {
            let error = found.unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }
}
