//! What the tests and benchmarks of `train` make up.

use resect_geometry::{Mask, Size};
use resect_target_records::{Split, Target};

/// The target of a mask at original resolution, with its box (left, top, right, bottom): a sample of one name with one component,
/// of which nothing is odd.
pub fn target(name: &str, split: Split, resized: Size, mask: &Mask, [x0, y0, x1, y1]: [u32; 4]) -> Target {
    Target {
        id: name.into(),
        sample: name.into(),
        pixel_hash: name.into(),
        group: name.into(),
        split,
        given_split: String::new(),
        height: mask.size().height,
        width: mask.size().width,
        resized_height: resized.height,
        resized_width: resized.width,
        x0,
        y0,
        x1,
        y1,
        area_fraction: mask.area() as f64 / mask.size().pixels() as f64,
        components: 1,
        specks_removed: 0,
        noisy_mask: false,
        touches_border: false,
        near_duplicate_of: String::new(),
    }
}
