//! What the loss needs of a backend.

use crate::loss::Objective;
use burn::tensor::backend::Backend;
use burn::tensor::{FloatDType, Tensor};
use burn_autodiff::Autodiff;
use resect_geometry::Size;
use resect_sam::Cpu;

/// A backend on which a loss is computed, and with gradients, on which it is gone back from.
///
/// Its method is written here with tensors. Backends for GPUs replace it, and its gradient, by a few kernels.
pub trait LossBackend: Backend {
    /// The loss of logits `[n, 1, s, s]` against masks of 0 and 1 of the same shape, in any format: the weighted terms summed over
    /// samples, times `share`, `[1]`. Beside it each sample's Dice term and pixel-wise term, `[n, 2]`, which are there to be shown.
    /// `images` says how much of the grid each sample's image covers.
    fn loss(
        objective: Objective,
        logits: Tensor<Self, 4>,
        masks: Tensor<Self, 4>,
        images: &[Size],
        share: f64,
    ) -> (Tensor<Self, 1>, Tensor<Self, 2>) {
        let terms = objective.terms(logits, masks.cast(FloatDType::F32), images);
        let loss = objective.sum(&terms).mul_scalar(share);
        (loss, Tensor::stack(vec![terms.dice, terms.pixelwise], 1))
    }
}

impl LossBackend for Cpu {}

impl LossBackend for Autodiff<Cpu> {}
