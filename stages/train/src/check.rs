//! Whether a GPU trains as the CPU does.
//!
//! Two steps say so, each taken on both. [`solves_fixed_problem`] comes first: always the same small model, in single precision, so
//! that what is computed wrong cannot be taken for what is rounded. [`agrees`] then has the user's model, precision and first batch.

mod problem;

use crate::batch::Sample;
use crate::trainer::{Outcome, Setup, Stepped, Trainer, TrainingDevice};
use crate::{OnCpu, TrainError};
use problem::Problem;
use resect_checkpoint::NamedTensor;
use resect_device::{DeviceError, NARROW_TOLERANCE, SINGLE_TOLERANCE, compare, compare_whole, norm};
use resect_numeric::Precision;
use resect_train_params::TrainParams;
use std::collections::BTreeMap;

/// What may differ, as a share.
struct Tolerance {
    /// Of logits, loss and the gradient's norm: of the largest magnitude.
    numbers: f32,
    /// Of a tensor's gradient as a whole: of its norm.
    gradient: f32,
    /// Of a tensor's gradient in any case: of the norm of all gradients. That of a key's bias is 0 but for rounding, as a softmax does
    /// not see it.
    floor: f32,
}

/// On the first batch, in single precision and in a narrow one. Rounded differently, a rectifier passes what it did not, and of long
/// sums most cancels: between two ways over the CPU a tensor's gradient was up to 0.11 away in bf16. What [`FIXED`] has shown to be
/// right need only be found in use here.
const FIRST_BATCH: [Tolerance; 2] = [
    Tolerance { numbers: SINGLE_TOLERANCE, gradient: 0.1, floor: 1e-3 },
    Tolerance { numbers: NARROW_TOLERANCE, gradient: 0.5, floor: 1e-3 },
];

/// On the fixed problem. A kernel that leaves out a fifth of what it sums, or of what it writes, is some 0.2 away or more. Operands
/// rounded to the 10 bits of TF32 make 0.002 of a tensor's gradient, and 2e-6 of all gradients of a key's bias.
const FIXED: Tolerance = Tolerance { numbers: SINGLE_TOLERANCE, gradient: 0.02, floor: 1e-5 };

/// Decodes a batch, learns from it and takes a step of length 0, on a device and on the CPU, with trainers that are dropped
/// afterwards. Logits, loss and the gradient's norm must agree, the largest difference among them, as a share, is returned; and so
/// must the gradient of each tensor.
pub fn agrees<T: Trainer>(
    setup: &Setup<'_>,
    device: &T::Device,
    tensors: &[NamedTensor],
    batch: &[Sample<'_>],
) -> Result<f32, TrainError> {
    let [in_single, in_narrow] = FIRST_BATCH;
    let tolerance = if setup.params.precision == Precision::F32 { in_single } else { in_narrow };
    compared::<T>(setup, device, tensors, batch, "the first batch", &tolerance)
}

/// Does the same with a problem of its own, whatever is to be trained: two samples on the model `tiny` with random weights, in single
/// precision. The loss is that of `params`.
pub fn solves_fixed_problem<T: Trainer>(device: &T::Device, params: &TrainParams) -> Result<f32, TrainError> {
    let problem = Problem::new()?;
    let batch = problem.batch();
    let params = TrainParams {
        batch_size: batch.len() as u32,
        accumulation: 1,
        loss: params.loss,
        loss_weights: params.loss_weights.clone(),
        padding: params.padding,
        ..TrainParams::default()
    };
    let Problem { config, prompts, roles, .. } = &problem;
    let setup = Setup { config, roles, prompts, params: &params, base: None };
    compared::<T>(&setup, &device.apart(), &problem.tensors, &batch, "the fixed problem", &FIXED)
}

/// Takes a first step on a device and on the CPU, and compares all that came of it. `problem` names the batch in messages.
fn compared<T: Trainer>(
    setup: &Setup<'_>,
    device: &T::Device,
    tensors: &[NamedTensor],
    batch: &[Sample<'_>],
    problem: &str,
    tolerance: &Tolerance,
) -> Result<f32, TrainError> {
    let found = first_step(T::new(setup, tensors.to_vec(), device)?, batch, problem)?;
    let expected = first_step(OnCpu::new(setup, tensors.to_vec(), &Default::default())?, batch, problem)?;
    let mut largest = 0f32;
    for ((what, found), (_, expected)) in found.numbers.iter().zip(&expected.numbers) {
        let difference = compare(what, found, expected, tolerance.numbers).map_err(DeviceError::Disagrees)?;
        largest = largest.max(difference);
    }
    let least = tolerance.floor * norm(expected.gradient.values().flatten().copied());
    for (name, expected) in &expected.gradient {
        let found = found.gradient.get(name).map(Vec::as_slice).unwrap_or_default();
        let what = format!("the gradient of {name} on {problem}, in AdamW's first moment,");
        compare_whole(&what, found, expected, tolerance.gradient, least).map_err(DeviceError::Disagrees)?;
    }
    Ok(largest)
}

/// What a first step computes.
struct FirstStep {
    /// Each sample's logits, the loss, and the norm of its gradient, each with its name.
    numbers: Vec<(String, Vec<f32>)>,
    /// A share of each tensor's gradient, which the first moment takes: the same of all.
    gradient: BTreeMap<String, Vec<f32>>,
}

fn first_step(
    mut trainer: impl Trainer,
    batch: &[Sample<'_>],
    problem: &str,
) -> Result<FirstStep, TrainError> {
    let logits = trainer.logits(batch).into_iter().zip(batch);
    let mut found: Vec<(String, Vec<f32>)> = logits
        .map(|(logits, sample)| (format!("the mask of target {} of {problem}", sample.name), logits))
        .collect();
    trainer.step(batch, 0.0)?;
    for Outcome { losses, stepped } in trainer.outcomes()? {
        let losses = losses.iter().map(|loss| loss.total() as f32).collect();
        found.push((format!("the loss of {problem}"), losses));
        // In f16 the first scale of the loss may be too large for the gradient: where one side skips the step, both must.
        let norm = match stepped {
            Stepped::Taken { gradient_norm } => gradient_norm as f32,
            Stepped::Skipped { .. } => 0.0,
        };
        found.push((format!("the gradient's norm on {problem}"), vec![norm]));
    }
    let gradient = trainer.moments().into_iter();
    let gradient =
        gradient.filter_map(|tensor| Some((tensor.name.strip_prefix("first.")?.to_owned(), tensor.data)));
    Ok(FirstStep { numbers: found, gradient: gradient.collect() })
}

#[cfg(test)]
mod tests;
