//! The settings of the stage `ingest`, with their defaults and limits. All of them enter its key.

use serde::{Deserialize, Serialize};

mod check;

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

#[cfg(test)]
mod tests;
