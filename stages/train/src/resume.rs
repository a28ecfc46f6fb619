//! What a restart resumes from: weights, optimiser, history and the best epoch so far, saved after each epoch
//! (`runtime.save_epochs`) and, if wanted, within epochs (`runtime.save_steps`).
//!
//! ```text
//! state/epoch-00007/                 after seven epochs; "epoch-00007-step-00000123": and in the next one, after step 123 of all
//!   tuned.safetensors     the tuned weights
//!   average.safetensors   their moving average, where one is taken
//!   kept.safetensors      those of the epoch that is kept so far; absent in the first
//!   moments.safetensors   AdamW's moments, or what else the trainer's optimiser remembers
//!   loss-scale.json       with f16: the scale of the loss
//!   history.parquet       the steps so far
//!   epochs.parquet        the epochs so far
//!   progress.json         kept epoch, position within the epoch and its loss so far
//! ```
//!
//! A folder appears whole, by a rename, and the one before it goes after that. Names sort as training goes. Training goes on while
//! a state is on its way to the disk.

use crate::TrainError;
use crate::trainer::{Setup, Trainer};
use crate::validate::Score;
use resect_checkpoint::NamedTensor;
use resect_checkpoint::{TensorFile, write_safetensors};
use resect_checkpoint_records::{Epoch, Step};
use resect_data::{read_json, write_json};
use resect_tables::table;
use resect_train_params::{Keep, TrainParams};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

const WEIGHTS: &str = "tuned.safetensors";
const AVERAGE: &str = "average.safetensors";
const KEPT: &str = "kept.safetensors";
const HISTORY: &str = "history.parquet";
const EPOCHS: &str = "epochs.parquet";
const POSITION: &str = "progress.json";

/// Where training stands, between two optimiser steps.
pub struct Progress {
    pub steps: Vec<Step>,
    /// Row 0 is the untuned decoder.
    pub epochs: Vec<Epoch>,
    /// The epoch whose weights are kept so far; 0 before the first ends.
    pub kept: u32,
    pub kept_tensors: Vec<NamedTensor>,
    /// Groups of batches learnt from in the epoch that has begun; each made a step.
    pub groups: usize,
    /// Sum of the losses of their batches.
    pub loss: f64,
}

/// `progress.json`. Numbers come back to the last bit: `serde_json` reads with `float_roundtrip`.
#[derive(Serialize, Deserialize)]
struct Saved {
    kept: u32,
    groups: usize,
    loss: f64,
}

impl Progress {
    /// Before the first epoch; `untuned` scores the decoder as it came.
    pub fn new(untuned: Option<Score>) -> Self {
        let row = Epoch {
            epoch: 0,
            train_loss: None,
            validation_loss: untuned.map(|s| s.loss),
            validation_dice: untuned.and_then(|s| s.dice),
            learning_rate: None,
        };
        Self { steps: Vec::new(), epochs: vec![row], kept: 0, kept_tensors: Vec::new(), groups: 0, loss: 0.0 }
    }

    /// Number of the epoch to train next, or that has begun, from 1.
    pub fn next_epoch(&self) -> u32 {
        self.epochs.last().map_or(1, |row| row.epoch + 1)
    }

    /// Optimiser steps so far, those that were skipped among them.
    pub fn step(&self) -> u32 {
        self.steps.len() as u32
    }

    /// Optimiser steps that were skipped.
    pub fn skipped(&self) -> u32 {
        self.steps.iter().filter(|step| step.is_skipped()).count() as u32
    }

    /// The tuned epoch of the best validation Dice so far, the earlier one on a tie, and that Dice.
    pub fn best(&self) -> Option<(u32, f64)> {
        let tuned = self.epochs.iter().filter(|row| row.epoch > 0);
        let scored = tuned.filter_map(|row| Some((row.epoch, row.validation_dice?)));
        scored.reduce(|best, next| if next.1 > best.1 { next } else { best })
    }

    /// Whether all epochs are trained, or the last few that patience allows were no better than one before them.
    pub fn is_over(&self, params: &TrainParams) -> bool {
        let done = self.next_epoch() - 1;
        let in_vain = self.best().map_or(0, |(best, _)| done - best);
        done >= params.epochs || (params.patience > 0 && in_vain >= params.patience)
    }

    /// Ends an epoch. Its weights, averaged where an average is taken, are kept when they are the best tuned ones, when the last
    /// ones are wanted, or when nothing can tell.
    pub fn end_epoch(&mut self, row: Epoch, keep: Keep, weights: impl FnOnce() -> Vec<NamedTensor>) {
        let epoch = row.epoch;
        self.epochs.push(row);
        (self.groups, self.loss) = (0, 0.0);
        if keep == Keep::Last || self.best().is_none_or(|(best, _)| best == epoch) {
            self.kept = epoch;
            self.kept_tensors = weights();
        }
    }

    /// "epoch 3", or "epoch 3, step 45" where a further epoch has begun.
    pub fn position(&self) -> String {
        let epoch = self.next_epoch() - 1;
        match self.groups {
            0 => format!("epoch {epoch}"),
            _ => format!("epoch {epoch}, step {}", self.step()),
        }
    }

    /// Name of the folder it is saved in.
    fn folder(&self) -> String {
        let epoch = self.next_epoch() - 1;
        match self.groups {
            0 => format!("epoch-{epoch:05}"),
            _ => format!("epoch-{epoch:05}-step-{:08}", self.step()),
        }
    }
}

/// A file of the state that cannot be written or read.
pub fn failed(action: &'static str, path: &Path, error: impl std::fmt::Display) -> TrainError {
    TrainError::State { action, path: path.into(), message: error.to_string() }
}

/// Saves states, one after the other.
#[derive(Default)]
pub struct Saver {
    /// The state that is on its way to the disk.
    pending: Option<JoinHandle<Result<(), TrainError>>>,
}

impl Saver {
    /// Saves the state: its files are written when this returns, and synced and renamed in the background. What went wrong there with
    /// the state before is told first.
    pub fn save(
        &mut self,
        state: &Path,
        trainer: &impl Trainer,
        progress: &Progress,
    ) -> Result<(), TrainError> {
        self.finish()?;
        let aside = state.join("writing");
        let older = write(state, &aside, trainer, progress)?;
        let dir = state.join(progress.folder());
        let appear = move || appear(&aside, &dir, &older);
        let thread = std::thread::Builder::new().name("save".into());
        self.pending = Some(thread.spawn(appear).map_err(|e| failed("write", state, e))?);
        Ok(())
    }

    /// Waits until the last state is on the disk.
    pub fn finish(&mut self) -> Result<(), TrainError> {
        let Some(pending) = self.pending.take() else { return Ok(()) };
        pending.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Saver {
    fn drop(&mut self) {
        // Training failed with an error that matters more.
        let _ = self.pending.take().map(JoinHandle::join);
    }
}

/// Writes the files of a state into the folder `aside`, and says which states there are.
fn write(
    state: &Path,
    aside: &Path,
    trainer: &impl Trainer,
    progress: &Progress,
) -> Result<Vec<PathBuf>, TrainError> {
    remove(aside)?;
    std::fs::create_dir_all(aside).map_err(|e| failed("write", aside, e))?;
    write_safetensors(&aside.join(WEIGHTS), trainer.tensors(), None)?;
    if let Some(average) = trainer.average() {
        write_safetensors(&aside.join(AVERAGE), average, None)?;
    }
    let older = all(state)?;
    if progress.kept > 0 && !same_kept(older.last(), progress.kept, aside) {
        write_safetensors(&aside.join(KEPT), progress.kept_tensors.clone(), None)?;
    }
    trainer.save(aside)?;
    table::write(&aside.join(HISTORY), &progress.steps)?;
    table::write(&aside.join(EPOCHS), &progress.epochs)?;
    let Progress { kept, groups, loss, .. } = *progress;
    write_json(&aside.join(POSITION), &Saved { kept, groups, loss })?;
    Ok(older)
}

/// Gives a written state its name, once it is on the disk, and removes the older ones.
fn appear(aside: &Path, dir: &Path, older: &[PathBuf]) -> Result<(), TrainError> {
    for path in entries(aside)? {
        std::fs::File::open(&path).and_then(|f| f.sync_all()).map_err(|e| failed("write", &path, e))?;
    }
    std::fs::rename(aside, dir).map_err(|e| failed("write", dir, e))?;
    older.iter().filter(|path| *path != dir).try_for_each(|path| remove(path))
}

/// Takes the kept weights over from the state before, by a second name for the same file, if they are the same epoch's.
fn same_kept(before: Option<&PathBuf>, kept: u32, aside: &Path) -> bool {
    let Some(before) = before else { return false };
    let saved: Result<Saved, _> = read_json(&before.join(POSITION));
    saved.is_ok_and(|saved| saved.kept == kept)
        && std::fs::hard_link(before.join(KEPT), aside.join(KEPT)).is_ok()
}

/// The newest saved state that can be read, if there is one. What is told of others is passed to `note`; they are set aside, so that
/// none is found again.
pub fn load<T: Trainer>(
    state: &Path,
    setup: &Setup<'_>,
    device: &T::Device,
    note: impl Fn(String),
) -> Result<Option<(T, Progress)>, TrainError> {
    while let Some(dir) = newest(state)? {
        match read(&dir, setup, device) {
            Ok(found) => return Ok(Some(found)),
            // It says nothing of the files.
            Err(error @ TrainError::Device(_)) => return Err(error),
            Err(error) => {
                note(format!("{} is of no use and left out: {error}", name_of(&dir)));
                let name = format!("unreadable-{}", name_of(&dir));
                let aside = state.join(name);
                remove(&aside)?;
                std::fs::rename(&dir, &aside).map_err(|e| failed("set aside", &dir, e))?;
            }
        }
    }
    Ok(None)
}

/// A state's name.
fn name_of(dir: &Path) -> String {
    dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What lies in a state's folder.
fn read<T: Trainer>(dir: &Path, setup: &Setup<'_>, device: &T::Device) -> Result<(T, Progress), TrainError> {
    let tensors = |file: &str| TensorFile::open(&dir.join(file))?.read_all();
    let Saved { kept, groups, loss } = read_json(&dir.join(POSITION))?;
    let average = dir.join(AVERAGE).exists().then(|| tensors(AVERAGE)).transpose()?;
    let progress = Progress {
        steps: table::read(&dir.join(HISTORY))?,
        epochs: table::read(&dir.join(EPOCHS))?,
        kept,
        kept_tensors: if kept > 0 { tensors(KEPT)? } else { Vec::new() },
        groups,
        loss,
    };
    let mut trainer = T::new(setup, tensors(WEIGHTS)?, device)?;
    trainer.restore(dir, progress.step() - progress.skipped(), average)?;
    Ok((trainer, progress))
}

/// The folder of the newest saved state, if there is one.
pub fn newest(state: &Path) -> Result<Option<PathBuf>, TrainError> {
    Ok(all(state)?.pop())
}

/// Saved states, oldest first.
fn all(state: &Path) -> Result<Vec<PathBuf>, TrainError> {
    let epoch =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("epoch-"));
    let mut found: Vec<PathBuf> = entries(state)?.into_iter().filter(epoch).collect();
    found.sort();
    Ok(found)
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, TrainError> {
    let entries = std::fs::read_dir(dir).map_err(|e| failed("read", dir, e))?;
    entries.map(|entry| entry.map(|e| e.path()).map_err(|e| failed("read", dir, e))).collect()
}

fn remove(dir: &Path) -> Result<(), TrainError> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed("write", dir, error)),
        _ => Ok(()),
    }
}
