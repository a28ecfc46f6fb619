//! Image sizes, boxes, masks and views (flips and quarter turns), and how they map between three frames:
//!
//! - the **original** image, `h x w` pixels, in which masks, boxes and results are stated;
//! - the **model input**, `S x S` (1024 for the published models): the image resized so that its longest side is
//!   `S`, zero-padded right and bottom;
//! - the **low-res grid**, `S/4 x S/4` (256): the frame of the mask decoder's logits, padded the same way.
//!
//! All rules are those of Hugging Face `transformers` (`models/sam/image_processing_pil_sam.py`,
//! `processing_sam.py`) and Pillow, to the pixel.

mod boxes;
mod distance;
mod interior;
mod mask;
mod outline;
mod rle;
mod upscale;
mod view;
mod views;

pub use boxes::{PixelBox, box_to_model, point_to_model};
pub use distance::Nearest;
pub use mask::Mask;
pub use rle::RleError;
pub use upscale::upscale_logits;
pub use view::View;
pub use views::Views;

use serde::{Deserialize, Serialize};

/// Height and width in pixels, both at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Size {
    /// Rows.
    pub height: u32,
    /// Columns.
    pub width: u32,
}

impl Size {
    /// A size of `height` rows and `width` columns.
    pub const fn new(height: u32, width: u32) -> Self {
        Self { height, width }
    }

    /// A square.
    pub const fn square(side: u32) -> Self {
        Self::new(side, side)
    }

    /// Number of pixels.
    pub const fn pixels(self) -> usize {
        self.height as usize * self.width as usize
    }

    /// The size whose longest side is `longest`, aspect ratio kept: `int(side * scale + 0.5)`
    /// (`SamImageProcessor._get_preprocess_shape`). No side falls below one pixel.
    pub fn with_longest_side(self, longest: u32) -> Self {
        let scale = f64::from(longest) / f64::from(self.height.max(self.width));
        let side = |s: u32| ((f64::from(s) * scale + 0.5) as u32).max(1);
        Self::new(side(self.height), side(self.width))
    }
}

impl std::fmt::Display for Size {
    /// `width x height`, as image tools print it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

#[cfg(test)]
mod tests;
