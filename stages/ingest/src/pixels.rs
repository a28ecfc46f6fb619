//! Resizing as Pillow does it, and the planar layout.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;
use resect_geometry::Size;

/// Bilinear with antialias, as Pillow's `resize(.., BILINEAR)`: a triangle filter as wide as the scale asks for.
///
/// # Errors
/// When the sizes do not fit the pixels: never, for a decoded image.
pub fn resized(image: &RgbImage, to: Size) -> Result<Vec<u8>, String> {
    let fail = |e: &dyn std::fmt::Display| format!("cannot be resized to {to}: {e}");
    let source = ImageRef::new(image.width(), image.height(), image.as_raw(), PixelType::U8x3)
        .map_err(|e| fail(&e))?;
    let mut target = Image::new(to.width, to.height, PixelType::U8x3);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    Resizer::new().resize(&source, &mut target, &options).map_err(|e| fail(&e))?;
    Ok(target.into_vec())
}

/// `[height, width, 3]` to `[3, height, width]`.
pub fn planar(interleaved: &[u8]) -> Vec<u8> {
    (0..3).flat_map(|channel| interleaved.iter().skip(channel).step_by(3).copied()).collect()
}
