//! The settings that shape each stage's output, typed, with their defaults and limits.
//!
//! A pipeline file has one section for each struct here. Whatever is in them enters a stage's key; what only
//! changes how the work is done (threads, batch sizes, logging) lives in [`Runtime`], which no key ever sees.

use resect_geometry::View;
use resect_numeric::{Dtype, Precision};
use serde::{Deserialize, Serialize};

mod check;
pub use check::{Invalid, Problems};

/// How `ingest` reads the dataset and its masks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IngestParams {
    /// Where in the dataset the images, masks and names are.
    pub layout: Layout,
    /// From mask image to binary mask.
    pub mask: MaskParams,
    /// Which sample goes where.
    pub split: SplitParams,
    /// Longest side of the resized images, in pixels: the model's input side.
    pub image_size: u32,
    /// Side of the low-res grid of the mask decoder, in cells: four times the grid of patches.
    pub low_res_size: u32,
    /// Samples, audit and limits.
    pub ingest: IngestLimits,
}

/// How a dataset artifact is laid out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Layout {
    /// `images/` and `masks/`, matched by file stem; an optional `splits.csv` with the columns `id,split` and, if
    /// wanted, `group`.
    Folder,
    /// Parquet files in the Hugging Face image layout, their given split in the file name (`train-00000-of-...`).
    Parquet {
        /// Column of the images: a struct of `bytes` and `path`, or plain binary.
        image_column: String,
        /// Column of the masks, in either form.
        mask_column: String,
        /// Column of the sample's name; when empty, `<file stem>-<row>` names it.
        id_column: String,
        /// Column of the group that must not be split (patient, sequence); when empty, none.
        group_column: String,
    },
}

/// The split that the path of a Parquet file names: `train` of `data/train-00000-of-00001.parquet`, of
/// `train/0000.parquet` and of `train.parquet`. The folders are separated by `/`.
pub fn split_of_file(path: &str) -> &str {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let folder = folder.rsplit('/').next().unwrap_or(folder);
    let stem = name.trim_end_matches(".parquet");
    match stem.split_once('-') {
        Some((split, _)) => split,
        None if !folder.is_empty() => folder,
        None => stem,
    }
}

/// From mask image to binary mask.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MaskParams {
    /// A grey value at or above this is foreground, 1-255. Colour masks are turned grey first.
    pub threshold: u8,
    /// Instead of the threshold: exactly these pixel values (palette indices in a palette image) are foreground.
    pub labels: Vec<u8>,
    /// A connected component (8 neighbours) of fewer pixels is a speck and removed, unless it is the largest one.
    /// 0 keeps everything.
    pub speck_pixels: u32,
    /// One target for the whole mask, or one for each connected component.
    pub targets: Targets,
}

impl Default for MaskParams {
    fn default() -> Self {
        Self { threshold: 128, labels: Vec::new(), speck_pixels: 100, targets: Targets::Whole }
    }
}

/// What one training target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Targets {
    /// The whole mask, with one box over all of it.
    Whole,
    /// Each connected component, with its own box.
    Components,
}

/// Which sample goes where. The part that is reported (`test`) never selects an epoch: the share that does is
/// carved from the training part, by group.
///
/// Whatever is drawn (the carved share, and all parts with `by = "random"`) keeps groups whole, and near-duplicates
/// ([`IngestLimits::duplicate_distance`]) with each other: they count as one group, and so do groups that they join. Parts
/// that the dataset gives stay as given; near-duplicates across those are warned about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SplitParams {
    /// As the data gives it, or drawn.
    pub by: SplitBy,
    /// With `by = "given"`: the given splits that make up the training part.
    pub train: Vec<String>,
    /// With `by = "given"`: the given splits that are reported. Empty: `test` where there is one, else `validation`.
    pub test: Vec<String>,
    /// Share of the training part that selects the epoch, 0 to 0.9. With `by = "given"`, a given `validation` split
    /// that is not used otherwise is taken whole instead, however large this is; nothing is carved then.
    /// 0: the last epoch is kept, and a given `validation` split stays unused.
    pub validation_share: f64,
    /// With `by = "random"`: share of all samples that is reported, above 0, below 1.
    pub test_share: f64,
    /// Seed of the draws.
    pub seed: u64,
    /// A regular expression on the sample's name whose first capture group names its group (patient, sequence);
    /// groups are never split. Empty: the group column where there is one, else each sample is its own group.
    pub group_pattern: String,
}

impl Default for SplitParams {
    fn default() -> Self {
        Self {
            by: SplitBy::Given,
            train: vec!["train".into()],
            test: Vec::new(),
            validation_share: 0.1,
            test_share: 0.2,
            seed: 0,
            group_pattern: String::new(),
        }
    }
}

/// Who decides the split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SplitBy {
    /// The dataset: by file name or `splits.csv`.
    Given,
    /// A seeded draw by group.
    Random,
}

/// What `ingest` accepts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IngestLimits {
    /// Share of rejected samples above which the stage fails, 0 to 1.
    pub max_rejected: f64,
    /// Only the first so many samples of each given split, in the dataset's order. 0: all.
    pub limit: u32,
    /// Images of more pixels than this are rejected before they are decoded.
    pub max_pixels: u64,
    /// Files of images and masks of more bytes than this are rejected before they are decoded. In Parquet it holds for each
    /// picture, and for each page of a column of pictures once it is decompressed: a file with a larger one is refused.
    pub max_bytes: u64,
    /// Two images whose perceptual hashes differ in at most this many of 64 bits are near-duplicates, if their
    /// thumbnails also correlate (0.985 and above): images of one kind resemble each other, and the hash alone would
    /// call too many the same. Near-duplicates are reported, and no draw of a split separates them.
    pub duplicate_distance: u32,
}

impl Default for IngestLimits {
    fn default() -> Self {
        Self {
            max_rejected: 0.05,
            limit: 0,
            max_pixels: 100_000_000,
            max_bytes: 400_000_000,
            duplicate_distance: 4,
        }
    }
}

/// How `embed` computes embeddings and stores them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmbedParams {
    /// Number format on disk.
    pub dtype: Dtype,
    /// Number format of what the encoder multiplies.
    pub precision: Precision,
    /// The views that each image is embedded under. No setting of the pipeline file: the runner takes it from
    /// [`TrainParams::augment`], so that the two cannot disagree. It is not written where it is the default, so that
    /// without augmentation it is not in a key either.
    #[serde(skip_serializing_if = "Views::is_none")]
    pub views: Views,
    /// The part of the images that is embedded; none is all. No setting of the pipeline file either.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
}

/// One of several parts of the distinct images, as equal as can be and in their order, for machines that share the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shard {
    /// Which one, from 1.
    pub index: u32,
    /// How many there are.
    pub count: u32,
}

impl Shard {
    /// What it takes of so many images.
    pub fn range(self, images: usize) -> std::ops::Range<usize> {
        let at = |index: u32| (images as u128 * u128::from(index) / u128::from(self.count.max(1))) as usize;
        at(self.index.saturating_sub(1))..at(self.index)
    }
}

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl std::str::FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match numbers {
            Some((index, count)) if (1..=count).contains(&index) => Ok(Self { index, count }),
            _ => Err(format!("a shard is I/N with I from 1 to N, such as 3/8, not \"{text}\"")),
        }
    }
}

impl Default for EmbedParams {
    fn default() -> Self {
        Self { dtype: Dtype::F16, precision: Precision::F32, views: Views::None, shard: None }
    }
}

/// How the mask decoder is tuned. The defaults are the published recipe's.
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

/// A set of views: augmentation whose every outcome has an embedding that is computed once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Views {
    /// The image as it is.
    None,
    /// Also flipped either way, and both ways.
    Flips,
    /// All flips and quarter turns.
    All,
}

impl Views {
    /// The views, the identity first.
    pub fn views(self) -> &'static [View] {
        match self {
            Self::None => &[View::Identity],
            Self::Flips => &View::FLIPS,
            Self::All => &View::ALL,
        }
    }

    fn is_none(&self) -> bool {
        *self == Self::None
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

/// What `evaluate` reports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluateParams {
    /// Overlay images to draw, the worst samples first. 0: none.
    pub overlays: u32,
    /// Bounds of the size classes, as fractions of the image's area, ascending: `[0.05, 0.2]` makes small (below
    /// 0.05), medium and large (0.2 and above).
    pub size_bounds: [f64; 2],
    /// Distance up to which a border counts as met by the other one (normalised surface Dice), in pixels of the original image,
    /// or in cells where the low-res grid is reported.
    pub surface_tolerance: f64,
    /// Draws of groups behind each bootstrap interval.
    pub resamples: u32,
    /// Seed of these draws and of the sweep's boxes.
    pub seed: u64,
    /// Whether both decoders are tried with other prompts, too: boxes with noise, points, a wrong box, best of three masks.
    pub sweep: bool,
    /// The sweep's noise: pixels of the original image by which each side of a box moves at most, in or out.
    pub noise_pixels: Vec<u32>,
    /// The same in percent of the box's width or height.
    pub noise_percent: Vec<u32>,
}

impl Default for EvaluateParams {
    fn default() -> Self {
        Self {
            overlays: 12,
            size_bounds: [0.05, 0.2],
            surface_tolerance: 2.0,
            resamples: 2000,
            seed: 0,
            sweep: true,
            noise_pixels: vec![0, 5, 10, 20, 50, 100],
            noise_percent: vec![5, 10, 20, 50],
        }
    }
}

/// How the work is done. Nothing here changes a byte of any artifact, so nothing here enters a key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Runtime {
    /// Worker threads of all stages that run. 0: one for each core.
    pub threads: usize,
    /// Stages that run at a time, where they do not wait for each other. 0: one for each core.
    pub jobs: usize,
    /// GB that stages which run at a time may take together. 0: three quarters of what is free.
    pub memory: f64,
    /// Images that pass the encoder together in `embed`.
    pub embed_batch: usize,
    /// Prompts that pass the decoder together in `evaluate` and in validation.
    pub decode_batch: usize,
    /// Epochs of `train` after which its state is saved for a restart.
    pub save_epochs: u32,
    /// Optimiser steps of `train` after which its state is saved within an epoch, too. 0: only at the ends of epochs.
    ///
    /// A save of ViT-B's decoder writes 49 MB (weights and AdamW's moments), 16 MB more where the kept epoch is another one since
    /// the last save, and 16 MB more with `train.ema`. Training waits until they are written, not until they are on the disk, unless
    /// the save before is still on its way there.
    pub save_steps: u32,
}

impl Default for Runtime {
    fn default() -> Self {
        Self {
            threads: 0,
            jobs: 0,
            memory: 0.0,
            embed_batch: 2,
            decode_batch: 8,
            save_epochs: 1,
            save_steps: 0,
        }
    }
}

#[cfg(test)]
mod tests;
