//! Dynamic loss scaling, as `torch.amp.GradScaler` does it: what makes half precision hold small gradients.
//!
//! The loss is multiplied by the scale, so that gradients which enter products are not rounded to nothing below 6e-8, and what
//! comes out is divided by it. A gradient that is not finite then came of too large a scale: its step is skipped and the scale is
//! halved. After many good steps it is doubled.

use crate::TrainError;
use crate::trainer::Stepped;
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, ElementConversion, Tensor};
use resect_data::{read_json, write_json};
use resect_numeric::Precision;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// File of the scale in what a restart resumes from.
const FILE: &str = "loss-scale.json";
/// The first scale, as PyTorch's.
const START: f64 = 65536.0;
/// Good steps in a row after which the scale is doubled.
const GROWTH_INTERVAL: u32 = 2000;
/// Beyond the range of a single no gradient would be finite.
const LARGEST: f64 = (1u128 << 127) as f64;
/// A smaller scale helps nothing any more: gradients that are still not finite have another cause.
const LEAST: f64 = 1.0 / 16384.0;

/// A scale as it is saved.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SavedScale {
    /// A power of two.
    scale: f64,
    /// Good steps since the scale last changed.
    good_steps: u32,
}

/// The scale of the loss, on a device, so that no step waits for the result of another. It is a power of two: scaling rounds
/// nothing.
#[derive(Clone, Debug)]
pub(crate) struct LossScale<B: Backend> {
    /// `[1]`
    scale: Tensor<B, 1>,
    /// `[1]`, a whole number.
    good_steps: Tensor<B, 1>,
}

impl<B: Backend> LossScale<B> {
    /// The scale before the first step; none in a precision that needs none.
    pub(crate) fn new(precision: Precision, device: &B::Device) -> Option<Self> {
        let first = SavedScale { scale: START, good_steps: 0 };
        (precision == Precision::F16).then(|| Self::of(first, device))
    }

    fn of(saved: SavedScale, device: &B::Device) -> Self {
        Self {
            scale: Tensor::full([1], saved.scale, device),
            good_steps: Tensor::full([1], saved.good_steps, device),
        }
    }

    /// Waits for the scale.
    fn fetched(&self) -> SavedScale {
        let number = |tensor: &Tensor<B, 1>| tensor.clone().into_scalar().elem::<f64>();
        SavedScale { scale: number(&self.scale), good_steps: number(&self.good_steps) as u32 }
    }

    /// What the loss is multiplied by, and gradients are divided by, `[1]`.
    pub(crate) fn scale(&self) -> Tensor<B, 1> {
        self.scale.clone()
    }

    /// Notes a step, `[1]`: where it was taken, many of which double the scale, and where its gradient was not finite, which halves it.
    pub(crate) fn update(&mut self, taken: &Tensor<B, 1, Bool>) {
        let good_steps = self.good_steps.clone() + 1;
        let grows = good_steps.clone().equal_elem(GROWTH_INTERVAL);
        let doubled = self.scale.clone().mul_scalar(2.0).clamp_max(LARGEST);
        let good = self.scale.clone().mask_where(grows.clone(), doubled);
        self.scale = self.scale.clone().mul_scalar(0.5).mask_where(taken.clone(), good);
        let kept = taken.clone().bool_and(grows.bool_not());
        self.good_steps = good_steps.zeros_like().mask_where(kept, good_steps);
    }

    /// Writes a scale, where there is one, into a folder.
    pub(crate) fn save(scale: Option<&Self>, dir: &Path) -> Result<(), TrainError> {
        scale.map_or(Ok(()), |scale| Ok(write_json(&dir.join(FILE), &scale.fetched())?))
    }

    /// Reads what [`LossScale::save`] wrote, where there is a scale.
    pub(crate) fn restore(scale: Option<&mut Self>, dir: &Path) -> Result<(), TrainError> {
        if let Some(scale) = scale {
            *scale = Self::of(read_json(&dir.join(FILE))?, &scale.scale.device());
        }
        Ok(())
    }
}

/// What the history says of a step: the norm of its gradient, infinite where it was skipped.
///
/// # Errors
/// A step that was skipped at the least scale of the loss.
pub(crate) fn gradient_norm(stepped: Stepped, epoch: u32, step: u32) -> Result<f64, TrainError> {
    match stepped {
        Stepped::Taken { gradient_norm } => Ok(gradient_norm),
        Stepped::Skipped { loss_scale } if loss_scale < LEAST => Err(TrainError::NoLossScale { epoch, step }),
        Stepped::Skipped { .. } => Ok(f64::INFINITY),
    }
}

#[cfg(test)]
mod tests;
