//! What is embedded: images under views.

use std::borrow::Cow;

use resect_geometry::{Size, View};
use resect_images::ImageRef;

/// What one embedding is of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    pub(crate) image: ImageRef<'a>,
    pub(crate) view: View,
}

impl<'a> Row<'a> {
    /// Every image under every view. The rows of a view lie together, so that those of the identity, which all but training
    /// read, are the first ones, and the only ones where nothing is augmented.
    pub(crate) fn all(images: &[ImageRef<'a>], views: &[View]) -> Vec<Self> {
        let of = |&view: &View| images.iter().map(move |&image| Self { image, view });
        views.iter().flat_map(of).collect()
    }

    /// What the index says of it.
    pub(crate) fn key(&self) -> (&'a str, View) {
        (self.image.pixel_hash, self.view)
    }

    /// Size of what the encoder sees, within the model input.
    pub(crate) fn size(&self) -> Size {
        self.view.size(self.image.resized)
    }

    /// What the encoder sees, u8 `[3, height, width]`. The resized image is turned: resizing the turned original would give
    /// the same bytes under flips, and up to one step of 255 under quarter turns (`crates/pixels/tests/views.rs`).
    pub(crate) fn pixels(&self) -> Cow<'a, [u8]> {
        match self.view {
            View::Identity => Cow::Borrowed(self.image.pixels),
            view => Cow::Owned(view.planes(self.image.pixels, self.image.resized)),
        }
    }
}
