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
mod tests {
    use resect_geometry::Size;

    use super::*;

    fn disc(size: Size, (cx, cy): (i64, i64), radius: i64) -> Mask {
        Mask::from_fn(size, |x, y| (i64::from(x) - cx).pow(2) + (i64::from(y) - cy).pow(2) <= radius * radius)
    }

    #[test]
    fn distances_are_those_to_every_pixel_tried_one_by_one() {
        let size = Size::new(37, 61);
        let speckle = Mask::from_fn(size, |x, y| (x * 7 + y * y * 13) % 11 == 0);
        let masks = [disc(size, (20, 12), 9), disc(size, (50, 30), 14), disc(size, (20, 12), 0), speckle];
        let frame = PixelBox { x0: 0, y0: 0, x1: 60, y1: 36 };
        let places = |border: &Border| -> Vec<(i64, i64)> {
            let width = border.width;
            let set = border.pixels.iter().enumerate().filter(|(_, border)| **border);
            set.map(|(i, _)| ((i % width) as i64, (i / width) as i64)).collect()
        };
        for a in &masks {
            for b in &masks {
                let (a, b) = (Border::of(a, frame), Border::of(b, frame));
                let nearest = |&(x, y): &(i64, i64)| {
                    places(&b).iter().map(|(u, v)| (x - u).pow(2) + (y - v).pow(2)).min().unwrap() as f64
                };
                let expected: Vec<f64> = places(&a).iter().map(|place| nearest(place).sqrt()).collect();
                assert_eq!(a.distances_to(&b), expected);
            }
        }
    }

    #[test]
    fn masks_of_nothing_have_no_distance() {
        let (empty, some) = (Mask::empty(Size::new(5, 5)), disc(Size::new(5, 5), (2, 2), 1));
        let none = SurfaceDistance { hd95: None, surface_dice: None };
        assert_eq!(surface_distance(&empty, &empty, 2.0), none);
        assert_eq!(surface_distance(&some, &empty, 2.0), none);
        let missed = SurfaceDistance { hd95: None, surface_dice: Some(0.0) };
        assert_eq!(surface_distance(&empty, &some, 2.0), missed);
        assert_eq!(
            surface_distance(&some, &some, 0.0),
            SurfaceDistance { hd95: Some(0.0), surface_dice: Some(1.0) }
        );
    }
}
