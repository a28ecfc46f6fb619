//! Resizing as Pillow does it, to the bit, and the planar layout.

use image::RgbImage;
use resect_geometry::Size;

/// Bits after the point of a weight (`Resample.c`, `PRECISION_BITS`): a sum of weighted bytes fits 32 bits.
const PRECISION: u32 = 32 - 8 - 2;

/// Bilinear with antialias, as Pillow's `resize(.., BILINEAR)`: a triangle filter as wide as the scale asks for, along the rows
/// and along the columns, in whole numbers, with bytes in between (`Resample.c`, `ImagingResampleInner`).
///
/// `[height, width, 3]`, u8. Every byte is Pillow's: a resizer that is one step off here and there moves the logits of a small
/// random model by a tenth. Rounding depends on which pass comes first: rows, but columns where the height shrinks by more than
/// twice as many pixels as the width, as Pillow 13 has it (older versions always began with the rows).
pub fn resized(image: &RgbImage, to: Size) -> Vec<u8> {
    let from = Size::new(image.height(), image.width());
    let shrinks = |from: u32, to: u32| i64::from(from) - i64::from(to);
    let (fewer_rows, fewer_columns) = (shrinks(from.height, to.height), shrinks(from.width, to.width));
    let pixels = image.as_raw().clone();
    if fewer_rows > 0 && fewer_rows > 2 * fewer_columns {
        let pixels = along_columns(pixels, from, to.height);
        along_rows(pixels, Size::new(to.height, from.width), to.width)
    } else {
        let pixels = along_rows(pixels, from, to.width);
        along_columns(pixels, Size::new(from.height, to.width), to.height)
    }
}

/// What one pixel of the result is made of: a weight for each source pixel from `first` on.
struct Window {
    first: usize,
    weights: Vec<i32>,
}

impl Window {
    /// Those of all `to` pixels along a side of `from` (`precompute_coeffs`, `normalize_coeffs_8bpc`).
    fn all(from: u32, to: u32) -> Vec<Self> {
        let scale = f64::from(from) / f64::from(to);
        // A triangle of one pixel to either side, widened where the image shrinks.
        let widened = scale.max(1.0);
        let step = 1.0 / widened;
        (0..to)
            .map(|index| {
                let centre = (f64::from(index) + 0.5) * scale;
                // Truncated like C's conversion; negative values begin at the border.
                let first = ((centre - widened + 0.5) as i64).max(0) as usize;
                let end = ((centre + widened + 0.5) as i64).min(i64::from(from)) as usize;
                let triangle = |source: usize| {
                    let away = ((source as f64 - centre + 0.5) * step).abs();
                    if away < 1.0 { 1.0 - away } else { 0.0 }
                };
                let weights: Vec<f64> = (first..end).map(triangle).collect();
                let sum: f64 = weights.iter().sum();
                let fixed = |weight: &f64| {
                    let weight = if sum != 0.0 { weight / sum } else { *weight };
                    (0.5 + weight * f64::from(1 << PRECISION)) as i32
                };
                let weights: Vec<i32> = weights.iter().map(fixed).collect();
                // A triangle's outermost pixels may weigh nothing.
                let used = |weight: &i32| *weight != 0;
                let skipped = weights.iter().position(used).unwrap_or(0);
                let end = weights.iter().rposition(used).map_or(weights.len(), |last| last + 1);
                Self { first: first + skipped, weights: weights[skipped..end].to_vec() }
            })
            .collect()
    }
}

/// Half a step, so that cutting the fraction off rounds.
const HALF: i32 = 1 << (PRECISION - 1);

fn byte(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

/// An image of another width.
fn along_rows(pixels: Vec<u8>, from: Size, width: u32) -> Vec<u8> {
    if from.width == width {
        return pixels;
    }
    let windows = Window::all(from.width, width);
    let mut out = vec![0; 3 * windows.len() * from.height as usize];
    let rows = pixels.chunks_exact(3 * from.width as usize).zip(out.chunks_exact_mut(3 * windows.len()));
    for (row, out) in rows {
        let (row, out) = (row.as_chunks::<3>().0, out.as_chunks_mut::<3>().0);
        for (out, Window { first, weights }) in out.iter_mut().zip(&windows) {
            let [mut red, mut green, mut blue] = [HALF; 3];
            for ([r, g, b], weight) in row[*first..].iter().zip(weights) {
                red += i32::from(*r) * weight;
                green += i32::from(*g) * weight;
                blue += i32::from(*b) * weight;
            }
            *out = [byte(red), byte(green), byte(blue)];
        }
    }
    out
}

/// An image of another height.
fn along_columns(pixels: Vec<u8>, from: Size, height: u32) -> Vec<u8> {
    if from.height == height {
        return pixels;
    }
    let windows = Window::all(from.height, height);
    let row = 3 * from.width as usize;
    let mut out = Vec::with_capacity(row * windows.len());
    let mut sums = vec![HALF; row];
    for Window { first, weights } in windows {
        sums.fill(HALF);
        for (source, weight) in pixels[first * row..].chunks_exact(row).zip(weights) {
            for (sum, value) in sums.iter_mut().zip(source) {
                *sum += i32::from(*value) * weight;
            }
        }
        out.extend(sums.iter().map(|sum| byte(*sum)));
    }
    out
}

/// `[height, width, 3]` to `[3, height, width]`.
pub fn planar(interleaved: &[u8]) -> Vec<u8> {
    (0..3).flat_map(|channel| interleaved.iter().skip(channel).step_by(3).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    #[test]
    fn weights_cover_the_whole_and_a_flat_image_stays_flat() {
        for (from, to) in [(1, 7), (7, 1), (100, 64), (64, 100), (529, 871), (1920, 1024), (3, 3000)] {
            for window in Window::all(from, to) {
                let sum: i64 = window.weights.iter().map(|w| i64::from(*w)).sum();
                assert!((sum - (1 << PRECISION)).abs() <= window.weights.len() as i64);
                assert!(window.first + window.weights.len() <= from as usize);
            }
            let flat = RgbImage::from_pixel(from, 3, Rgb([255, 7, 0]));
            assert!(resized(&flat, Size::new(5, to)).as_chunks::<3>().0.iter().all(|p| *p == [255, 7, 0]));
        }
    }

    #[test]
    fn an_image_of_the_size_is_left_alone() {
        let image = RgbImage::from_fn(5, 4, |x, y| Rgb([x as u8 * 40, y as u8 * 60, 9]));
        assert_eq!(resized(&image, Size::new(4, 5)), image.into_raw());
    }
}
