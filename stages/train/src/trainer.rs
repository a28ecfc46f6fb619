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

/// What learning from a group of batches came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The loss of each batch.
    pub losses: Vec<Values>,
    /// How the step ended that its gradients made.
    pub stepped: Stepped,
}

/// A decoder that learns on some device.
pub trait Trainer: Sized {
    /// What names a device, with what is kept there; by default the first.
    type Device: Default;

    /// Groups that may be learnt from before the outcome of the first is asked for. A device that is asked after each waits for the
    /// host, and the host for it.
    const GROUPS_AHEAD: usize;

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

    /// Learns from a group of samples, in batches of `batch_size`: each batch's loss is the mean over its samples, and their sum,
    /// divided by `params.accumulation`, makes one step. Operands of products are rounded to `params.precision`. What
    /// [`resect_sam::is_idle`] names only decays.
    ///
    /// Where a loss or the norm is not finite, no weight changes. In f16, where it is the norm alone, that step is skipped. Else, of
    /// the steps whose outcome has not been asked for, no later one changes anything either.
    fn learn(&mut self, group: &[Sample<'_>], batch_size: usize, learning_rate: f64);

    /// What came of the groups since the last call, in their order.
    fn outcomes(&mut self) -> Vec<Outcome>;

    /// The logits of each sample's mask, one after the other; in single precision, in which a checkpoint is evaluated.
    fn logits(&mut self, batch: &[Sample<'_>]) -> Vec<Vec<f32>>;

    /// The decoder's tensors, to be saved.
    fn tensors(&self) -> Vec<NamedTensor>;

    /// The moving average of the tensors over the steps that were taken, with `params.ema` and once there was one.
    fn average(&self) -> Option<Vec<NamedTensor>>;

    /// Writes what the optimiser remembers into a folder.
    ///
    /// # Errors
    /// Files that cannot be written.
    fn save(&self, dir: &Path) -> Result<(), TrainError>;

    /// Reads what [`Trainer::save`] wrote, after `steps` steps that were taken, and takes their average up again.
    ///
    /// # Errors
    /// Files that cannot be read, or belong to another decoder.
    fn restore(
        &mut self,
        dir: &Path,
        steps: u32,
        average: Option<Vec<NamedTensor>>,
    ) -> Result<(), TrainError>;
}
