//! What a user can choose about a phantom dataset.

use serde::{Deserialize, Serialize};

/// The shortest and longest side an image may have, in pixels. Below, textures fall under the pixel grid.
const SIDE: (u32, u32) = (96, 2048);
/// More images than this is a typing error: ids have at least four digits, and 100,000 images are about 15 GB.
const MOST_IMAGES: usize = 100_000;

/// The parameters of a phantom dataset. Every field enters the dataset's bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PhantomParams {
    /// Number of images, 1 to 100,000. Raising it adds images and changes none.
    pub images: usize,
    /// Seed of all random choices, any value.
    pub seed: u64,
    /// Smallest image width in pixels, 96 to 2048.
    pub min_width: u32,
    /// Largest image width in pixels, `min_width` to 2048.
    pub max_width: u32,
    /// Share of images with two or three growths, which may touch, 0 to 1.
    pub several_share: f64,
    /// Share of images in the split `validation`, 0 to 1.
    pub validation_share: f64,
    /// Share of images in the split `test`, 0 to 1; with `validation_share` less than 1, so that some are left for
    /// `train`.
    pub test_share: f64,
}

impl Default for PhantomParams {
    fn default() -> Self {
        Self {
            images: 320,
            seed: 0,
            min_width: 288,
            max_width: 416,
            several_share: 0.15,
            validation_share: 0.0,
            test_share: 0.25,
        }
    }
}

/// A parameter outside its range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {message}")]
pub struct InvalidParam {
    /// The field of [`PhantomParams`].
    pub field: &'static str,
    /// What is wrong with it, and the range it must lie in.
    pub message: String,
}

/// What an image is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// Fits the model.
    Train,
    /// Chooses between models.
    Validation,
    /// Measures the chosen model.
    Test,
}

impl Split {
    /// The name in `splits.csv`.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Validation => "validation",
            Split::Test => "test",
        }
    }
}

impl PhantomParams {
    /// Checks every field against its range; the error names the first field outside.
    pub fn validate(&self) -> Result<(), InvalidParam> {
        let check = |ok: bool, field, message: String| {
            if ok { Ok(()) } else { Err(InvalidParam { field, message }) }
        };
        let side = SIDE.0..=SIDE.1;
        let share = 0.0..=1.0;
        check(
            (1..=MOST_IMAGES).contains(&self.images),
            "images",
            format!("must be 1 to {MOST_IMAGES}, not {}", self.images),
        )?;
        for (field, width) in [("min_width", self.min_width), ("max_width", self.max_width)] {
            let message = format!("must be {} to {} pixels, not {width}", SIDE.0, SIDE.1);
            check(side.contains(&width), field, message)?;
        }
        check(
            self.min_width <= self.max_width,
            "max_width",
            format!("must be at least min_width = {}, not {}", self.min_width, self.max_width),
        )?;
        for (field, value) in [
            ("several_share", self.several_share),
            ("validation_share", self.validation_share),
            ("test_share", self.test_share),
        ] {
            check(share.contains(&value), field, format!("must be 0 to 1, not {value}"))?;
        }
        let held_out = self.validation_share + self.test_share;
        check(
            held_out < 1.0,
            "test_share",
            format!("and validation_share must add up to less than 1, not {held_out}"),
        )
    }

    /// The widths to draw from, in range whatever the fields say: [`scene`](crate::scene) cannot fail.
    pub(crate) fn widths(&self) -> (u32, u32) {
        let low = self.min_width.clamp(SIDE.0, SIDE.1);
        (low, self.max_width.clamp(low, SIDE.1))
    }

    /// The split of image `index`. Splits are spread evenly and depend on the index alone, so more images never
    /// move an earlier one to another split.
    pub fn split(&self, index: usize) -> Split {
        // Image i is in a split of share s when i * s passes a whole number on the way to i + 1.
        let before = |index: usize, share: f64| (index as f64 * share + 1e-9) as usize;
        let steps = |index: usize, share: f64| before(index + 1, share) > before(index, share);
        if steps(index, self.test_share) {
            return Split::Test;
        }
        let rest = index - before(index, self.test_share).min(index);
        let share = self.validation_share / (1.0 - self.test_share).max(1e-9);
        if steps(rest, share) { Split::Validation } else { Split::Train }
    }
}

#[cfg(test)]
mod tests;
