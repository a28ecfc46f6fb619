//! What learns: a model with its optimiser.

use crate::TrainError;
use crate::batch::Sample;
use crate::loss::Values;
use crate::model::Roles;
use resect_checkpoint::{Checkpoint, NamedTensor, SamConfig};
use resect_layers::Cpu;
use resect_sam::PromptEncoder;
use resect_train_params::TrainParams;
use std::path::Path;

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stepped {
    /// The parameters moved, unless the norm or the loss of a batch is not finite.
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

/// The result of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The loss of each batch of the group.
    pub losses: Vec<Values>,
    /// How the step ended.
    pub stepped: Stepped,
}

impl Outcome {
    /// Whether the parameters moved.
    pub fn is_taken(&self) -> bool {
        let finite = self.losses.iter().all(|loss| loss.total().is_finite());
        finite && matches!(self.stepped, Stepped::Taken { gradient_norm } if gradient_norm.is_finite())
    }
}

/// What trainers are made from, besides tensors and a device.
#[derive(Clone, Copy)]
pub struct Setup<'a> {
    /// The model's sizes.
    pub config: &'a SamConfig,
    /// What is tuned.
    pub roles: &'a Roles,
    /// The prompt encoder, which is frozen.
    pub prompts: &'a PromptEncoder<Cpu>,
    /// The settings.
    pub params: &'a TrainParams,
    /// Where the tensors come from that the model computes with and that are not tuned.
    pub base: Option<&'a Checkpoint>,
}

/// Where a model learns.
pub trait TrainingDevice: Default {
    /// The same device, with no embeddings held and none of those that others hold.
    fn apart(&self) -> Self;
}

/// A model that learns on some device.
///
/// Steps may be under way when [`Trainer::step`] returns; [`Trainer::outcomes`] waits for them. So a device need not be waited for
/// after each step. A step whose loss is not finite, or whose norm is not without being skipped for it, changes nothing, and neither
/// does any step after it.
pub trait Trainer: Sized {
    /// What names a device; by default the first.
    type Device: TrainingDevice;

    /// Whether it is what others are compared with when training starts ([`crate::run`]).
    const IS_REFERENCE: bool;

    /// Steps after which outcomes should be asked for, at the latest.
    const STEPS_AT_ONCE: usize;

    /// A trainer that has not taken a step. `tensors` are those that are tuned.
    ///
    /// # Errors
    /// Tensors that are not those that are tuned; a base that lacks others.
    fn new(setup: &Setup<'_>, tensors: Vec<NamedTensor>, device: &Self::Device) -> Result<Self, TrainError>;

    /// Takes a step with the gradients of a group, or skips it: batches of `params.batch_size` samples, the last of which may be
    /// smaller. What is minimised is the sum of the batches' losses, each the mean over its samples, divided by
    /// `params.accumulation`. Operands of products are rounded to `params.precision`. What [`resect_sam::is_idle`] names only decays.
    ///
    /// # Errors
    /// Numbers of earlier steps that the device did not send.
    fn step(&mut self, group: &[Sample<'_>], learning_rate: f64) -> Result<(), TrainError>;

    /// The result of each step since this was last called, in order.
    ///
    /// # Errors
    /// Numbers that the device did not send.
    fn outcomes(&mut self) -> Result<Vec<Outcome>, TrainError>;

    /// The logits of each sample's mask, one after the other, by the weights that are kept: their average where one is taken and a
    /// step was. In single precision, in which a checkpoint is evaluated.
    fn logits(&mut self, batch: &[Sample<'_>]) -> Vec<Vec<f32>>;

    /// The tuned tensors, to be saved.
    fn tensors(&self) -> Vec<NamedTensor>;

    /// Their moving average over the steps whose outcomes are known (`params.ema`), where one is taken and a step was.
    fn average(&self) -> Option<Vec<NamedTensor>>;

    /// AdamW's moments of what learns, by the tensors' names after `first.` and `second.`, to be saved.
    fn moments(&self) -> Vec<NamedTensor>;

    /// Writes what the optimiser remembers into a folder.
    ///
    /// # Errors
    /// Files that cannot be written.
    fn save(&self, dir: &Path) -> Result<(), TrainError>;

    /// Reads what [`Trainer::save`] wrote, after `steps` steps that were taken and gave the average.
    ///
    /// # Errors
    /// Files that cannot be read, or belong to another decoder; an average that does.
    fn restore(
        &mut self,
        dir: &Path,
        steps: u32,
        average: Option<Vec<NamedTensor>>,
    ) -> Result<(), TrainError>;
}
