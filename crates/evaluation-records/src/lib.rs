//! `evaluation`: how well masks agree with the truth.
//!
//! `metrics.json`: [`Metrics`], with the JSON schema in `docs/schema/metrics.schema.json`. `samples.parquet`: one [`SampleRow`] a row,
//! a method on a target. `sweep.parquet`: one [`SweepRow`] a row, a decoder on a target under a prompt. `masks.parquet`: one
//! [`MaskRow`] a row, what each decoder made of each target's tight box. `overlays/NN-<id>.png`: the worst targets, drawn.
//!
//! A figure on nothing is absent (`null`), never 0: all of a target whose truth is empty (on the low-res grid, where a small one can
//! fall between the samples), precision and HD95 of a mask that is empty.

use resect_checkpoint_records::SelectedBy;
use resect_target_records::Split;
use serde::{Deserialize, Serialize};

/// Format of `metrics.json`.
pub const FORMAT: &str = "resect-evaluation/2.0";

/// What made a mask out of a target's tight box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// The box, filled.
    Box,
    /// The ellipse inscribed in the box.
    Ellipse,
    /// Otsu's threshold in the box.
    Otsu,
    /// The base checkpoint.
    Untuned,
    /// The tuned decoder over the base checkpoint.
    Tuned,
}

impl Method {
    /// All of them, in the order in which they are reported.
    pub const ALL: [Self; 5] = [Self::Box, Self::Ellipse, Self::Otsu, Self::Untuned, Self::Tuned];
    /// Those that are models, in that order.
    pub const DECODERS: [Self; 2] = [Self::Untuned, Self::Tuned];

    /// Its name in files and notes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Box => "box",
            Self::Ellipse => "ellipse",
            Self::Otsu => "otsu",
            Self::Untuned => "untuned",
            Self::Tuned => "tuned",
        }
    }
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// How large a target is beside its image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum SizeClass {
    /// Below the first of `evaluate.size_bounds`.
    Small,
    /// From the first on, below the second.
    Medium,
    /// From the second on.
    Large,
}

impl SizeClass {
    /// All of them, ascending.
    pub const ALL: [Self; 3] = [Self::Small, Self::Medium, Self::Large];

    /// The class of a target that covers this fraction of its image.
    pub fn of(area_fraction: f64, [medium, large]: [f64; 2]) -> Self {
        match area_fraction {
            fraction if fraction < medium => Self::Small,
            fraction if fraction < large => Self::Medium,
            _ => Self::Large,
        }
    }

    /// Its name in files and notes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Medium => "medium",
            Self::Large => "large",
        }
    }
}

/// `metrics.json`: figures over the test split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Metrics {
    /// [`FORMAT`].
    pub format: String,
    /// The split that is reported.
    #[cfg_attr(test, schemars(with = "tests::Split"))]
    pub split: Split,
    /// Targets scored; `samples.parquet` has a row of each method for each.
    pub targets: usize,
    /// Distinct images they lie on.
    pub images: usize,
    /// Groups they belong to (patients, sequences, or images that look alike): what is drawn for intervals.
    pub groups: usize,
    /// Which weights "tuned" are.
    pub checkpoint: Kept,
    /// What the figures depend on beside masks.
    pub settings: Settings,
    /// A row of each of [`Method::ALL`], in that order.
    pub methods: Vec<MethodMetrics>,
    /// The tuned decoder against the untuned one, target by target.
    pub comparison: Comparison,
    /// How both decoders fare with other prompts; empty when that was switched off.
    pub sweep: Vec<SweepPoint>,
}

/// The epoch whose weights the checkpoint holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Kept {
    /// The epoch, from 1.
    pub epoch: u32,
    /// Epochs trained.
    pub epochs: u32,
    /// How the epoch was chosen.
    #[cfg_attr(test, schemars(with = "tests::SelectedBy"))]
    pub selected_by: SelectedBy,
    /// Its mean Dice on the validation part, on the low-res grid; absent without a validation part.
    pub validation_dice: Option<f64>,
}

/// What the figures depend on beside masks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Settings {
    /// Bounds of the size classes, as fractions of the image's area.
    pub size_bounds: [f64; 2],
    /// Distance up to which a surface counts as met, in pixels of the grid at hand.
    pub surface_tolerance: f64,
    /// Draws of groups behind each interval.
    pub resamples: u32,
    /// Seed of these draws and of the sweep's boxes.
    pub seed: u64,
    /// Share of the draws that an interval holds.
    pub confidence: f64,
}

/// The figures of one method.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MethodMetrics {
    /// What made the masks.
    pub method: Method,
    /// Over all targets.
    pub all: Totals,
    /// Over the targets of each class, those without a target too.
    pub classes: Vec<ClassMetrics>,
    /// How well the predicted IoU agrees with the true one; absent for what predicts none.
    pub calibration: Option<Calibration>,
}

/// The figures over some targets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ClassMetrics {
    /// By what targets are told apart.
    pub by: Property,
    /// Which of them: "small", "medium", "large"; "one", "several"; "touches border", "noisy mask", "specks removed",
    /// "near duplicate", "none".
    pub class: String,
    /// Over these targets.
    #[serde(flatten)]
    pub totals: Totals,
}

/// What targets are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Property {
    /// Share of the image's area.
    Size,
    /// Connected components of the target.
    Components,
    /// What the audit of the data says of it; a target can have several flags, and "none" are those without any.
    Flag,
}

/// Means over targets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Totals {
    /// How many targets.
    pub targets: usize,
    /// Those of which the method found not a single pixel.
    pub missed: usize,
    /// At the size of the original image; distances in its pixels.
    pub original: Figures<Estimate>,
    /// On the low-res grid; distances in its cells.
    pub low_res: Figures<Estimate>,
}

/// One value for each metric.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Figures<T> {
    /// 2 |A and B| / (|A| + |B|).
    pub dice: T,
    /// |A and B| / |A or B|.
    pub iou: T,
    /// Share of the predicted mask that is true.
    pub precision: T,
    /// Share of the truth that is predicted.
    pub recall: T,
    /// 95th percentile of the distances between the borders, the larger of both directions.
    pub hd95: T,
    /// Share of both borders that lies within the tolerance of the other: the normalised surface Dice.
    pub surface_dice: T,
    /// Mean distance of each pixel's probability to the truth, over the image's pixels.
    pub mean_absolute_error: T,
}

impl<T> Figures<T> {
    /// The metrics' names, in the order of the fields.
    pub const NAMES: [&str; 7] =
        ["dice", "iou", "precision", "recall", "hd95", "surface_dice", "mean_absolute_error"];

    /// The values in the order of [`Figures::NAMES`].
    pub fn each(&self) -> [&T; 7] {
        let Self { dice, iou, precision, recall, hd95, surface_dice, mean_absolute_error } = self;
        [dice, iou, precision, recall, hd95, surface_dice, mean_absolute_error]
    }

    /// From the values in that order.
    pub fn from_each(
        [dice, iou, precision, recall, hd95, surface_dice, mean_absolute_error]: [T; 7],
    ) -> Self {
        Self { dice, iou, precision, recall, hd95, surface_dice, mean_absolute_error }
    }

    /// Whether a higher value of the metric of this name is a better one.
    pub fn higher_is_better(name: &str) -> bool {
        !matches!(name, "hd95" | "mean_absolute_error")
    }
}

/// A mean over targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Estimate {
    /// Targets that have a value.
    pub targets: usize,
    /// Their mean; absent without any.
    pub mean: Option<f64>,
    /// The mean's interval by a bootstrap over groups; absent with fewer than two groups.
    pub interval: Option<[f64; 2]>,
}

/// Predicted against true IoU, with tight boxes, at original resolution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Calibration {
    /// Targets that have both.
    pub targets: usize,
    /// Mean of predicted less true IoU: above 0 the model thinks too well of its masks.
    pub bias: Option<f64>,
    /// Mean distance of the two.
    pub mean_absolute_error: Option<f64>,
    /// Distance of each bin's means, weighted by its targets.
    pub expected_calibration_error: Option<f64>,
    /// Pearson's correlation; absent when one of them does not vary.
    pub correlation: Option<f64>,
    /// Ten bins of equal width over predicted IoU 0 to 1; what lies outside belongs to the outermost.
    pub bins: Vec<CalibrationBin>,
}

/// Targets of similar predicted IoU.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CalibrationBin {
    /// Lowest predicted IoU.
    pub low: f64,
    /// Highest, exclusive but in the last bin.
    pub high: f64,
    /// How many.
    pub targets: usize,
    /// Mean predicted IoU; absent without a target.
    pub predicted: Option<f64>,
    /// Mean true IoU.
    pub actual: Option<f64>,
}

/// Tuned less untuned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Comparison {
    /// At the size of the original image.
    pub original: Figures<Paired>,
    /// On the low-res grid.
    pub low_res: Figures<Paired>,
}

/// Differences of one metric, target by target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Paired {
    /// Targets on which both have a value.
    pub targets: usize,
    /// Mean of tuned less untuned; absent without a target.
    pub difference: Option<f64>,
    /// Its interval by a bootstrap over groups.
    pub interval: Option<[f64; 2]>,
    /// Targets on which tuned is better (lower where lower is better).
    pub wins: usize,
    /// Targets on which both are equal.
    pub ties: usize,
    /// Targets on which tuned is worse.
    pub losses: usize,
    /// Two-sided p of Wilcoxon's signed-rank test; absent when fewer than two pairs differ.
    pub p: Option<f64>,
}

/// A form of prompt of the sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum PromptKind {
    /// The tight box, each side moved in or out by up to so many pixels of the original image; 0 is the tight box.
    BoxNoisePixels,
    /// The same by up to so many percent of the box's width (left, right) or height (top, bottom).
    BoxNoisePercent,
    /// The most interior point of the target, without a box.
    Point,
    /// The tight box and that point.
    BoxAndPoint,
    /// A box of the same size in the corner of the image where it covers the least of the target.
    WrongBox,
    /// The tight box; of the masks 1 to 3 the one of highest predicted IoU.
    Multimask,
    /// The tight box; of the masks 1 to 3 the one of highest true Dice: what a perfect choice would give.
    MultimaskOracle,
}

impl PromptKind {
    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::BoxNoisePixels => "box-noise-pixels",
            Self::BoxNoisePercent => "box-noise-percent",
            Self::Point => "point",
            Self::BoxAndPoint => "box-and-point",
            Self::WrongBox => "wrong-box",
            Self::Multimask => "multimask",
            Self::MultimaskOracle => "multimask-oracle",
        }
    }
}

/// Both decoders under one prompt, at original resolution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SweepPoint {
    /// The form of the prompt.
    pub prompt: PromptKind,
    /// How much of it, in pixels or percent; absent for what has no amount.
    pub amount: Option<u32>,
    /// The untuned and the tuned one, in this order.
    pub decoders: Vec<SweepFigures>,
}

/// A decoder under one prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SweepFigures {
    /// The decoder.
    pub method: Method,
    /// Dice.
    pub dice: Estimate,
    /// IoU.
    pub iou: Estimate,
    /// What the decoder predicts of its own IoU.
    pub predicted_iou: Estimate,
}

/// One method on one target with its tight box: a row of `samples.parquet`.
///
/// Distances are in pixels of the original image, or in cells of the low-res grid. Figures are absent where they are on nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SampleRow {
    /// The target.
    pub id: String,
    /// The sample (image) it belongs to.
    pub sample: String,
    /// Its group: what is drawn for intervals.
    pub group: String,
    /// What made the mask.
    pub method: Method,
    /// [`Figures::dice`] at original resolution; so are those that follow.
    pub dice: Option<f64>,
    /// [`Figures::iou`].
    pub iou: Option<f64>,
    /// [`Figures::precision`].
    pub precision: Option<f64>,
    /// [`Figures::recall`].
    pub recall: Option<f64>,
    /// [`Figures::hd95`].
    pub hd95: Option<f64>,
    /// [`Figures::surface_dice`].
    pub surface_dice: Option<f64>,
    /// [`Figures::mean_absolute_error`].
    pub mean_absolute_error: Option<f64>,
    /// [`Figures::dice`] on the low-res grid; so are those that follow.
    pub low_res_dice: Option<f64>,
    /// [`Figures::iou`].
    pub low_res_iou: Option<f64>,
    /// [`Figures::precision`].
    pub low_res_precision: Option<f64>,
    /// [`Figures::recall`].
    pub low_res_recall: Option<f64>,
    /// [`Figures::hd95`].
    pub low_res_hd95: Option<f64>,
    /// [`Figures::surface_dice`].
    pub low_res_surface_dice: Option<f64>,
    /// [`Figures::mean_absolute_error`].
    pub low_res_mean_absolute_error: Option<f64>,
    /// What a decoder predicts of its own IoU.
    pub predicted_iou: Option<f64>,
    /// Foreground share of the image's area.
    pub area_fraction: f64,
    /// Its class by `evaluate.size_bounds`.
    pub size_class: SizeClass,
    /// Connected components of the target.
    pub components: u32,
    /// Audit: the target touches the image's border.
    pub touches_border: bool,
    /// Audit: the mask holds more than two values.
    pub noisy_mask: bool,
    /// Audit: specks were removed from the mask.
    pub specks_removed: bool,
    /// Audit: another sample looks the same.
    pub near_duplicate: bool,
}

/// What the audit can say of a target, in the order of [`SampleRow::flags`].
pub const FLAGS: [&str; 4] = ["touches border", "noisy mask", "specks removed", "near duplicate"];

impl SampleRow {
    /// Those of [`FLAGS`] that are set.
    pub fn flags(&self) -> impl Iterator<Item = &'static str> {
        let set = [self.touches_border, self.noisy_mask, self.specks_removed, self.near_duplicate];
        FLAGS.into_iter().zip(set).filter_map(|(flag, set)| set.then_some(flag))
    }
}

/// A decoder on one target under one prompt: a row of `sweep.parquet`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SweepRow {
    /// The target.
    pub id: String,
    /// The form of the prompt.
    pub prompt: PromptKind,
    /// How much of it, in pixels or percent.
    pub amount: Option<u32>,
    /// The decoder.
    pub method: Method,
    /// The box that was given, in pixels of the original image: left column.
    pub x0: Option<u32>,
    /// Top row.
    pub y0: Option<u32>,
    /// Right column, inclusive.
    pub x1: Option<u32>,
    /// Bottom row, inclusive.
    pub y1: Option<u32>,
    /// The point that was given: column.
    pub point_x: Option<u32>,
    /// Row.
    pub point_y: Option<u32>,
    /// Dice at original resolution.
    pub dice: Option<f64>,
    /// IoU.
    pub iou: Option<f64>,
    /// What the decoder predicts of its own IoU.
    pub predicted_iou: f64,
}

/// A mask at original resolution: a row of `masks.parquet`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MaskRow {
    /// The target.
    pub id: String,
    /// The decoder.
    pub method: Method,
    /// Height of the original image, pixels.
    pub height: u32,
    /// Width.
    pub width: u32,
    /// COCO's compressed run lengths (`resect_geometry::Mask::to_rle`):
    /// `pycocotools.mask.decode({"size": [height, width], "counts": counts})`.
    pub counts: String,
}

#[cfg(test)]
mod tests;
