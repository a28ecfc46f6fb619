//! From a picture file's bytes to upright 8-bit pixels, resized for the model: what `ingest` does to a dataset and `predict` to
//! a single image, so that both see the same pixels.

mod decode;
mod resize;

pub use decode::{Grey, Rgb, grey, rgb, upright_size};
pub use resize::resized;

/// Why a file's bytes do not become pixels, as the end of a sentence about the file: "it has no pixels".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PixelError {
    /// More pixels than are accepted.
    #[error("it has {width}x{height} pixels, more than the {max} that are accepted")]
    TooLarge {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
        /// The most pixels that are accepted.
        max: u64,
    },
    /// Anything else: no image, a damaged one, one of samples that are not read.
    #[error("{0}")]
    Unreadable(String),
}

impl<T: Into<String>> From<T> for PixelError {
    fn from(reason: T) -> Self {
        Self::Unreadable(reason.into())
    }
}
