//! Whether a GPU trains as the CPU does.

use crate::TrainError;
use crate::batch::Sample;
use crate::tape_trainer::TapeTrainer;
use crate::trainer::{Outcome, Stepped, Trainer};
use resect_checkpoint::SamConfig;
use resect_device::{DeviceError, NARROW_TOLERANCE, SINGLE_TOLERANCE, compare, compare_whole, norm};
use resect_numeric::Precision;
use resect_sam::{Cpu, NamedTensor, PromptEncoder};
use resect_train_params::TrainParams;
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
mod tests;
