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
mod tests;
