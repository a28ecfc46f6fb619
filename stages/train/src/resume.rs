//! What a restart resumes from: weights, optimiser, history and the best epoch so far, saved after each epoch.
//!
//! ```text
//! state/epoch-00007/
//!   decoder.safetensors   the weights
//!   kept.safetensors      those of the epoch that is kept so far
//!   moments.safetensors   AdamW's moments, or what else the trainer's optimiser remembers
//!   history.parquet       the steps so far; a table, because JSON would not keep the last bit of every number
//!   epochs.parquet        the epochs so far
//!   progress.json         kept epoch
//! ```
//!
//! A folder appears whole, by a rename, and the one before it goes after that.

use crate::TrainError;
use crate::trainer::Trainer;
use crate::validate::Score;
use resect_checkpoint::{SamConfig, TensorFile, write_safetensors};
use resect_data::checkpoint::{Epoch, Step};
use resect_data::{read_json, table, write_json};
use resect_params::TrainParams;
use resect_sam::{Cpu, NamedTensor, PromptEncoder};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Where training stands, between two epochs.
pub struct Progress {
    pub steps: Vec<Step>,
    pub epochs: Vec<Epoch>,
    /// The epoch whose weights are kept so far; 0 before the first ends.
    pub kept: u32,
    pub kept_tensors: Vec<NamedTensor>,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    kept: u32,
}

impl Progress {
    /// Before the first epoch; `untuned` scores the decoder as it came.
    pub fn new(untuned: Option<Score>) -> Self {
        let row = Epoch {
            epoch: 0,
            train_loss: None,
            validation_loss: untuned.map(|s| s.loss),
            validation_dice: untuned.map(|s| s.dice),
            learning_rate: None,
        };
        Self { steps: Vec::new(), epochs: vec![row], kept: 0, kept_tensors: Vec::new() }
    }

    /// Number of the epoch to train next, from 1.
    pub fn next_epoch(&self) -> u32 {
        self.epochs.last().map_or(1, |row| row.epoch + 1)
    }

    /// Optimiser steps taken.
    pub fn step(&self) -> u32 {
        self.steps.len() as u32
    }

    /// Validation Dice of the kept epoch.
    pub fn best_dice(&self) -> Option<f64> {
        self.epochs.iter().find(|row| row.epoch == self.kept)?.validation_dice
    }

    /// Notes an epoch and keeps its weights when they are the best tuned ones, or when nothing can tell.
    pub fn end_epoch(&mut self, row: Epoch, tensors: impl FnOnce() -> Vec<NamedTensor>) {
        let better = match (row.validation_dice, self.best_dice()) {
            _ if self.kept == 0 => true,
            (Some(dice), Some(best)) => dice > best,
            _ => true,
        };
        if better {
            self.kept = row.epoch;
            self.kept_tensors = tensors();
        }
        self.epochs.push(row);
    }
}

/// A file of the state that cannot be written or read.
pub fn failed(action: &'static str, path: &Path, error: impl std::fmt::Display) -> TrainError {
    TrainError::State { action, path: path.into(), message: error.to_string() }
}

/// Saves the state after an epoch.
pub fn save(state: &Path, trainer: &impl Trainer, progress: &Progress) -> Result<(), TrainError> {
    let epoch = progress.next_epoch() - 1;
    let dir = state.join(format!("epoch-{epoch:05}"));
    let aside = state.join("writing");
    remove(&aside)?;
    std::fs::create_dir_all(&aside).map_err(|e| failed("write", &aside, e))?;
    write_safetensors(&aside.join("decoder.safetensors"), trainer.tensors(), None)?;
    write_safetensors(&aside.join("kept.safetensors"), progress.kept_tensors.clone(), None)?;
    trainer.save(&aside)?;
    table::write(&aside.join("history.parquet"), &progress.steps)?;
    table::write(&aside.join("epochs.parquet"), &progress.epochs)?;
    write_json(&aside.join("progress.json"), &Saved { kept: progress.kept })?;
    for path in entries(&aside)? {
        std::fs::File::open(&path).and_then(|f| f.sync_all()).map_err(|e| failed("write", &path, e))?;
    }
    let older = saved_epochs(state)?;
    std::fs::rename(&aside, &dir).map_err(|e| failed("write", &dir, e))?;
    older.iter().filter(|path| **path != dir).try_for_each(|path| remove(path))
}

/// The newest saved state, if there is one.
pub fn load<T: Trainer>(
    state: &Path,
    config: &SamConfig,
    prompts: &PromptEncoder<Cpu>,
    params: &TrainParams,
    device: &T::Device,
) -> Result<Option<(T, Progress)>, TrainError> {
    let Some(dir) = saved_epochs(state)?.pop() else { return Ok(None) };
    let saved: Saved = read_json(&dir.join("progress.json"))?;
    let progress = Progress {
        steps: table::read(&dir.join("history.parquet"))?,
        epochs: table::read(&dir.join("epochs.parquet"))?,
        kept: saved.kept,
        kept_tensors: TensorFile::open(&dir.join("kept.safetensors"))?.read_all()?,
    };
    let tensors = TensorFile::open(&dir.join("decoder.safetensors"))?.read_all()?;
    let mut trainer = T::new(config, tensors, prompts, params, device)?;
    trainer.restore(&dir, progress.step())?;
    Ok(Some((trainer, progress)))
}

/// Saved states, oldest first.
fn saved_epochs(state: &Path) -> Result<Vec<PathBuf>, TrainError> {
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
