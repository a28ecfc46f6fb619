//! The rows of the artifact `targets` (`targets.parquet`, `rejected.json`), and the splits they belong to.
//!
//! The crate `targets` reads and writes the artifact. The rows are apart from it, so that programs that only read records need no
//! Arrow.

mod split;

pub use split::Split;

use resect_geometry::{PixelBox, Size};
use serde::{Deserialize, Serialize};

/// One thing to segment: a row of `targets.parquet`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// Unique name: the sample's, with `#<component>` where a sample has a target for each component.
    pub id: String,
    /// Name of the sample (image) it belongs to.
    pub sample: String,
    /// Which image: the hash of its size and pixels, `resect_images::pixel_hash`.
    pub pixel_hash: String,
    /// What it is used for.
    pub split: Split,
    /// The split the dataset gave it; empty where it gave none.
    pub given_split: String,
    /// What must not be split: patient, sequence, or the sample itself.
    pub group: String,
    /// Height of the original image, pixels.
    pub height: u32,
    /// Width of the original image, pixels.
    pub width: u32,
    /// Height of the resized image, pixels.
    pub resized_height: u32,
    /// Width of the resized image, pixels.
    pub resized_width: u32,
    /// The tight box: left column, original pixels.
    pub x0: u32,
    /// Top row.
    pub y0: u32,
    /// Right column, inclusive.
    pub x1: u32,
    /// Bottom row, inclusive.
    pub y1: u32,
    /// Foreground share of the image's area, above 0, up to 1.
    pub area_fraction: f64,
    /// Connected components (8 neighbours) of the target.
    pub components: u32,
    /// Audit: specks removed from the sample's mask.
    pub specks_removed: u32,
    /// Audit: the mask holds more than two values, such as JPEG noise.
    pub noisy_mask: bool,
    /// Audit: the target touches the image's border.
    pub touches_border: bool,
    /// Audit: another sample that looks the same by perceptual hash; empty when none.
    pub near_duplicate_of: String,
}

impl Target {
    /// Size of the original image.
    pub fn original(&self) -> Size {
        Size::new(self.height, self.width)
    }

    /// Size of the image within the model input.
    pub fn resized(&self) -> Size {
        Size::new(self.resized_height, self.resized_width)
    }

    /// The tight box in original pixels.
    pub fn bounding_box(&self) -> PixelBox {
        PixelBox { x0: self.x0, y0: self.y0, x1: self.x1, y1: self.y1 }
    }
}

/// A sample that was left out, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rejected {
    /// Where it stands in the dataset: file and row.
    pub place: String,
    /// Name of the sample, where it has one.
    pub id: String,
    /// What is wrong with it.
    pub reason: String,
}
