//! Resizing as Pillow does it, and the planar layout.

use crate::PixelError;
use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;
use resect_geometry::Size;

/// Bilinear with antialias, as Pillow's `resize(.., BILINEAR)`: a triangle filter as wide as the scale asks for.
///
/// # Errors
/// When the sizes do not fit the pixels: never, for a decoded image.
pub fn resized(image: &RgbImage, to: Size) -> Result<Vec<u8>, PixelError> {
    let fail = |e: &dyn std::fmt::Display| PixelError::from(format!("cannot be resized to {to}: {e}"));
    let source = TypedImageRef::<U8x3>::from_buffer(image.width(), image.height(), image.as_raw())
        .map_err(|e| fail(&e))?;
    let mut resized = vec![0; to.width as usize * to.height as usize * 3];
    let mut target =
        TypedImage::<U8x3>::from_buffer(to.width, to.height, &mut resized).map_err(|e| fail(&e))?;
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    // The typed form: the other makes the resizer of every pixel type a part of the program, a minute of its build.
    Resizer::new().resize_typed(&source, &mut target, &options).map_err(|e| fail(&e))?;
    Ok(resized)
}

/// `[height, width, 3]` to `[3, height, width]`.
pub fn planar(interleaved: &[u8]) -> Vec<u8> {
    (0..3).flat_map(|channel| interleaved.iter().skip(channel).step_by(3).copied()).collect()
}
