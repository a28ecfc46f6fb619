use crate::{Mask, PixelBox, Size};
use serde::{Deserialize, Serialize};

/// One of the eight symmetries of the square (the dihedral group D4), applied to an image of any size: what augments
/// without inventing a pixel. Quarter turns and transpositions swap height and width.
///
/// Rotations are **counterclockwise**, as in numpy and Pillow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum View {
    /// The image as it is.
    #[serde(rename = "identity")]
    Identity,
    /// A quarter turn counterclockwise: `numpy.rot90(a)`, Pillow's `ROTATE_90`.
    #[serde(rename = "rotate-90")]
    Rotate90,
    /// A half turn: `numpy.rot90(a, 2)`, `ROTATE_180`.
    #[serde(rename = "rotate-180")]
    Rotate180,
    /// A quarter turn clockwise: `numpy.rot90(a, 3)`, `ROTATE_270`.
    #[serde(rename = "rotate-270")]
    Rotate270,
    /// Left and right swapped: `numpy.fliplr(a)`, `FLIP_LEFT_RIGHT`.
    #[serde(rename = "flip-horizontal")]
    FlipHorizontal,
    /// Top and bottom swapped: `numpy.flipud(a)`, `FLIP_TOP_BOTTOM`.
    #[serde(rename = "flip-vertical")]
    FlipVertical,
    /// Mirrored at the diagonal from top left: `a.T`, `TRANSPOSE`.
    #[serde(rename = "transpose")]
    Transpose,
    /// Mirrored at the diagonal from top right: `numpy.rot90(a, 2).T`, `TRANSVERSE`.
    #[serde(rename = "anti-transpose")]
    AntiTranspose,
}

/// A view in steps: first the axes are swapped, or not, then what results is mirrored, or not.
struct Steps {
    swap: bool,
    mirror_x: bool,
    mirror_y: bool,
}

impl View {
    /// All eight.
    pub const ALL: [Self; 8] = [
        Self::Identity,
        Self::Rotate90,
        Self::Rotate180,
        Self::Rotate270,
        Self::FlipHorizontal,
        Self::FlipVertical,
        Self::Transpose,
        Self::AntiTranspose,
    ];
    /// Those that keep height and width.
    pub const FLIPS: [Self; 4] = [Self::Identity, Self::FlipHorizontal, Self::FlipVertical, Self::Rotate180];

    /// Its name on disk.
    pub fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Rotate90 => "rotate-90",
            Self::Rotate180 => "rotate-180",
            Self::Rotate270 => "rotate-270",
            Self::FlipHorizontal => "flip-horizontal",
            Self::FlipVertical => "flip-vertical",
            Self::Transpose => "transpose",
            Self::AntiTranspose => "anti-transpose",
        }
    }

    /// The view that undoes this one: the other quarter turn, or the view itself.
    pub fn inverse(self) -> Self {
        match self {
            Self::Rotate90 => Self::Rotate270,
            Self::Rotate270 => Self::Rotate90,
            other => other,
        }
    }

    fn steps(self) -> Steps {
        let (swap, mirror_x, mirror_y) = match self {
            Self::Identity => (false, false, false),
            Self::FlipHorizontal => (false, true, false),
            Self::FlipVertical => (false, false, true),
            Self::Rotate180 => (false, true, true),
            Self::Transpose => (true, false, false),
            Self::Rotate270 => (true, true, false),
            Self::Rotate90 => (true, false, true),
            Self::AntiTranspose => (true, true, true),
        };
        Steps { swap, mirror_x, mirror_y }
    }

    /// The size of an image of `size` in this view.
    pub fn size(self, size: Size) -> Size {
        if self.steps().swap { Size::new(size.width, size.height) } else { size }
    }

    /// Where pixel (x, y) of an image of `size` lies in this view.
    pub fn pixel(self, [x, y]: [u32; 2], size: Size) -> [u32; 2] {
        let (steps, to) = (self.steps(), self.size(size));
        let [x, y] = if steps.swap { [y, x] } else { [x, y] };
        [
            if steps.mirror_x { to.width - 1 - x } else { x },
            if steps.mirror_y { to.height - 1 - y } else { y },
        ]
    }

    /// Where a point of an image of `size` lies in this view, in units of [`View::pixel`]: whole numbers are pixels. Of a point
    /// between pixels, the result may lie up to one pixel outside, as pixel indices are mirrored at the middle of the last pixel.
    pub fn point(self, [x, y]: [f64; 2], size: Size) -> [f64; 2] {
        let (steps, to) = (self.steps(), self.size(size));
        let [x, y] = if steps.swap { [y, x] } else { [x, y] };
        let mirrored = |at: f64, side: u32| f64::from(side) - 1.0 - at;
        [
            if steps.mirror_x { mirrored(x, to.width) } else { x },
            if steps.mirror_y { mirrored(y, to.height) } else { y },
        ]
    }

    /// The box around the same pixels in this view of an image of `size`.
    pub fn pixel_box(self, of: PixelBox, size: Size) -> PixelBox {
        let ([ax, ay], [bx, by]) = (self.pixel([of.x0, of.y0], size), self.pixel([of.x1, of.y1], size));
        PixelBox { x0: ax.min(bx), y0: ay.min(by), x1: ax.max(bx), y1: ay.max(by) }
    }

    /// This view of one value a pixel, in row order as `values` is.
    ///
    /// # Panics
    /// When `values` does not hold `size.pixels()` values: that is a mistake of the caller, not of the data.
    pub fn grid<T: Copy>(self, values: &[T], size: Size) -> Vec<T> {
        assert_eq!(values.len(), size.pixels(), "a grid has one value a pixel");
        let (back, to) = (self.inverse(), self.size(size));
        let mut seen = Vec::with_capacity(values.len());
        for y in 0..to.height {
            for x in 0..to.width {
                let [x, y] = back.pixel([x, y], to);
                seen.push(values[y as usize * size.width as usize + x as usize]);
            }
        }
        seen
    }

    /// This view of an image's planes, `[planes, height, width]`.
    ///
    /// # Panics
    /// When `pixels` is no whole number of planes of `size`: that is a mistake of the caller, not of the data.
    pub fn planes(self, pixels: &[u8], size: Size) -> Vec<u8> {
        pixels.chunks(size.pixels()).flat_map(|plane| self.grid(plane, size)).collect()
    }

    /// This view of a mask. Its low-res grid is that of any mask ([`Mask::to_low_res`]): padded right and bottom
    /// whatever the view. Turning the padded grid instead would put the padding elsewhere, and turning its content is
    /// not the same either: the nearest rule does not pick mirrored pixels.
    pub fn mask(self, of: &Mask) -> Mask {
        Mask::new(self.size(of.size()), self.grid(of.pixels(), of.size()))
    }
}

impl std::fmt::Display for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests;
