//! `train`: features and targets to a tuned model.
//!
//! By default the mask decoder alone learns: the image encoder's output is read from the cache, and the prompt encoder is frozen. With
//! `[train.encoder]` the image encoder learns, too, as a whole or by LoRA ([`resect_tuning`]); what comes before its first tuned block is
//! read from the cache. The recipe is the published one (box prompts with outward jitter, MONAI's DiceCELoss, AdamW, a cosine per epoch,
//! gradient accumulation), with other losses and prompts, a cosine per step and clipping for who wants them; `tests/curve.rs`
//! holds its loss curve to PyTorch's. Each epoch is scored on the validation part with prompts that no draw moves, and the best
//! one is kept, or the last; `train.patience` ends training early, and `train.ema` scores and keeps a moving average of the
//! weights.
//!
//! With `train.augment` an epoch sees each target flipped or turned, on an embedding that `embed` made of the image so seen.
//!
//! Every random choice depends on the seed, the epoch and the target alone ([`resect_seed`]), so neither a restart nor
//! the number of threads changes a bit of the result.
//!
//! The loop is `tuning.rs`; a [`Trainer`] learns: [`ModelTrainer`], on any backend.

mod adamw;
mod augment;
mod average;
mod backend;
mod batch;
mod check;
mod clock;
#[cfg(feature = "cube")]
mod cube;
mod features;
mod layout;
mod loss;
mod loss_scale;
mod memory;
mod model;
mod model_trainer;
mod parameters;
mod prompt;
mod resident;
mod resume;
mod sample_loss;
mod schedule;
mod trainer;
mod tuning;
mod validate;

pub use adamw::AdamWStep;
use augment::Seen;
pub use backend::TrainingBackend;
pub use batch::Sample;
use batch::Samples;
use features::Features;
pub use loss::{Objective, Terms, Values};
pub use model::{Role, Roles};
pub use model_trainer::ModelTrainer;
pub use resident::OnDevice;
pub use sample_loss::SampleLoss;
pub use trainer::{Outcome, Setup, Stepped, Trainer, TrainingDevice};

use burn_autodiff::Autodiff;
use resect_checkpoint::{Checkpoint, write_safetensors};
use resect_checkpoint_records::{FORMAT, SelectedBy, Summary, TUNED_FILE};
use resect_data::{DataError, write_json};
use resect_device::{Device, DeviceError};
use resect_geometry::View;
use resect_layers::Cpu;
use resect_params::Runtime;
use resect_prompt::Prompt;
use resect_sam::PromptEncoder;
use resect_stage::Reporter;
use resect_tables::table;
use resect_target_records::Split;
use resect_targets::Targets;
use resect_train_params::{Keep, TrainParams};
use resect_tuning::EncoderTune;
#[cfg(feature = "cuda")]
use resident::Share;
use resume::Progress;
use schedule::LearningRate;
use std::path::{Path, PathBuf};
use tuning::{Setting, Tuning};
use validate::Validation;

/// The artifacts `train` reads.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// `embeddings`: features at the place where the tuned part of the model begins. None where the model takes pixels.
    pub embeddings: Option<&'a Path>,
    /// `images`, where the model takes pixels.
    pub images: Option<&'a Path>,
    /// `targets`.
    pub targets: &'a Path,
    /// `base`: the checkpoint that is tuned.
    pub base: &'a Path,
    /// `adapter`: low-rank additions in peft's format that training goes on from.
    pub adapter: Option<&'a Path>,
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
    /// A row of the history.
    #[error("the history of the training cannot be logged")]
    Log(#[from] table::NotARow),
    /// The base checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] resect_checkpoint::Error),
    /// The model.
    #[error(transparent)]
    Model(#[from] resect_sam::Error),
    /// What is tuned does not fit the model.
    #[error(transparent)]
    Tuning(#[from] resect_tuning::TuningError),
    /// An artifact that the choice of what is tuned needs.
    #[error("internal error: training from {place} needs the artifact `{artifact}`, which it was not given")]
    NoInput {
        /// Where the tuned part of the model begins.
        place: resect_numeric::Place,
        /// Its kind.
        artifact: &'static str,
    },
    /// There is not enough memory.
    #[error(
        "training takes about {}, and {} are free{}",
        memory::gigabytes(*needed),
        memory::gigabytes(*available),
        if fitting.is_empty() { String::new() } else { format!("\nhint: {}", fitting.join("; ")) }
    )]
    Memory {
        /// Bytes, about.
        needed: u64,
        /// Bytes.
        available: u64,
        /// What would fit.
        fitting: Vec<String>,
    },
    /// A parameter that is tuned has no gradient.
    #[error(
        "internal error: the loss gives `{name}` no gradient, though it is to be tuned; please report this with the settings in \
         [train]"
    )]
    NoGradient {
        /// Its Hugging Face name.
        name: String,
    },
    /// Pixels that do not fit the model.
    #[error("image {id} cannot be given to the model")]
    Image {
        /// Its pixel hash.
        id: String,
        /// Why.
        source: Box<resect_encoder::EncoderError>,
    },
    /// A prompt that does not lie in its image.
    #[error("a target's prompt cannot be used")]
    Prompt(#[from] resect_prompt::PromptError),
    /// No target to train on.
    #[error("there is no target in the training part; check [split]")]
    NothingToTrain,
    /// An image without an embedding.
    #[error(
        "target {target} has no embedding of view {view}; run embed on the same images, with the views that \
         train.augment asks for"
    )]
    NoEmbedding {
        /// The target's name.
        target: String,
        /// How the image is turned.
        view: View,
    },
    /// A target that is to be prompted with points and has none.
    #[error(
        "target {0} has no pixel to point at; set train.prompts = \"box\", or run ingest again, which rejects empty masks"
    )]
    NoPoint(String),
    /// Artifacts of different models.
    #[error("{0}; embeddings, targets and base checkpoint must belong together")]
    Misfit(String),
    /// Nothing that is scored, so nothing to be patient about.
    #[error(
        "train.patience is {patience}, but there is no validation part whose Dice could get better; raise \
         split.validation_share or set train.patience = 0"
    )]
    NoValidation {
        /// The setting.
        patience: u32,
    },
    /// A loss, a gradient or a weight is no number any more.
    #[error(transparent)]
    NotFinite(Box<NotFinite>),
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
    /// With f16: no scale of the loss makes the gradient finite.
    #[error(
        "the gradient is not finite in f16 with any scale of the loss: step {step} (epoch {epoch}) was skipped as those before \
         it were, down to a scale of 2^-14; set train.precision = \"bf16\" or \"f32\", or lower train.learning_rate"
    )]
    NoLossScale {
        /// From 1.
        epoch: u32,
        /// From 1, over all epochs.
        step: u32,
    },
    /// Numbers of a step are missing.
    #[error(
        "internal error: the device did not send all numbers of the steps that it was given; please report this"
    )]
    Incomplete,
    /// What a restart would resume from cannot be written or read.
    #[error("cannot {action} {}: {message}", path.display())]
    State {
        /// "write" or "read".
        action: &'static str,
        /// File or folder.
        path: PathBuf,
        /// Why.
        message: String,
    },
}

/// Where training met what is no number, and what was saved before.
#[derive(Debug, thiserror::Error)]
#[error(
    "{what} is {value} in epoch {epoch}, step {step} (learning rate {learning_rate:e}; samples {}); training stopped, and {}. \
     Lower train.learning_rate, set train.clip_norm or look at these samples",
    samples.join(", "),
    saved(state.as_deref())
)]
pub struct NotFinite {
    /// What it is: the loss, the gradient's norm, a weight.
    pub what: String,
    /// NaN or infinity.
    pub value: f64,
    /// From 1.
    pub epoch: u32,
    /// From 1, over all epochs.
    pub step: u32,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// The step's samples.
    pub samples: Vec<String>,
    /// The last saved state, which is sound.
    pub state: Option<PathBuf>,
}

fn saved(state: Option<&Path>) -> String {
    match state {
        Some(path) => format!("the last good state is kept in {}", path.display()),
        None => "no state had been saved".into(),
    }
}

/// Tunes the decoder and writes the `checkpoint` artifact to `out`. `state` holds what a restart resumes from.
///
/// On a GPU, each start takes two steps there and on the CPU, one on a fixed problem and one on the first batch, and each time both must
/// agree ([`resect_device::compare`]).
///
/// # Errors
/// See [`TrainError`].
pub fn run(
    device: Device,
    inputs: &Inputs<'_>,
    params: &TrainParams,
    runtime: &Runtime,
    out: &Path,
    state: &Path,
    report: &Reporter,
) -> Result<(), TrainError> {
    match device {
        Device::Cpu => {
            let base = Checkpoint::open(inputs.base)?;
            let (tuning, samples) = (
                params.tuning(),
                (params.batch_size as usize).min(<Cpu as TrainingBackend>::SAMPLES_AT_ONCE),
            );
            let available = resect_device::free_host_memory().unwrap_or(u64::MAX);
            let needed = memory::check(base.config(), &tuning, samples, available)?;
            if tuning.encoder.tune != EncoderTune::None {
                report.note(format!("takes about {} of memory", memory::gigabytes(needed)));
            }
            drop(base);
            let place = OnDevice::default();
            let trained = run_with::<OnCpu>(&place, inputs, params, runtime, out, state, report);
            resect_layers::cpu::release_memory();
            trained
        }
        #[cfg(feature = "cuda")]
        Device::Cuda(index) => {
            use resect_device::{Gpu, check_memory};
            let (device, gpu) = resect_layers::open_cuda(index)?;
            let base = Checkpoint::open(inputs.base)?;
            let training = |samples| resect_sam::memory::training(base.config(), samples);
            check_memory(index, training, params.batch_size as usize, "train.batch_size")?;
            let decoding = |prompts| resect_sam::memory::decoding(base.config(), prompts);
            check_memory(index, decoding, runtime.decode_batch.max(1), "runtime.decode_batch")?;
            report.note(format!("computes on {gpu}"));
            let free = Gpu::find(index)?.free_memory()?;
            let group = (params.batch_size * params.accumulation) as usize;
            let share = Share::of(free, group, training);
            let place = OnDevice::new(device, share.together, share.room);
            type OnGpu = ModelTrainer<Autodiff<resect_layers::Cuda>>;
            let kept = place.clone();
            run_with::<OnGpu>(&place, inputs, params, runtime, out, state, report)?;
            report.note(format!("{} embeddings stayed in the GPU's memory", kept.resident()));
            Ok(())
        }
        #[cfg(not(feature = "cuda"))]
        Device::Cuda(_) => Err(DeviceError::NotBuilt { device }.into()),
    }
}

/// The trainer of the CPU.
type OnCpu = ModelTrainer<Autodiff<Cpu>>;

/// [`run`] on the device of a trainer of choice.
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
    let roles = Roles::new(base.config(), &params.tuning())?;
    let features = Features::open(inputs, base.config(), roles.place())?;
    let targets = Targets::open(inputs.targets)?;
    let samples = Samples::new(&targets, &features, base.config(), params.augment.views(), params.mask_fit)?;
    let prompts = PromptEncoder::load(&base, &Default::default())?;
    let train = targets.of(Split::Train);
    if train.is_empty() {
        return Err(TrainError::NothingToTrain);
    }
    let validation = targets.of(Split::Validation);
    if params.patience > 0 && validation.is_empty() {
        return Err(TrainError::NoValidation { patience: params.patience });
    }
    let validation = Validation::new(&samples, &validation, &prompts, params)?;
    let batches = train.len().div_ceil(params.batch_size as usize);
    let steps = u64::from(params.epochs) * batches.div_ceil(params.accumulation as usize) as u64;
    let rate = LearningRate::new(params, steps)?;
    parameters::table(base.config(), &roles).into_iter().for_each(|line| report.note(line));
    let setup = Setup { config: base.config(), roles: &roles, prompts: &prompts, params, base: Some(&base) };
    let initial = || roles.initial(&base, inputs.adapter, params.seed);
    if !T::IS_REFERENCE {
        let difference = check::solves_fixed_problem::<T>(device, params)?;
        report.note(format!("agrees with the CPU on a fixed problem in f32 to {difference:.1e}"));
        let first: Vec<Seen> =
            train.iter().map(|&i| Seen::upright(i)).take(params.batch_size as usize).collect();
        let boxes = first.iter().map(|seen| Prompt::of_box(targets.rows()[seen.target].bounding_box()));
        let tokens = samples.tokens(&first, &boxes.collect::<Vec<_>>(), &prompts)?;
        let (masks, inputs) = (samples.masks(&first), samples.inputs(&first)?);
        let batch = samples.with(&first, &tokens, &masks, &inputs)?;
        let difference = check::agrees::<T>(&setup, device, &initial()?, &batch)?;
        report.note(format!("agrees with the CPU on a first step to {difference:.1e}"));
    }
    let setting = Setting {
        setup,
        runtime,
        samples: &samples,
        train: &train,
        validation: &validation,
        rate,
        state,
        device,
        report,
    };
    let tuning = Tuning::<T>::start(setting, initial)?;
    finish(out, tuning.finish()?, params, report)
}

/// Writes the kept weights and the history.
fn finish(out: &Path, progress: Progress, params: &TrainParams, report: &Reporter) -> Result<(), TrainError> {
    table::write(&out.join("history.parquet"), &progress.steps)?;
    table::write(&out.join("epochs.parquet"), &progress.epochs)?;
    report.note(kept(&progress, params));
    let dice = |epoch: u32| progress.epochs.iter().find(|row| row.epoch == epoch)?.validation_dice;
    let epochs = progress.next_epoch() - 1;
    let validation_dice = dice(progress.kept);
    let summary = Summary {
        format: FORMAT.into(),
        epoch: progress.kept,
        epochs,
        stopped_early: epochs < params.epochs,
        selected_by: match (params.keep, validation_dice) {
            (Keep::Best, Some(_)) => SelectedBy::ValidationDice,
            _ => SelectedBy::LastEpoch,
        },
        validation_dice,
        tuning: params.tuning(),
        prompts: Some(params.prompts.to_string()),
        iou_head_trained: false,
    };
    write_safetensors(&out.join(TUNED_FILE), progress.kept_tensors, None)?;
    write_json(&out.join("checkpoint.json"), &summary)?;
    Ok(())
}

/// Which epoch is kept, and why, in a line.
fn kept(progress: &Progress, params: &TrainParams) -> String {
    let (kept, epochs) = (progress.kept, progress.next_epoch() - 1);
    let Some((best, best_dice)) = progress.best() else {
        let scored = progress.epochs.iter().any(|row| row.validation_loss.is_some());
        return match scored {
            true => format!(
                "kept the last epoch, {kept}: no target of the validation part has a mask on the low-res grid"
            ),
            false => format!("kept the last epoch, {kept}: there is no validation part to choose by"),
        };
    };
    let dice = |epoch: u32| {
        let row = progress.epochs.iter().find(|row| row.epoch == epoch);
        row.and_then(|row| row.validation_dice).unwrap_or_default()
    };
    let (of_kept, untuned) = (dice(kept), dice(0));
    let mut line = match params.keep {
        Keep::Best => {
            format!("kept epoch {kept} of {epochs}: validation Dice {of_kept:.4} (untuned {untuned:.4})")
        }
        Keep::Last => format!(
            "kept the last epoch, {kept}, as asked: validation Dice {of_kept:.4} (untuned {untuned:.4}; best {best_dice:.4} \
             in epoch {best})"
        ),
    };
    if epochs < params.epochs {
        line.push_str(&format!(
            "; stopped early, after {} without a better one, of {}",
            epochs - best,
            params.epochs
        ));
    }
    line
}
