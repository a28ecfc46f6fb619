//! The figures of one mask on one target.

use resect_data::evaluation::Figures;
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
mod tests {
    use super::*;

    #[test]
    fn cells_belong_to_the_image_by_their_centres() {
        for (side, cells) in
            [(1024, 256), (1023, 256), (1022, 255), (1021, 255), (1019, 255), (1018, 254), (2, 1)]
        {
            let found = image_cells(Size::new(side, 1024), 256, 1024);
            let expected = (0..256).filter(|i| (f64::from(*i) + 0.5) * 4.0 < f64::from(side)).count().max(1);
            assert_eq!((found.height as usize, found.width), (expected, 256), "{side}");
            assert_eq!(found.height, cells, "{side}");
        }
    }

    #[test]
    fn probabilities_count_within_the_image_alone() {
        let size = Size::new(2, 3);
        let truth = Mask::from_fn(size, |x, y| x == 0 && y == 0);
        let logits = [3.0f32.ln(), -(3.0f32.ln()), 50.0, 50.0, 50.0, 50.0];
        let found = figures(&Predicted::of_logits(size, &logits), &truth, 1.0, Size::new(1, 2));
        assert!((found.mean_absolute_error.unwrap() - 0.25).abs() < 1e-6);
        assert_eq!(found.precision, Some(0.2));
        let sure = Predicted { mask: truth.clone(), probabilities: None };
        assert_eq!(figures(&sure, &truth, 1.0, size).mean_absolute_error, Some(0.0));
    }

    #[test]
    fn without_truth_there_is_no_figure_and_without_prediction_no_distance() {
        let size = Size::new(4, 4);
        let some = Mask::from_fn(size, |x, _| x < 2);
        let of = |mask: &Mask| Predicted { mask: mask.clone(), probabilities: None };
        assert_eq!(figures(&of(&some), &Mask::empty(size), 1.0, size), Figures::default());
        let missed = figures(&of(&Mask::empty(size)), &some, 1.0, size);
        assert_eq!((missed.dice, missed.precision, missed.hd95), (Some(0.0), None, None));
        assert_eq!((missed.recall, missed.surface_dice), (Some(0.0), Some(0.0)));
    }
}
