//! Distances between the borders of two masks.

use resect_geometry::{Mask, Nearest, PixelBox};

use crate::quantile;

/// The percentile of HD95.
const PERCENTILE: f64 = 0.95;

/// How far the borders of a predicted mask and of the truth are from each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SurfaceDistance {
    /// 95th percentile of the distances from each border to the other, the larger of both directions, in pixels; `None` when one
    /// mask is empty (`monai.metrics.compute_hausdorff_distance`, `percentile=95`).
    pub hd95: Option<f64>,
    /// Share of the pixels of both borders that lie within the tolerance of the other border: the normalised surface Dice (Nikolov et
    /// al., 2018). `None` when the truth is empty; 0 when nothing is predicted (`monai.metrics.compute_surface_dice`).
    pub surface_dice: Option<f64>,
}

/// Measures two masks of one size; `tolerance` is in pixels, that distance included.
///
/// A mask's border are those of its pixels that have a neighbour to the left, right, above or below which is not in it; whatever
/// lies outside the image is not. (`monai.metrics.utils.get_mask_edges`: the mask less its erosion.) Distances are exact.
pub fn surface_distance(predicted: &Mask, truth: &Mask, tolerance: f64) -> SurfaceDistance {
    let Some(true_box) = truth.bounding_box() else {
        return SurfaceDistance { hd95: None, surface_dice: None };
    };
    let Some(predicted_box) = predicted.bounding_box() else {
        return SurfaceDistance { hd95: None, surface_dice: Some(0.0) };
    };
    // What lies outside both masks has no border.
    let frame = PixelBox {
        x0: true_box.x0.min(predicted_box.x0),
        y0: true_box.y0.min(predicted_box.y0),
        x1: true_box.x1.max(predicted_box.x1),
        y1: true_box.y1.max(predicted_box.y1),
    };
    let (predicted, truth) = (Border::of(predicted, frame), Border::of(truth, frame));
    let mut distances = [predicted.distances_to(&truth), truth.distances_to(&predicted)];
    let near = distances.iter().flatten().filter(|&&distance| distance <= tolerance).count();
    let all: usize = distances.iter().map(Vec::len).sum();
    let [there, back] = distances.each_mut().map(|distances| quantile(distances, PERCENTILE));
    SurfaceDistance {
        hd95: there.zip(back).map(|(there, back)| there.max(back)),
        surface_dice: Some(near as f64 / all as f64),
    }
}

/// The border of a mask within a frame that holds the mask.
struct Border {
    width: usize,
    pixels: Vec<bool>,
}

impl Border {
    fn of(mask: &Mask, frame: PixelBox) -> Self {
        let size = mask.size();
        let inside = |x: u32, y: u32| {
            x > 0
                && y > 0
                && x + 1 < size.width
                && y + 1 < size.height
                && mask.get(x - 1, y)
                && mask.get(x + 1, y)
                && mask.get(x, y - 1)
                && mask.get(x, y + 1)
        };
        let mut pixels = Vec::with_capacity(frame.width() as usize * frame.height() as usize);
        for y in frame.y0..=frame.y1 {
            pixels.extend((frame.x0..=frame.x1).map(|x| mask.get(x, y) && !inside(x, y)));
        }
        Self { width: frame.width() as usize, pixels }
    }

    /// The distance of each of these pixels to the nearest one of another border, which has one.
    fn distances_to(&self, other: &Self) -> Vec<f64> {
        let nearest = Nearest::of(self.width, other.pixels.iter().copied());
        let places = self.pixels.iter().enumerate().filter(|(_, border)| **border);
        let squared = places.map(|(place, _)| nearest.squared(place % self.width, place / self.width, 0));
        squared.map(|squared| (squared as f64).sqrt()).collect()
    }
}

#[cfg(test)]
mod tests;
