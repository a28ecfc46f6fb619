//! The settings of the stage `train`, with their defaults and limits. All of them enter its key.

use resect_geometry::Views;
use resect_numeric::Precision;
use resect_tuning::{DecoderTuning, EncoderTuning, Tuning};
use serde::{Deserialize, Serialize};

mod check;

/// How a model is tuned. The defaults are the published recipe's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainParams {
    /// Passes over the training part.
    pub epochs: u32,
    /// Samples in a batch.
    pub batch_size: u32,
    /// Batches whose gradients make one optimiser step; each loss is divided by it, the last group of an epoch
    /// may be incomplete.
    pub accumulation: u32,
    /// AdamW's learning rate at its highest: in the first epoch, or after the warm-up.
    pub learning_rate: f64,
    /// What the cosine falls to.
    pub min_learning_rate: f64,
    /// How often the cosine turns.
    pub schedule: Schedule,
    /// With `schedule = "step"`: optimiser steps of linear warm-up before the cosine. Step `s` of `w` has the share
    /// `s / (w + 1)` of the learning rate, so that the first step after them has all of it.
    pub warmup_steps: u32,
    /// A longer gradient is scaled down to this Euclidean norm, taken over all parameters. 0: none is.
    pub clip_norm: f64,
    /// AdamW's decoupled weight decay.
    pub weight_decay: f64,
    /// AdamW's first-moment decay.
    pub beta1: f64,
    /// AdamW's second-moment decay.
    pub beta2: f64,
    /// AdamW's epsilon.
    pub epsilon: f64,
    /// Each side of a training box moves outward by 0 to this (exclusive), in [`TrainParams::jitter_unit`].
    pub jitter: u32,
    /// What `jitter` counts.
    pub jitter_unit: JitterUnit,
    /// What is minimised.
    pub loss: Loss,
    /// Weights of the loss's two terms, Dice and the pixel-wise one. Empty: [`Loss::customary_weights`].
    pub loss_weights: Vec<f64>,
    /// Whether cells of the low-res grid outside the image take part in the loss, and in validation.
    pub padding: Padding,
    /// How a mask comes onto the low-res grid in the loss, and in validation.
    pub mask_fit: MaskFit,
    /// What a sample is prompted with.
    pub prompts: Prompts,
    /// With point prompts: foreground points of a sample, drawn anew each epoch from its mask at original resolution, without
    /// replacement. A mask of fewer pixels gives all of them.
    pub points: u32,
    /// With `prompts = "mixed"`: the share of samples that get a box in an epoch, 0 to 1.
    pub box_share: f64,
    /// A new order each epoch, or the dataset's.
    pub shuffle: bool,
    /// Seed of jitter, points, kinds of prompt, order and views.
    pub seed: u64,
    /// Which epoch's weights become the checkpoint.
    pub keep: Keep,
    /// Training stops after so many epochs in a row without a better validation Dice. 0: it never does.
    pub patience: u32,
    /// Decay of the exponential moving average of the weights, which then is what is validated and kept: after each
    /// optimiser step, average = decay * average + (1 - decay) * weights, from the weights after the first step on. 0: the
    /// weights themselves are. (`torch.optim.swa_utils.AveragedModel` with `get_ema_multi_avg_fn`)
    pub ema: f64,
    /// Number format of what the decoder multiplies in training, on the way there and on the way back.
    pub precision: Precision,
    /// The views that each epoch draws from, one for each target.
    pub augment: Views,
    /// What is tuned of the image encoder.
    #[serde(deserialize_with = "resect_tuning::table")]
    pub encoder: EncoderTuning,
    /// What is tuned of the mask decoder.
    #[serde(deserialize_with = "resect_tuning::table")]
    pub decoder: DecoderTuning,
}

impl TrainParams {
    /// What is tuned.
    pub fn tuning(&self) -> Tuning {
        Tuning { encoder: self.encoder.clone(), decoder: self.decoder }
    }
}

impl Default for TrainParams {
    fn default() -> Self {
        Self {
            epochs: 30,
            batch_size: 2,
            accumulation: 2,
            learning_rate: 1e-5,
            min_learning_rate: 1e-7,
            schedule: Schedule::Epoch,
            warmup_steps: 0,
            clip_norm: 0.0,
            weight_decay: 0.01,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            jitter: 20,
            jitter_unit: JitterUnit::Pixels,
            loss: Loss::DiceCe,
            loss_weights: Vec::new(),
            padding: Padding::Counted,
            mask_fit: MaskFit::Padded,
            prompts: Prompts::Box,
            points: 1,
            box_share: 0.5,
            shuffle: true,
            seed: 0,
            keep: Keep::Best,
            patience: 0,
            ema: 0.0,
            precision: Precision::F32,
            augment: Views::None,
            encoder: EncoderTuning::default(),
            decoder: DecoderTuning::default(),
        }
    }
}

/// Which epoch's weights become the checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// That of the best validation Dice, the earlier one on a tie; the last one where there is no validation part.
    Best,
    /// The last one.
    Last,
}

/// What training minimises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// Dice and binary cross-entropy: MONAI's `DiceCELoss(sigmoid=True, squared_pred=True)`, as published.
    DiceCe,
    /// Dice alone: MONAI's `DiceLoss(sigmoid=True, squared_pred=True)`.
    Dice,
    /// Binary cross-entropy alone: PyTorch's `binary_cross_entropy_with_logits`.
    Ce,
    /// Dice and focal loss with gamma 2 and alpha 0.25 (`torchvision.ops.sigmoid_focal_loss`), mean over pixels: what SAM
    /// itself was trained with (Kirillov et al., 2023, appendix A).
    DiceFocal,
}

impl Loss {
    /// The weights of Dice and of the pixel-wise term where none are given; 0 for a term that the loss has not.
    pub const fn customary_weights(self) -> [f64; 2] {
        match self {
            Self::DiceCe => [1.0, 1.0],
            Self::Dice => [1.0, 0.0],
            Self::Ce => [0.0, 1.0],
            Self::DiceFocal => [1.0, 20.0],
        }
    }

    /// Whether it has a Dice and a pixel-wise term.
    pub const fn has_two_terms(self) -> bool {
        matches!(self, Self::DiceCe | Self::DiceFocal)
    }
}

/// What becomes of logits that lie outside the image, where the low-res grid is padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Padding {
    /// They count as background that should be predicted, as published.
    Counted,
    /// They are in no sum and no mean, and get no gradient.
    Ignored,
}

/// How a mask comes onto the low-res grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MaskFit {
    /// As the image comes into the encoder: its longest side becomes the grid's, the rest is padding. The mask lies on the logits.
    Padded,
    /// Stretched to the square grid, as most tutorials have it, so that on an image that is not square it does not lie where the
    /// decoder sees it. Here to be compared with, not to be used.
    Squashed,
}

/// What a jitter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JitterUnit {
    /// Pixels of the original image.
    Pixels,
    /// Percent of the box's width for its left and right side, of its height for top and bottom; rounded to pixels.
    Percent,
}

/// What a sample is prompted with in training, and in validation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Prompts {
    /// The target's box with jitter; in validation the tight box.
    Box,
    /// Foreground points; in validation the most interior one.
    Point,
    /// One or the other, drawn for each sample and epoch; in validation both, and the mean of both scores.
    Mixed,
}

impl std::fmt::Display for Prompts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Box => "box",
            Self::Point => "point",
            Self::Mixed => "mixed",
        })
    }
}

/// How often the learning rate's cosine turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// Once an epoch, as published: all steps of an epoch have one rate.
    Epoch,
    /// Once an optimiser step, over those that follow the warm-up.
    Step,
}
