//! What the artifact `evaluation` states: `metrics.json` and the rows of `samples.parquet`.

use serde::{Deserialize, Serialize};

use resect_data::checkpoint::{SelectedBy, Summary};
use resect_data::targets::Split;

use crate::metrics::{Means, Score};
use crate::samples::Sample;

/// Format of `metrics.json`.
pub const FORMAT: &str = "resect-evaluation/1.0";

/// What made a mask out of a target's tight box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// The class of a target that covers this fraction of its image.
    pub fn of(area_fraction: f64, [medium, large]: [f64; 2]) -> Self {
        match area_fraction {
            fraction if fraction < medium => Self::Small,
            fraction if fraction < large => Self::Medium,
            _ => Self::Large,
        }
    }
}

/// `metrics.json`: means over the test split, one entry a method.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// [`FORMAT`].
    pub format: String,
    /// The split that is reported.
    pub split: Split,
    /// Targets scored; `samples.parquet` has a row of each method for each.
    pub samples: usize,
    /// Distinct images they lie on.
    pub images: usize,
    /// Which weights "tuned" are.
    pub checkpoint: Kept,
    /// Bounds of the size classes, as fractions of the image's area.
    pub size_bounds: [f64; 2],
    /// A row of each of [`Method::ALL`], in that order.
    pub methods: Vec<MethodMetrics>,
}

/// The epoch whose weights the checkpoint holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// The epoch, from 1.
    pub epoch: u32,
    /// Epochs trained.
    pub epochs: u32,
    /// How the epoch was chosen.
    pub selected_by: SelectedBy,
    /// Its mean Dice on the validation part, on the low-res grid; absent without a validation part.
    pub validation_dice: Option<f64>,
}

impl From<&Summary> for Kept {
    fn from(summary: &Summary) -> Self {
        let &Summary { epoch, epochs, selected_by, validation_dice, .. } = summary;
        Self { epoch, epochs, selected_by, validation_dice }
    }
}

/// The figures of one method.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MethodMetrics {
    /// What made the masks.
    pub method: Method,
    /// Over all targets.
    pub all: Means,
    /// Over small ones.
    pub small: Means,
    /// Over medium ones.
    pub medium: Means,
    /// Over large ones.
    pub large: Means,
}

/// The scores of one target, by [`Method::ALL`].
pub(crate) type Scores = [Score; Method::ALL.len()];

impl Metrics {
    /// Means of the scores of each sample.
    pub(crate) fn of(
        samples: &[Sample<'_>],
        scores: &[Scores],
        summary: &Summary,
        size_bounds: [f64; 2],
    ) -> Self {
        let images: std::collections::HashSet<_> = samples.iter().map(|s| &s.target.pixel_hash).collect();
        let class = |sample: &Sample<'_>| SizeClass::of(sample.target.area_fraction, size_bounds);
        let methods = Method::ALL.into_iter().enumerate().map(|(index, method)| {
            let of_class = |wanted: Option<SizeClass>| {
                let rows = samples.iter().zip(scores);
                let rows = rows.filter(|(sample, _)| wanted.is_none_or(|wanted| class(sample) == wanted));
                Means::of(rows.map(|(_, scores)| &scores[index]))
            };
            MethodMetrics {
                method,
                all: of_class(None),
                small: of_class(Some(SizeClass::Small)),
                medium: of_class(Some(SizeClass::Medium)),
                large: of_class(Some(SizeClass::Large)),
            }
        });
        Self {
            format: FORMAT.into(),
            split: Split::Test,
            samples: samples.len(),
            images: images.len(),
            checkpoint: summary.into(),
            size_bounds,
            methods: methods.collect(),
        }
    }
}

/// One method on one target: a row of `samples.parquet`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SampleRow {
    /// The target.
    pub id: String,
    /// The sample (image) it belongs to.
    pub sample: String,
    /// What made the mask.
    pub method: Method,
    /// Dice at original resolution; absent when the truth is empty.
    pub dice: Option<f64>,
    /// IoU at original resolution.
    pub iou: Option<f64>,
    /// Dice on the low-res grid; absent when the truth is empty there.
    pub low_res_dice: Option<f64>,
    /// IoU on the low-res grid.
    pub low_res_iou: Option<f64>,
    /// Foreground share of the image's area.
    pub area_fraction: f64,
    /// Its class by `evaluate.size_bounds`.
    pub size_class: SizeClass,
}

/// The rows of `samples.parquet`: target after target, the methods of each in the order of [`Method::ALL`].
pub(crate) fn sample_rows(
    samples: &[Sample<'_>],
    scores: &[Scores],
    size_bounds: [f64; 2],
) -> Vec<SampleRow> {
    let rows = samples.iter().zip(scores).flat_map(|(sample, scores)| {
        let target = sample.target;
        Method::ALL.into_iter().zip(scores).map(move |(method, score)| SampleRow {
            id: target.id.clone(),
            sample: target.sample.clone(),
            method,
            dice: score.original.map(|o| o.dice),
            iou: score.original.map(|o| o.iou),
            low_res_dice: score.low_res.map(|o| o.dice),
            low_res_iou: score.low_res.map(|o| o.iou),
            area_fraction: target.area_fraction,
            size_class: SizeClass::of(target.area_fraction, size_bounds),
        })
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_the_class_above_it() {
        for (fraction, class) in [
            (0.001, SizeClass::Small),
            (0.05, SizeClass::Medium),
            (0.19, SizeClass::Medium),
            (0.2, SizeClass::Large),
            (1.0, SizeClass::Large),
        ] {
            assert_eq!(SizeClass::of(fraction, [0.05, 0.2]), class, "{fraction}");
        }
    }
}
