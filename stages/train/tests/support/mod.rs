//! What the tests and benchmarks of `train` make up.

#![allow(dead_code, reason = "each test uses a part of it")]

use resect_checkpoint::{NamedTensor, TensorFile};
use resect_geometry::{Mask, Size};
use resect_target_records::{Split, Target};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The folder of the fixtures.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures")
}

/// All tensors of a file.
pub fn tensors(path: &Path) -> Vec<NamedTensor> {
    TensorFile::open(path).unwrap().read_all().unwrap()
}

/// A sample of `curve_reference.py`.
#[derive(Deserialize)]
pub struct Row {
    /// Height and width of the original image.
    size: [u32; 2],
    /// Height and width within the model input.
    resized: [u32; 2],
    /// Left, top, right, bottom; inclusive.
    #[serde(rename = "box")]
    bounds: [u32; 4],
    /// Lengths of the runs of equal pixels, zeros first.
    mask: Vec<usize>,
}

impl Row {
    /// The target of the sample, with its mask.
    pub fn target(&self, name: &str) -> (Target, Mask) {
        let ([height, width], [resized_height, resized_width]) = (self.size, self.resized);
        let runs = self.mask.iter().enumerate();
        let pixels: Vec<bool> =
            runs.flat_map(|(i, &length)| std::iter::repeat_n(i % 2 == 1, length)).collect();
        let mask = Mask::new(Size::new(height, width), pixels);
        if let Some(tight) = mask.bounding_box() {
            assert_eq!([tight.x0, tight.y0, tight.x1, tight.y1], self.bounds);
        }
        let resized = Size::new(resized_height, resized_width);
        (target(name, Split::Train, resized, &mask, self.bounds), mask)
    }
}

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
