//! `train`: embeddings and targets to a tuned mask decoder.
//!
//! Only the mask decoder learns. The image encoder's output is read from the cache, the prompt encoder is frozen. The
//! recipe is the published one (box prompts with outward jitter, MONAI's DiceCELoss, AdamW, a cosine per epoch,
//! gradient accumulation), with a cosine per step and clipping for who wants them; `tests/curve.rs` holds its loss curve to
//! PyTorch's. Each epoch is scored on the validation part with tight boxes, and the best one is kept.
//!
//! Every random choice depends on the seed, the epoch and the target alone ([`resect_seed`]), so neither a restart nor
//! the number of threads changes a bit of the result.
//!
//! The loop is here, what learns behind [`Trainer`]: [`TapeTrainer`] on the CPU, [`TensorTrainer`] wherever burn runs.

mod adamw;
mod batch;
mod check;
mod loss;
mod parameters;
mod resume;
mod schedule;
mod tape_trainer;
mod tensor_trainer;
mod trainer;
mod validate;

pub use adamw::AdamW;
pub use batch::Sample;
use batch::Samples;
pub use loss::{DiceCe, SampleLoss, Values, dice_ce};
pub use tape_trainer::TapeTrainer;
pub use tensor_trainer::TensorTrainer;
pub use trainer::Trainer;

use resect_checkpoint::{Checkpoint, Part, part_tensors, write_safetensors};
use resect_data::checkpoint::{DECODER_FILE, Epoch, FORMAT, SelectedBy, Step, Summary};
use resect_data::targets::{Split, Targets};
use resect_data::{DataError, embeddings::Embeddings, table, write_json};
use resect_device::{Device, DeviceError};
use resect_params::{Runtime, TrainParams};
use resect_sam::{NamedTensor, PromptEncoder};
use resect_stage::Reporter;
use resume::Progress;
use schedule::LearningRate;
use std::path::Path;

/// The artifacts `train` reads.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// `embeddings`.
    pub embeddings: &'a Path,
    /// `targets`.
    pub targets: &'a Path,
    /// `base`: the checkpoint that is tuned.
    pub base: &'a Path,
}

/// What goes wrong in training.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The device cannot be used, or computes something else.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// An artifact's files.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The base checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] resect_checkpoint::Error),
    /// The model.
    #[error(transparent)]
    Model(#[from] resect_sam::Error),
    /// No target to train on.
    #[error("there is no target in the training part; check [split]")]
    NothingToTrain,
    /// An image without an embedding.
    #[error("target {0} has no embedding; run embed on the same images")]
    NoEmbedding(String),
    /// Artifacts of different models.
    #[error("{0}; embeddings, targets and base checkpoint must belong together")]
    Misfit(String),
    /// The loss is no number any more.
    #[error(
        "the loss of epoch {epoch}, step {step} is {loss} (samples {}); lower train.learning_rate or look at these \
         samples",
        samples.join(", ")
    )]
    NotFinite {
        /// From 1.
        epoch: u32,
        /// From 1, over all epochs.
        step: u32,
        /// NaN or infinity.
        loss: f64,
        /// The batch.
        samples: Vec<String>,
    },
    /// A warm-up that is all there is.
    #[error(
        "train.warmup_steps is {warmup}, but all of training takes {steps} steps; lower it or raise train.epochs"
    )]
    WarmUp {
        /// Steps of the warm-up.
        warmup: u32,
        /// Optimiser steps over all epochs.
        steps: u64,
    },
    /// What a restart would resume from cannot be written or read.
    #[error("cannot {action} {}: {message}", path.display())]
    State {
        /// "write" or "read".
        action: &'static str,
        /// File or folder.
        path: std::path::PathBuf,
        /// Why.
        message: String,
    },
}

/// [`run_on`] the CPU.
///
/// # Errors
/// See [`TrainError`].
pub fn run(
    inputs: &Inputs<'_>,
    params: &TrainParams,
    runtime: &Runtime,
    out: &Path,
    state: &Path,
    report: &Reporter,
) -> Result<(), TrainError> {
    run_on(Device::Cpu, inputs, params, runtime, out, state, report)
}

/// Tunes the decoder and writes the `checkpoint` artifact to `out`. `state` holds what a restart resumes from.
///
/// On a GPU, each start takes a step on a first batch there and on the CPU, and both must agree ([`resect_device::compare`]).
///
/// # Errors
/// See [`TrainError`].
pub fn run_on(
    device: Device,
    inputs: &Inputs<'_>,
    params: &TrainParams,
    runtime: &Runtime,
    out: &Path,
    state: &Path,
    report: &Reporter,
) -> Result<(), TrainError> {
    match device {
        Device::Cpu => run_with::<TapeTrainer>(&(), inputs, params, runtime, out, state, report),
        #[cfg(feature = "cuda")]
        Device::Cuda(index) => {
            use resect_device::check_memory;
            let (device, gpu) = resect_sam::open_cuda(index)?;
            let base = Checkpoint::open(inputs.base)?;
            let training = |samples| resect_sam::memory::training(base.config(), samples);
            check_memory(index, training, params.batch_size as usize, "train.batch_size")?;
            let decoding = |prompts| resect_sam::memory::decoding(base.config(), prompts);
            check_memory(index, decoding, runtime.decode_batch.max(1), "runtime.decode_batch")?;
            report.note(format!("computes on {gpu}"));
            type OnGpu = TensorTrainer<burn::backend::Autodiff<resect_sam::Cuda>>;
            run_with::<OnGpu>(&device, inputs, params, runtime, out, state, report)
        }
        #[cfg(not(feature = "cuda"))]
        Device::Cuda(_) => Err(DeviceError::NotBuilt { device }.into()),
    }
}

/// [`run_on`] the device of a trainer of choice.
///
/// # Errors
/// See [`TrainError`].
pub fn run_with<T: Trainer>(
    device: &T::Device,
    inputs: &Inputs<'_>,
    params: &TrainParams,
    runtime: &Runtime,
    out: &Path,
    state: &Path,
    report: &Reporter,
) -> Result<(), TrainError> {
    let base = Checkpoint::open(inputs.base)?;
    let embeddings = Embeddings::open(inputs.embeddings)?;
    let targets = Targets::open(inputs.targets)?;
    let samples = Samples::new(&targets, &embeddings, base.config())?;
    let prompts = PromptEncoder::load(&base, &Default::default())?;
    let train = targets.of(Split::Train);
    let validation = targets.of(Split::Validation);
    if train.is_empty() {
        return Err(TrainError::NothingToTrain);
    }
    let batches = train.len().div_ceil(params.batch_size as usize);
    let steps = u64::from(params.epochs) * batches.div_ceil(params.accumulation as usize) as u64;
    let rate = LearningRate::new(params, steps)?;
    parameters::table(base.config()).into_iter().for_each(|line| report.note(line));

    let (mut trainer, mut progress) = match resume::load::<T>(state, base.config(), &prompts, params, device)?
    {
        Some(resumed) => {
            report.note(format!("resumed after epoch {}", resumed.1.epochs.last().map_or(0, |e| e.epoch)));
            resumed
        }
        None => {
            let mut trainer = T::new(base.config(), decoder_tensors(&base)?, &prompts, params, device)?;
            let score = validate::score(&mut trainer, &prompts, &samples, &validation, runtime)?;
            (trainer, Progress::new(score))
        }
    };

    if !T::IS_REFERENCE {
        let chosen = &train[..train.len().min(params.batch_size as usize)];
        let boxes: Vec<_> = chosen.iter().map(|&i| targets.rows()[i].bounding_box()).collect();
        let tokens = samples.tokens(chosen, &boxes, &prompts)?;
        let make = check::Make { config: base.config(), prompts: &prompts, params };
        let batch = samples.with_tokens(chosen, &tokens);
        let difference = check::agrees::<T>(&make, device, &trainer.tensors(), &batch)?;
        report.note(format!("agrees with the CPU on a first step to {difference:.1e}"));
    }

    let total = u64::from(params.epochs) * batches as u64;
    for epoch in progress.next_epoch()..=params.epochs {
        let order = batch::order(&train, &targets, params, epoch);
        let tokens = samples.tokens(&order, &batch::jitter(&targets, &order, params, epoch), &prompts)?;
        let epoch_samples = samples.with_tokens(&order, &tokens);
        let mut group = Group::default();
        let mut epoch_loss = 0.0;
        for (number, batch) in epoch_samples.chunks(params.batch_size as usize).enumerate() {
            // Divided by the full count even in an incomplete last group, as the published loop does.
            let values = trainer.learn(batch);
            if !values.total().is_finite() {
                return Err(TrainError::NotFinite {
                    epoch,
                    step: progress.step() + 1,
                    loss: values.total(),
                    samples: batch.iter().map(|sample| sample.name.to_owned()).collect(),
                });
            }
            epoch_loss += values.total();
            group.add(values);

            if group.batches == params.accumulation || number + 1 == batches {
                let mean = group.take();
                let step = progress.step() + 1;
                let learning_rate = rate.of(epoch, step);
                let gradient_norm = trainer.step(learning_rate);
                progress.steps.push(Step {
                    epoch,
                    step,
                    loss: mean.total(),
                    dice_loss: mean.dice,
                    ce_loss: mean.ce,
                    learning_rate,
                    gradient_norm,
                });
            }
            let done = u64::from(epoch - 1) * batches as u64 + number as u64 + 1;
            let phase = match progress.best_dice() {
                Some(dice) => format!(
                    "epoch {epoch}/{}, loss {:.4}, best Dice {dice:.4}",
                    params.epochs,
                    values.total()
                ),
                None => format!("epoch {epoch}/{}, loss {:.4}", params.epochs, values.total()),
            };
            report.progress(&phase, done, total, "batches");
        }
        let score = validate::score(&mut trainer, &prompts, &samples, &validation, runtime)?;
        let row = Epoch {
            epoch,
            train_loss: Some(epoch_loss / batches as f64),
            validation_loss: score.map(|s| s.loss),
            validation_dice: score.map(|s| s.dice),
            learning_rate: progress.steps.last().map(|step| step.learning_rate),
        };
        progress.end_epoch(row, || trainer.tensors());
        resume::save(state, &trainer, &progress)?;
    }
    finish(out, progress, report)
}

/// The decoder as it comes.
fn decoder_tensors(base: &Checkpoint) -> Result<Vec<NamedTensor>, resect_checkpoint::Error> {
    let specs = part_tensors(base.config(), Part::MaskDecoder);
    specs.iter().map(|spec| base.tensor(&spec.name)).collect()
}

/// The losses of the batches of one optimiser step.
#[derive(Default)]
struct Group {
    sum: Values,
    batches: u32,
}

impl Group {
    fn add(&mut self, values: Values) {
        self.sum.dice += values.dice;
        self.sum.ce += values.ce;
        self.batches += 1;
    }

    /// The mean loss; empty afterwards.
    fn take(&mut self) -> Values {
        let Self { sum, batches } = std::mem::take(self);
        Values { dice: sum.dice / f64::from(batches), ce: sum.ce / f64::from(batches) }
    }
}

/// Writes the kept weights and the history.
fn finish(out: &Path, progress: Progress, report: &Reporter) -> Result<(), TrainError> {
    let epochs = progress.epochs.last().map_or(0, |e| e.epoch);
    let kept = progress.kept;
    let tensors: Vec<NamedTensor> = progress.kept_tensors;
    write_safetensors(&out.join(DECODER_FILE), tensors, None)?;
    table::write(&out.join("history.parquet"), &progress.steps)?;
    table::write(&out.join("epochs.parquet"), &progress.epochs)?;
    let validation_dice = progress.epochs.iter().find(|e| e.epoch == kept).and_then(|e| e.validation_dice);
    let untuned = progress.epochs.first().and_then(|e| e.validation_dice);
    let selected_by = match validation_dice {
        Some(_) => SelectedBy::ValidationDice,
        None => SelectedBy::LastEpoch,
    };
    report.note(match (validation_dice, untuned) {
        (Some(dice), Some(untuned)) => {
            format!("kept epoch {kept} of {epochs}: validation Dice {dice:.4} (untuned {untuned:.4})")
        }
        _ => format!("kept the last epoch, {kept}: there is no validation part to choose by"),
    });
    let summary = Summary { format: FORMAT.into(), epoch: kept, epochs, selected_by, validation_dice };
    write_json(&out.join("checkpoint.json"), &summary)?;
    Ok(())
}
