//! `checkpoint`: what tuning gives. Only the mask decoder was trained, so only it is stored; the base checkpoint
//! beside it (the action record names it) has the rest.
//!
//! `checkpoint.json`: a [`Summary`]. `decoder.safetensors`: f32, Hugging Face names (`mask_decoder.*`).
//! `history.parquet`: one [`Step`] a row. `epochs.parquet`: one [`Epoch`] a row, epoch 0 being the untuned decoder.

use serde::{Deserialize, Serialize};

/// Format of `checkpoint.json`.
pub const FORMAT: &str = "resect-checkpoint/1.0";
/// The tuned weights.
pub const DECODER_FILE: &str = "decoder.safetensors";

/// `checkpoint.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// [`FORMAT`].
    pub format: String,
    /// The epoch whose weights are kept, from 1.
    pub epoch: u32,
    /// Epochs trained.
    pub epochs: u32,
    /// How the epoch was chosen.
    pub selected_by: SelectedBy,
    /// Mean Dice of the kept epoch on the validation part, on the low-res grid; absent without a validation part.
    pub validation_dice: Option<f64>,
}

/// How the kept epoch was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SelectedBy {
    /// The best mean validation Dice; the earlier epoch on a tie.
    ValidationDice,
    /// There is no validation part: the last one.
    LastEpoch,
}

/// One optimiser step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// From 1.
    pub epoch: u32,
    /// From 1, over all epochs.
    pub step: u32,
    /// Mean loss over the step's batches: Dice part + cross-entropy part.
    pub loss: f64,
    /// Dice part.
    pub dice_loss: f64,
    /// Cross-entropy part.
    pub ce_loss: f64,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Euclidean norm of the step's gradient.
    pub gradient_norm: f64,
}

/// One epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// 0 is the untuned decoder.
    pub epoch: u32,
    /// Mean training loss; absent for epoch 0.
    pub train_loss: Option<f64>,
    /// Mean validation loss, tight boxes; absent without a validation part.
    pub validation_loss: Option<f64>,
    /// Mean validation Dice on the low-res grid, tight boxes; absent without a validation part.
    pub validation_dice: Option<f64>,
    /// Learning rate of the epoch's steps; absent for epoch 0.
    pub learning_rate: Option<f64>,
}
