//! The figures of one mask on one target.

use resect_evaluation_records::Figures;
use resect_geometry::{Mask, Size};
use resect_metrics::{mean_absolute_error, overlap, surface_distance};

/// A mask beside how likely each of its pixels belongs to the object.
pub(crate) struct Predicted {
    pub mask: Mask,
    /// Absent where the mask is all that is said.
    pub probabilities: Option<Vec<f32>>,
}

impl Predicted {
    pub fn of_logits(size: Size, logits: &[f32]) -> Self {
        let mask = mask_of(size, logits);
        let probabilities = logits.iter().map(|&logit| 1.0 / (1.0 + (-logit).exp())).collect();
        Self { mask, probabilities: Some(probabilities) }
    }
}

/// The mask is where the logit is above 0, as SAM has it.
pub(crate) fn mask_of(size: Size, logits: &[f32]) -> Mask {
    Mask::new(size, logits.iter().map(|&logit| logit > 0.0).collect())
}

/// The figures of a mask; `counted` are the rows and columns whose probabilities count, those of the image.
pub(crate) fn figures(
    predicted: &Predicted,
    truth: &Mask,
    tolerance: f64,
    counted: Size,
) -> Figures<Option<f64>> {
    let Some(overlap) = overlap(&predicted.mask, truth) else { return Figures::default() };
    let surface = surface_distance(&predicted.mask, truth, tolerance);
    let width = truth.size().width as usize;
    let places = (0..counted.height as usize)
        .flat_map(|row| row * width..row * width + counted.width as usize)
        .map(|place| {
            let sure = || f32::from(u8::from(predicted.mask.pixels()[place]));
            let probability = predicted.probabilities.as_ref().map_or_else(sure, |all| all[place]);
            (probability, truth.pixels()[place])
        });
    Figures {
        dice: Some(overlap.dice),
        iou: Some(overlap.iou),
        precision: overlap.precision,
        recall: Some(overlap.recall),
        hd95: surface.hd95,
        surface_dice: surface.surface_dice,
        mean_absolute_error: mean_absolute_error(places),
    }
}

/// Rows and columns of the low-res grid whose centres lie in the image; the rest is padding.
pub(crate) fn image_cells(resized: Size, low_res: u32, input: u32) -> Size {
    // Twice the centre of cell i is (2 i + 1) input / low_res.
    let cells = |side: u32| {
        let (side, low_res, input) = (u64::from(side), u64::from(low_res), u64::from(input));
        ((2 * side * low_res + input - 1) / (2 * input)).clamp(1, low_res) as u32
    };
    Size::new(cells(resized.height), cells(resized.width))
}

#[cfg(test)]
mod tests;
