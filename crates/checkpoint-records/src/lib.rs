//! `checkpoint`: what tuning gives. Only what was tuned is stored; the base checkpoint, which the action record names, has the rest.
//!
//! `checkpoint.json`: a [`Summary`]. `tuned.safetensors`: the tensors that were changed or added, f32, by their Hugging Face names and
//! the names of peft ([`resect_tuning`]); LoRA is not merged. Before 2.0 the mask decoder alone was tuned, and the file was
//! `decoder.safetensors`.
//! `history.parquet`: one [`Step`] a row. `epochs.parquet`: one [`Epoch`] a row, epoch 0 being the untuned model.

mod selected_by;

pub use selected_by::SelectedBy;

use resect_data::{DataError, check_format, read_json};
use resect_tuning::Tuning;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Format of `checkpoint.json`.
pub const FORMAT: &str = "resect-checkpoint/2.0";
/// What formats of the version before begin with. They are read, too.
const EARLIER: &str = "resect-checkpoint/1.";
/// What is known of the tuning.
pub const SUMMARY_FILE: &str = "checkpoint.json";
/// The tuned weights.
pub const TUNED_FILE: &str = "tuned.safetensors";
/// The tuned weights before 2.0.
const DECODER_FILE: &str = "decoder.safetensors";

/// `checkpoint.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// [`FORMAT`].
    pub format: String,
    /// The epoch whose weights are kept, from 1.
    pub epoch: u32,
    /// Epochs trained.
    pub epochs: u32,
    /// Whether training ended before all epochs that were asked for, because none of the last few was better. (since 1.1)
    #[serde(default)]
    pub stopped_early: bool,
    /// How the epoch was chosen.
    pub selected_by: SelectedBy,
    /// Mean Dice of the kept epoch on the validation part, on the low-res grid; absent without a validation part.
    pub validation_dice: Option<f64>,
    /// What was tuned. (since 2.0; before, the mask decoder)
    #[serde(default)]
    pub tuning: Tuning,
    /// What it was prompted with in training, as `train.prompts` names it. (since 2.0)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompts: Option<String>,
    /// Whether the head that predicts the IoU of masks was trained. (since 2.0)
    #[serde(default)]
    pub iou_head_trained: bool,
}

impl Summary {
    /// Reads the summary of the artifact in `dir`.
    ///
    /// # Errors
    /// When it is missing, damaged or of another version.
    pub fn read(dir: &Path) -> Result<Self, DataError> {
        let path = dir.join(SUMMARY_FILE);
        let summary: Self = read_json(&path)?;
        if !summary.format.starts_with(EARLIER) {
            check_format(&path, &summary.format, FORMAT)?;
        }
        Ok(summary)
    }

    /// The file of the tuned weights of the artifact in `dir`.
    pub fn weights(&self, dir: &Path) -> PathBuf {
        dir.join(if self.format.starts_with(EARLIER) { DECODER_FILE } else { TUNED_FILE })
    }
}

/// One optimiser step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// From 1.
    pub epoch: u32,
    /// From 1, over all epochs.
    pub step: u32,
    /// What is minimised: the mean over the step's batches of the two terms below, weighted (`train.loss`,
    /// `train.loss_weights`).
    pub loss: f64,
    /// Dice term without its weight; also where the loss has none, as a thing to watch.
    pub dice_loss: f64,
    /// Pixel-wise term without its weight: focal with `train.loss = "dice-focal"`, else cross-entropy, also where the loss has
    /// none.
    pub ce_loss: f64,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Euclidean norm of the step's gradient, before `train.clip_norm` shortens it. Infinite with `train.precision = "f16"`: the
    /// gradient was not finite at the scale that the loss had, so nothing moved in this step.
    pub gradient_norm: f64,
}

impl Step {
    /// Whether nothing moved in this step.
    pub fn is_skipped(&self) -> bool {
        self.gradient_norm.is_infinite()
    }
}

/// One epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// 0 is the untuned model.
    pub epoch: u32,
    /// Mean training loss; absent for epoch 0.
    pub train_loss: Option<f64>,
    /// Mean validation loss, with prompts that no draw moves (`train.prompts`); absent without a validation part.
    pub validation_loss: Option<f64>,
    /// Mean validation Dice on the low-res grid, with the same prompts; absent without a validation part.
    pub validation_dice: Option<f64>,
    /// Learning rate of the epoch's last step; absent for epoch 0.
    pub learning_rate: Option<f64>,
}

#[cfg(test)]
mod tests;
