//! Pixels that two masks have in common.

use resect_geometry::Mask;

/// Agreement of a predicted mask P with the truth T, counted in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Overlap {
    /// `2 |P and T| / (|P| + |T|)` (`monai.metrics.compute_dice`).
    pub dice: f64,
    /// `|P and T| / |P or T|` (`monai.metrics.compute_iou`).
    pub iou: f64,
    /// `|P and T| / |P|`; `None` when nothing is predicted.
    pub precision: Option<f64>,
    /// `|P and T| / |T|`.
    pub recall: f64,
}

/// The agreement of two masks of one size; `None` when the truth is empty.
pub fn overlap(predicted: &Mask, truth: &Mask) -> Option<Overlap> {
    let pairs = predicted.pixels().iter().zip(truth.pixels());
    let both = pairs.filter(|&(&p, &t)| p && t).count() as f64;
    let (predicted, truth) = (predicted.area() as f64, truth.area() as f64);
    (truth > 0.0).then(|| Overlap {
        dice: 2.0 * both / (predicted + truth),
        iou: both / (predicted + truth - both),
        precision: (predicted > 0.0).then(|| both / predicted),
        recall: both / truth,
    })
}

/// Mean distance of probabilities (0 to 1) to the truth (0 or 1), pixel by pixel; `None` without a pixel.
pub fn mean_absolute_error(pixels: impl Iterator<Item = (f32, bool)>) -> Option<f64> {
    let error =
        |(probability, truth): (f32, bool)| (f64::from(probability) - f64::from(u8::from(truth))).abs();
    crate::mean(pixels.map(error))
}

#[cfg(test)]
mod tests {
    use resect_geometry::Size;

    use super::*;

    fn mask(row: &str) -> Mask {
        Mask::new(Size::new(1, row.len() as u32), row.bytes().map(|b| b == b'#').collect())
    }

    #[test]
    fn overlaps_by_hand() {
        for (predicted, truth, dice, iou, precision, recall) in [
            ("##..", "##..", 1.0, 1.0, Some(1.0), 1.0),
            ("##..", "..##", 0.0, 0.0, Some(0.0), 0.0),
            ("###.", ".##.", 0.8, 2.0 / 3.0, Some(2.0 / 3.0), 1.0),
            ("....", ".##.", 0.0, 0.0, None, 0.0),
            ("####", "#...", 0.4, 0.25, Some(0.25), 1.0),
            ("#...", "####", 0.4, 0.25, Some(1.0), 0.25),
        ] {
            let expected = Overlap { dice, iou, precision, recall };
            assert_eq!(overlap(&mask(predicted), &mask(truth)), Some(expected), "{predicted} {truth}");
        }
    }

    #[test]
    fn without_truth_there_is_no_figure() {
        assert_eq!(overlap(&mask("...."), &mask("....")), None);
        assert_eq!(overlap(&mask("##.."), &mask("....")), None);
        assert_eq!(mean_absolute_error([].into_iter()), None);
    }

    #[test]
    fn errors_of_probabilities_count_both_ways() {
        assert_eq!(mean_absolute_error([(0.75, true), (0.25, false), (1.0, false)].into_iter()), Some(0.5));
    }
}
