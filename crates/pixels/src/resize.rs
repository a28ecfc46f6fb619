//! Resizing as Pillow does it, bit for bit, and the planar layout.
//!
//! Pillow (`src/libImaging/Resample.c`) resizes 8-bit images with weights of 22 bits, along rows and along columns, and rounds to 8
//! bits in between. A resizer of other weights is 1/255 off in every tenth value, which is nothing to the eye and
//! moves logits.

use crate::PixelError;
use image::RgbImage;
use resect_geometry::Size;

const CHANNELS: usize = 3;
/// Bits of a weight behind the point: with 8 of a value, one for the sign and one to spare, 32.
const PRECISION: u32 = 22;

/// Bilinear with antialias, as Pillow's `resize(.., BILINEAR)`: a triangle filter as wide as the scale asks for.
///
/// # Errors
/// An image, or a target, without pixels.
pub fn resized(image: &RgbImage, to: Size) -> Result<Vec<u8>, PixelError> {
    let from = Size::new(image.height(), image.width());
    if from.pixels() == 0 || to.pixels() == 0 {
        return Err(PixelError::from(format!("cannot be resized from {from} to {to}")));
    }
    let pixels = image.as_raw();
    Ok(if columns_first(from, to) {
        along_rows(&along_columns(pixels, from.width, from.height, to.height), from.width, to.width)
    } else {
        along_columns(&along_rows(pixels, from.width, to.width), to.width, from.height, to.height)
    })
}

/// Which pass comes first matters, because there is rounding in between. Rows do, unless the height shrinks by more than twice of
/// what the width does (found by trial on two thousand sizes with Pillow 13).
fn columns_first(from: Size, to: Size) -> bool {
    let shrinks = |from: u32, to: u32| i64::from(from) - i64::from(to);
    let (height, width) = (shrinks(from.height, to.height), shrinks(from.width, to.width));
    height > 0 && height > 2 * width
}

/// What a pixel of the result is made of: neighbours from `first` on, each with its weight.
struct Neighbours {
    first: usize,
    weights: Vec<i32>,
}

/// The neighbours of each of `to` pixels among `from`. (`precompute_coeffs`, `normalize_coeffs_8bpc`)
fn weights(from: usize, to: usize) -> Vec<Neighbours> {
    let scale = from as f64 / to as f64;
    // The triangle is as wide as two pixels of whichever image has the larger ones.
    let width = scale.max(1.0);
    let neighbours = |index: usize| {
        let centre = (index as f64 + 0.5) * scale;
        let first = (centre - width + 0.5).max(0.0) as usize;
        let end = ((centre + width + 0.5) as usize).min(from);
        let triangle = |pixel: usize| (1.0 - ((pixel as f64 - centre + 0.5) * (1.0 / width)).abs()).max(0.0);
        let weights: Vec<f64> = (first..end).map(triangle).collect();
        let sum: f64 = weights.iter().sum();
        let fixed = |weight: &f64| (0.5 + weight / sum * f64::from(1 << PRECISION)) as i32;
        Neighbours { first, weights: weights.iter().map(fixed).collect() }
    };
    (0..to).map(neighbours).collect()
}

/// Rows of `from` pixels to rows of `to`.
fn along_rows(pixels: &[u8], from: u32, to: u32) -> Vec<u8> {
    if from == to {
        return pixels.to_vec();
    }
    let (columns, neighbours) = (from as usize, weights(from as usize, to as usize));
    let mut out = Vec::with_capacity(pixels.len() / columns * to as usize);
    for row in pixels.chunks_exact(columns * CHANNELS) {
        for Neighbours { first, weights } in &neighbours {
            let mut sums = [HALF; CHANNELS];
            for (pixel, &weight) in row[first * CHANNELS..].as_chunks::<CHANNELS>().0.iter().zip(weights) {
                for (sum, &value) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(value) * weight;
                }
            }
            out.extend(sums.map(rounded));
        }
    }
    out
}

/// `from` rows of `width` pixels to `to` rows.
fn along_columns(pixels: &[u8], width: u32, from: u32, to: u32) -> Vec<u8> {
    if from == to {
        return pixels.to_vec();
    }
    let row = width as usize * CHANNELS;
    let mut out = Vec::with_capacity(row * to as usize);
    let mut sums = vec![0; row];
    for Neighbours { first, weights } in weights(from as usize, to as usize) {
        sums.fill(HALF);
        for (values, weight) in pixels[first * row..].chunks_exact(row).zip(weights) {
            for (sum, &value) in sums.iter_mut().zip(values) {
                *sum += i32::from(value) * weight;
            }
        }
        out.extend(sums.iter().copied().map(rounded));
    }
    out
}

const HALF: i32 = 1 << (PRECISION - 1);

fn rounded(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

/// `[height, width, 3]` to `[3, height, width]`.
pub fn planar(interleaved: &[u8]) -> Vec<u8> {
    (0..3).flat_map(|channel| interleaved.iter().skip(channel).step_by(3).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flat_image_stays_flat_at_any_size() {
        let image = RgbImage::from_pixel(37, 53, image::Rgb([255, 0, 7]));
        for to in [Size::new(53, 37), Size::new(1, 1), Size::new(64, 5), Size::new(9, 200)] {
            let pixels = resized(&image, to).unwrap();
            assert_eq!(pixels, [255, 0, 7].repeat(to.pixels()), "{to}");
        }
    }

    #[test]
    fn nothing_cannot_be_resized() {
        let image = RgbImage::new(4, 4);
        assert!(resized(&image, Size::new(0, 3)).is_err());
        assert!(resized(&RgbImage::new(0, 4), Size::new(3, 3)).is_err());
    }
}
