use resect_geometry::PixelBox;

use super::*;

/// A target of the test split.
pub fn target(original: Size, tight: PixelBox) -> Target {
    Target {
        id: "polyp".into(),
        sample: "polyp".into(),
        pixel_hash: String::new(),
        split: Split::Test,
        given_split: String::new(),
        group: "polyp".into(),
        height: original.height,
        width: original.width,
        resized_height: original.height,
        resized_width: original.width,
        x0: tight.x0,
        y0: tight.y0,
        x1: tight.x1,
        y1: tight.y1,
        area_fraction: 0.1,
        components: 1,
        specks_removed: 0,
        noisy_mask: false,
        touches_border: false,
        near_duplicate_of: String::new(),
    }
}
