//! From resized pixels to what the image encoder takes.
//!
//! Reference: `transformers`, `models/sam/image_processing_pil_sam.py`, after its resize.

use crate::EncoderError;

/// Mean of red, green and blue, of 1.
pub const IMAGE_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Standard deviation of red, green and blue, of 1.
pub const IMAGE_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// Normalises resized RGB pixels `[3, height, width]`, and pads them right and bottom to `[3, side, side]`.
///
/// Padding comes after normalising: it is 0, the mean colour, and not black. `side` is the configuration's image size, and the
/// longer side of the image is expected to have been resized to it.
///
/// # Errors
/// Pixels that are not `3 * height * width` bytes, or an image without pixels or larger than the model's input.
pub fn normalise(pixels: &[u8], height: usize, width: usize, side: usize) -> Result<Vec<f32>, EncoderError> {
    let refuse = |message: String| Err(EncoderError::Image { height, width, bytes: pixels.len(), message });
    if height == 0 || width == 0 {
        return refuse("it has no pixels".into());
    }
    if height > side || width > side {
        return refuse(format!("larger than the model input of {side} x {side}; resize it first"));
    }
    if pixels.len() != 3 * height * width {
        return refuse(format!("{} bytes are expected, three planes of pixels", 3 * height * width));
    }
    let mut normalised = vec![0f32; 3 * side * side];
    let channels = pixels.chunks_exact(height * width).zip(normalised.chunks_exact_mut(side * side));
    for ((plane, out), (mean, std)) in channels.zip(IMAGE_MEAN.into_iter().zip(IMAGE_STD)) {
        // A byte has 256 values: the divisions are done once for each.
        let table: Vec<f32> = (0..=u8::MAX).map(|byte| (f32::from(byte) / 255.0 - mean) / std).collect();
        for (row, out) in plane.chunks_exact(width).zip(out.chunks_exact_mut(side)) {
            for (byte, out) in row.iter().zip(out) {
                *out = table[usize::from(*byte)];
            }
        }
    }
    Ok(normalised)
}

#[cfg(test)]
mod tests;
