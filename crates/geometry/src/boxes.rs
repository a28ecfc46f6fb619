use crate::Size;
use serde::{Deserialize, Serialize};

/// A box in pixels of the original image. All four are pixel indices and the maxima are inclusive: the box of a
/// single pixel at (3, 4) is `3, 4, 3, 4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PixelBox {
    /// Left column.
    pub x0: u32,
    /// Top row.
    pub y0: u32,
    /// Right column, inclusive.
    pub x1: u32,
    /// Bottom row, inclusive.
    pub y1: u32,
}

impl PixelBox {
    /// Moves each side outward by its own number of pixels (left, top, right, bottom), clipped to the image.
    pub fn grown(self, by: [u32; 4], image: Size) -> Self {
        Self {
            x0: self.x0.saturating_sub(by[0]),
            y0: self.y0.saturating_sub(by[1]),
            x1: self.x1.saturating_add(by[2]).min(image.width - 1),
            y1: self.y1.saturating_add(by[3]).min(image.height - 1),
        }
    }

    /// Columns covered.
    pub fn width(self) -> u32 {
        self.x1 - self.x0 + 1
    }

    /// Rows covered.
    pub fn height(self) -> u32 {
        self.y1 - self.y0 + 1
    }

    /// Whether pixel (x, y) lies in the box.
    pub fn contains(self, x: u32, y: u32) -> bool {
        (self.x0..=self.x1).contains(&x) && (self.y0..=self.y1).contains(&y)
    }

    /// [`box_to_model`] of its corners.
    pub fn to_model(self, original: Size, resized: Size) -> [f32; 4] {
        box_to_model([self.x0, self.y0, self.x1, self.y1].map(f64::from), original, resized)
    }
}

/// A point `[x, y]` of the original image in model input pixels: each axis is scaled by its own ratio of the resized to
/// the original size (`SamProcessor._normalize_coordinates`), in double precision.
pub fn point_to_model(point: [f64; 2], original: Size, resized: Size) -> [f32; 2] {
    let x = f64::from(resized.width) / f64::from(original.width);
    let y = f64::from(resized.height) / f64::from(original.height);
    [(point[0] * x) as f32, (point[1] * y) as f32]
}

/// The corners `[x0, y0, x1, y1]` of a box in model input pixels: as [`point_to_model`], but of coordinates in single
/// precision, which `SamProcessor._check_and_preprocess_points` turns those of boxes, and only of boxes, into first.
pub fn box_to_model(corners: [f64; 4], original: Size, resized: Size) -> [f32; 4] {
    let [x0, y0, x1, y1] = corners.map(|corner| f64::from(corner as f32));
    let ([x0, y0], [x1, y1]) =
        (point_to_model([x0, y0], original, resized), point_to_model([x1, y1], original, resized));
    [x0, y0, x1, y1]
}

#[cfg(test)]
mod tests;
