use crate::{PixelBox, Size};

/// A binary mask, row by row, one `bool` a pixel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    size: Size,
    pixels: Vec<bool>,
}

impl Mask {
    /// A mask from its pixels in row order.
    ///
    /// # Panics
    /// When `pixels` does not hold exactly `size.pixels()` values: that is a mistake of the caller, not of the data.
    pub fn new(size: Size, pixels: Vec<bool>) -> Self {
        assert_eq!(pixels.len(), size.pixels(), "a mask has one value a pixel");
        Self { size, pixels }
    }

    /// An empty mask.
    pub fn empty(size: Size) -> Self {
        Self { size, pixels: vec![false; size.pixels()] }
    }

    /// A mask whose pixel (x, y) is `f(x, y)`.
    pub fn from_fn(size: Size, mut f: impl FnMut(u32, u32) -> bool) -> Self {
        let mut pixels = Vec::with_capacity(size.pixels());
        for y in 0..size.height {
            for x in 0..size.width {
                pixels.push(f(x, y));
            }
        }
        Self { size, pixels }
    }

    /// Height and width.
    pub fn size(&self) -> Size {
        self.size
    }

    /// All pixels in row order.
    pub fn pixels(&self) -> &[bool] {
        &self.pixels
    }

    /// Pixel (x, y).
    pub fn get(&self, x: u32, y: u32) -> bool {
        self.pixels[y as usize * self.size.width as usize + x as usize]
    }

    /// Number of foreground pixels.
    pub fn area(&self) -> usize {
        self.pixels.iter().filter(|&&p| p).count()
    }

    /// The tight box around the foreground; `None` when the mask is empty.
    pub fn bounding_box(&self) -> Option<PixelBox> {
        let mut found: Option<PixelBox> = None;
        for (y, row) in self.pixels.chunks_exact(self.size.width as usize).enumerate() {
            let Some(first) = row.iter().position(|&p| p) else { continue };
            let last = row.iter().rposition(|&p| p).unwrap_or(first);
            let (first, last, y) = (first as u32, last as u32, y as u32);
            found = Some(match found {
                None => PixelBox { x0: first, y0: y, x1: last, y1: y },
                Some(b) => PixelBox { x0: b.x0.min(first), y0: b.y0, x1: b.x1.max(last), y1: y },
            });
        }
        found
    }

    /// The mask on SAM's low-res grid of `side x side`: longest edge resized to `side` with Pillow's nearest rule,
    /// then zero-padded right and bottom, so that it lies on the decoder's logits
    /// (`SamImageProcessor`, `segmentation_maps`).
    pub fn to_low_res(&self, side: u32) -> Mask {
        let small = self.resized_nearest(self.size.with_longest_side(side));
        let mut padded = Mask::empty(Size::square(side));
        let (w, side) = (small.size.width as usize, side as usize);
        for (y, row) in small.pixels.chunks_exact(w).enumerate() {
            padded.pixels[y * side..y * side + w].copy_from_slice(row);
        }
        padded
    }

    /// Pillow's nearest neighbour (`Geometry.c`, `ImagingScaleAffine`): the source coordinate is accumulated in
    /// double precision from half a step. The closed form `floor((i + 0.5) * in / out)` differs on some sizes.
    pub fn resized_nearest(&self, to: Size) -> Mask {
        let source = |from: u32, to: u32| -> Vec<u32> {
            let step = f64::from(from) / f64::from(to);
            let mut at = step * 0.5;
            (0..to)
                .map(|_| {
                    let index = (at as u32).min(from - 1);
                    at += step;
                    index
                })
                .collect()
        };
        let columns = source(self.size.width, to.width);
        let mut pixels = Vec::with_capacity(to.pixels());
        for y in source(self.size.height, to.height) {
            let start = y as usize * self.size.width as usize;
            pixels.extend(columns.iter().map(|&x| self.pixels[start + x as usize]));
        }
        Mask { size: to, pixels }
    }
}

#[cfg(test)]
mod tests;
