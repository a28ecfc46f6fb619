//! How well a mask agrees with the truth, and means of it.
//!
//! Dice is `2 |A and B| / (|A| + |B|)`, IoU `|A and B| / |A or B|`. With an empty truth neither is defined and there is no value,
//! rather than 0 or 1. `ingest` rejects empty masks, so at original resolution that cannot happen; on the low-res grid it can,
//! to an object so small that it falls between the grid's samples.

use serde::{Deserialize, Serialize};

use resect_geometry::Mask;

/// Dice and IoU of one mask.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Overlap {
    pub dice: f64,
    pub iou: f64,
}

/// The agreement of two masks of one size; `None` when the truth is empty.
pub(crate) fn overlap(predicted: &Mask, truth: &Mask) -> Option<Overlap> {
    let pairs = predicted.pixels().iter().zip(truth.pixels());
    let both = pairs.filter(|&(&p, &t)| p && t).count() as f64;
    let (predicted, truth) = (predicted.area() as f64, truth.area() as f64);
    (truth > 0.0)
        .then(|| Overlap { dice: 2.0 * both / (predicted + truth), iou: both / (predicted + truth - both) })
}

/// The agreement of one mask with the truth, at original resolution and on the low-res grid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Score {
    pub original: Option<Overlap>,
    pub low_res: Option<Overlap>,
}

/// Means over some targets, as `metrics.json` has them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Means {
    /// Targets of this class.
    pub samples: usize,
    /// Mean Dice at original resolution; absent without a target to average.
    pub dice: Option<f64>,
    /// Mean IoU at original resolution.
    pub iou: Option<f64>,
    /// Targets whose mask is not empty on the low-res grid: the two means below are over these.
    pub low_res_samples: usize,
    /// Mean Dice on the low-res grid.
    pub low_res_dice: Option<f64>,
    /// Mean IoU on the low-res grid.
    pub low_res_iou: Option<f64>,
}

impl Means {
    /// Means over scores, summed in their order, one after the other: another order would round differently.
    pub(crate) fn of<'a>(scores: impl Iterator<Item = &'a Score> + Clone) -> Self {
        let original = || scores.clone().filter_map(|score| score.original);
        let low_res = || scores.clone().filter_map(|score| score.low_res);
        Self {
            samples: scores.clone().count(),
            dice: mean(original().map(|o| o.dice)),
            iou: mean(original().map(|o| o.iou)),
            low_res_samples: low_res().count(),
            low_res_dice: mean(low_res().map(|o| o.dice)),
            low_res_iou: mean(low_res().map(|o| o.iou)),
        }
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0u32), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

#[cfg(test)]
mod tests {
    use resect_geometry::Size;

    use super::*;

    fn mask(row: &str) -> Mask {
        Mask::new(Size::new(1, row.len() as u32), row.bytes().map(|b| b == b'#').collect())
    }

    #[test]
    fn dice_and_iou_by_hand() {
        for (predicted, truth, dice, iou) in [
            ("##..", "##..", 1.0, 1.0),
            ("##..", "..##", 0.0, 0.0),
            ("###.", ".##.", 0.8, 2.0 / 3.0),
            ("....", ".##.", 0.0, 0.0),
            ("####", "#...", 0.4, 0.25),
        ] {
            assert_eq!(
                overlap(&mask(predicted), &mask(truth)),
                Some(Overlap { dice, iou }),
                "{predicted} {truth}"
            );
        }
    }

    #[test]
    fn without_truth_there_is_no_figure() {
        assert_eq!(overlap(&mask("...."), &mask("....")), None);
        assert_eq!(overlap(&mask("##.."), &mask("....")), None);
    }

    #[test]
    fn means_leave_out_what_has_no_figure_and_count_it() {
        let some = |dice| Some(Overlap { dice, iou: dice / 2.0 });
        let scores = [
            Score { original: some(0.5), low_res: None },
            Score { original: some(1.0), low_res: some(0.25) },
        ];
        let means = Means::of(scores.iter());
        let (dice, iou) = (Some(0.75), Some(0.375));
        let (low_res_dice, low_res_iou) = (Some(0.25), Some(0.125));
        assert_eq!(means, Means { samples: 2, dice, iou, low_res_samples: 1, low_res_dice, low_res_iou });
        assert_eq!(Means::of([].iter()), Means::default());
    }
}
