//! What learns: a decoder with its optimiser.

use crate::TrainError;
use crate::batch::Sample;
use crate::loss::Values;
use resect_checkpoint::SamConfig;
use resect_params::TrainParams;
use resect_sam::{Cpu, NamedTensor, PromptEncoder};
use std::path::Path;

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stepped {
    /// The parameters moved.
    Taken {
        /// Euclidean norm of the gradient, before clipping (`torch.nn.utils.get_total_norm`).
        gradient_norm: f64,
    },
    /// With f16 alone: the gradient was not finite, so nothing changed, neither parameters nor moments nor what only decays.
    Skipped {
        /// What the loss is multiplied by from now on: half of before.
        loss_scale: f64,
    },
}

/// A decoder that learns on some device.
pub trait Trainer: Sized {
    /// What names a device; by default the first.
    type Device: Default;

    /// Whether it is what others are compared with when training starts ([`crate::run`]).
    const IS_REFERENCE: bool;

    /// A trainer that has not taken a step.
    ///
    /// # Errors
    /// Tensors that are no decoder of this configuration.
    fn new(
        config: &SamConfig,
        tensors: Vec<NamedTensor>,
        prompts: &PromptEncoder<Cpu>,
        params: &TrainParams,
        device: &Self::Device,
    ) -> Result<Self, TrainError>;

    /// The loss of a batch. Its gradient, divided by the count of batches that make a step, is added to those before. Operands of
    /// products are rounded to `params.precision`.
    fn learn(&mut self, batch: &[Sample<'_>]) -> Values;

    /// Takes a step with the gradients since the last one, or skips it. What [`resect_sam::is_idle`] names only decays. Where the
    /// norm is not finite, no weight changes.
    fn step(&mut self, learning_rate: f64) -> Stepped;

    /// The logits of each sample's mask, one after the other; in single precision, in which a checkpoint is evaluated.
    fn logits(&mut self, batch: &[Sample<'_>]) -> Vec<Vec<f32>>;

    /// The decoder's tensors, to be saved.
    fn tensors(&self) -> Vec<NamedTensor>;

    /// Writes what the optimiser remembers into a folder.
    ///
    /// # Errors
    /// Files that cannot be written.
    fn save(&self, dir: &Path) -> Result<(), TrainError>;

    /// Reads what [`Trainer::save`] wrote, after `steps` steps that were taken.
    ///
    /// # Errors
    /// Files that cannot be read, or belong to another decoder.
    fn restore(&mut self, dir: &Path, steps: u32) -> Result<(), TrainError>;
}
