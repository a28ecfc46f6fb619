//! Resizing as Pillow does it, to the bit, into planes.

use image::RgbImage;
use resect_geometry::Size;

/// Bits after the point of a weight (`Resample.c`, `PRECISION_BITS`): a sum of weighted bytes fits 32 bits.
const PRECISION: u32 = 32 - 8 - 2;

/// Bilinear with antialias, as Pillow's `resize(.., BILINEAR)`: a triangle filter as wide as the scale asks for, along the rows
/// and along the columns, in whole numbers, with bytes in between (`Resample.c`, `ImagingResampleInner`).
///
/// `[3, height, width]` (planar), u8. Every byte is Pillow's: a resizer that is one step off here and there moves the logits of a
/// small random model by a tenth. Rounding depends on which pass comes first: rows, but columns where the height shrinks by more
/// than twice as many pixels as the width, as Pillow 13 has it (older versions always began with the rows).
pub fn resized(image: &RgbImage, to: Size) -> Vec<u8> {
    let from = Size::new(image.height(), image.width());
    let (across, down) = (Windows::new(from.width, to.width), Windows::new(from.height, to.height));
    // With the widest vectors of the processor: whole numbers have the same sum in any order.
    pulp::Arch::new().dispatch(Resize { pixels: image.as_raw(), from, to, across: &across, down: &down })
}

/// A resize that is to be done. (Not a closure: what is to have wide vectors must be inlined, which is not up to a closure alone.)
struct Resize<'a> {
    pixels: &'a [u8],
    from: Size,
    to: Size,
    across: &'a Windows,
    down: &'a Windows,
}

impl pulp::WithSimd for Resize<'_> {
    type Output = Vec<u8>;

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) -> Vec<u8> {
        let shrinks = |from: u32, to: u32| i64::from(from) - i64::from(to);
        let fewer_rows = shrinks(self.from.height, self.to.height);
        let fewer_columns = shrinks(self.from.width, self.to.width);
        if fewer_rows > 0 && fewer_rows > 2 * fewer_columns {
            self.columns_first()
        } else {
            self.rows_first()
        }
    }
}

impl Resize<'_> {
    /// Rows are resized when the first row of the result needs them, and kept until the last one has.
    #[inline(always)]
    fn rows_first(self) -> Vec<u8> {
        let (height, width) = (self.from.height as usize, self.across.len());
        let mut planes = vec![0; 3 * self.to.pixels()];
        // Row `y` lies at `y % kept`, red, green and blue one after the other.
        let kept = (self.down.held() + ROWS - 1).next_multiple_of(ROWS);
        let mut rows = vec![0; kept * 3 * width];
        let mut lanes = Lanes::new(self.from, self.to);
        let mut ready = 0;
        for (y, (first, weights)) in self.down.iter().enumerate() {
            while ready < first + weights.len() {
                let out = &mut rows[ready % kept * 3 * width..][..ROWS * 3 * width];
                lanes.along_rows(self.rows(ready..height.min(ready + ROWS)), self.across, out);
                ready += ROWS;
            }
            for (channel, plane) in planes.chunks_exact_mut(width * self.down.len()).enumerate() {
                let row = |source: usize| &rows[(source % kept * 3 + channel) * width..][..width];
                blend(first, weights, row, &mut plane[y * width..][..width]);
            }
        }
        planes
    }

    /// So many rows are blended that they are resized together.
    #[inline(always)]
    fn columns_first(self) -> Vec<u8> {
        let (width, height) = (self.across.len(), self.down.len());
        let mut planes = vec![0; 3 * self.to.pixels()];
        let stride = 3 * self.from.width as usize;
        let mut blended = vec![0; ROWS * stride];
        let mut rows = vec![0; ROWS * 3 * width];
        let mut lanes = Lanes::new(self.from, self.to);
        for start in (0..height).step_by(ROWS) {
            let count = ROWS.min(height - start);
            for (out, (first, weights)) in blended.chunks_exact_mut(stride).zip(self.down.iter().skip(start))
            {
                blend(first, weights, |source| self.rows(source..source + 1), out);
            }
            lanes.along_rows(&blended, self.across, &mut rows);
            for (index, row) in rows.chunks_exact(width).take(3 * count).enumerate() {
                let (y, channel) = (start + index / 3, index % 3);
                planes[(channel * height + y) * width..][..width].copy_from_slice(row);
            }
        }
        planes
    }

    /// Rows of the source, interleaved.
    #[inline(always)]
    fn rows(&self, range: std::ops::Range<usize>) -> &[u8] {
        let width = 3 * self.from.width as usize;
        &self.pixels[range.start * width..range.end * width]
    }
}

/// What each pixel along a side of the result is made of: a weight for each source pixel from the first on.
struct Windows {
    /// The first source pixel, and where its weights lie.
    spans: Vec<(usize, std::ops::Range<usize>)>,
    weights: Vec<i32>,
}

impl Windows {
    /// Those of all `to` pixels along a side of `from` (`precompute_coeffs`, `normalize_coeffs_8bpc`).
    fn new(from: u32, to: u32) -> Self {
        let scale = f64::from(from) / f64::from(to);
        // A triangle of one pixel to either side, widened where the image shrinks.
        let widened = scale.max(1.0);
        let step = 1.0 / widened;
        let mut windows = Self { spans: Vec::with_capacity(to as usize), weights: Vec::new() };
        for index in 0..to {
            let centre = (f64::from(index) + 0.5) * scale;
            // Truncated like C's conversion; negative values begin at the border.
            let first = ((centre - widened + 0.5) as i64).max(0) as usize;
            let end = ((centre + widened + 0.5) as i64).min(i64::from(from)) as usize;
            let triangle = |source: usize| {
                let away = ((source as f64 - centre + 0.5) * step).abs();
                if away < 1.0 { 1.0 - away } else { 0.0 }
            };
            let sum: f64 = (first..end).map(triangle).sum();
            let fixed = |source: usize| {
                let weight = triangle(source);
                let weight = if sum != 0.0 { weight / sum } else { weight };
                (0.5 + weight * f64::from(1 << PRECISION)) as i32
            };
            // A triangle's outermost pixels may weigh nothing.
            let first = (first..end).find(|&source| fixed(source) != 0).unwrap_or(first);
            let end = (first..end).rfind(|&source| fixed(source) != 0).map_or(first, |last| last + 1);
            let start = windows.weights.len();
            windows.weights.extend((first..end).map(fixed));
            windows.spans.push((first, start..windows.weights.len()));
        }
        windows
    }

    fn len(&self) -> usize {
        self.spans.len()
    }

    fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> {
        self.spans.iter().map(|(first, weights)| (*first, &self.weights[weights.clone()]))
    }

    /// The most source pixels between the first one that a window needs and the last one that it or an earlier one does.
    fn held(&self) -> usize {
        let mut end = 0;
        let held = self.iter().map(|(first, weights)| {
            end = end.max(first + weights.len());
            end - first
        });
        held.max().unwrap_or(0)
    }
}

/// Half a step, so that cutting the fraction off rounds.
const HALF: i32 = 1 << (PRECISION - 1);

#[inline(always)]
fn byte(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

/// Rows that are resized together, so that their pixels fill a vector.
const ROWS: usize = 4;

/// A pixel of each of [`ROWS`] rows, four bytes each, the last of them nothing.
type Lane = [u8; 4 * ROWS];

/// Where rows lie while they are resized: a lane for each column.
struct Lanes {
    source: Vec<Lane>,
    result: Vec<Lane>,
}

impl Lanes {
    fn new(from: Size, to: Size) -> Self {
        let lanes = |width: u32| vec![[0; 4 * ROWS]; width as usize];
        Self { source: lanes(from.width), result: lanes(to.width) }
    }

    /// At most [`ROWS`] rows of interleaved pixels at another width, as `[ROWS, 3, width]`.
    ///
    /// Loops, because what iterators fold is not always inlined, and what is not inlined has no wide vectors.
    #[inline(always)]
    fn along_rows(&mut self, rows: &[u8], windows: &Windows, out: &mut [u8]) {
        for (index, row) in rows.chunks_exact(3 * self.source.len()).enumerate() {
            for (lane, [r, g, b]) in self.source.iter_mut().zip(row.as_chunks::<3>().0) {
                lane[4 * index..4 * index + 4].copy_from_slice(&[*r, *g, *b, 0]);
            }
        }
        for (result, (first, weights)) in self.result.iter_mut().zip(windows.iter()) {
            let source = &self.source[first..first + weights.len()];
            *result = weighted(weights, |tap| &source[tap]);
        }
        for (index, out) in out.chunks_exact_mut(self.result.len()).enumerate() {
            let at = 4 * (index / 3) + index % 3;
            for (out, lane) in out.iter_mut().zip(&self.result) {
                *out = lane[at];
            }
        }
    }
}

/// A weighted sum of rows, `row(first)` and those after it.
#[inline(always)]
fn blend<'a>(first: usize, weights: &[i32], row: impl Fn(usize) -> &'a [u8], out: &mut [u8]) {
    const LANES: usize = 32;
    let (blocks, rest) = out.as_chunks_mut::<LANES>();
    let whole = LANES * blocks.len();
    for (block, out) in blocks.iter_mut().enumerate() {
        *out = weighted(weights, |tap| &row(first + tap).as_chunks().0[block]);
    }
    for (x, out) in (whole..).zip(rest) {
        let mut sum = HALF;
        for (source, weight) in (first..).zip(weights) {
            sum += i32::from(row(source)[x]) * weight;
        }
        *out = byte(sum);
    }
}

/// The weighted sum of `source(0)`, `source(1)` and so on: few enough bytes for the sums to stay in registers meanwhile.
#[inline(always)]
fn weighted<'a, const N: usize>(weights: &[i32], source: impl Fn(usize) -> &'a [u8; N]) -> [u8; N] {
    let mut sums = [HALF; N];
    for (tap, weight) in weights.iter().enumerate() {
        for (sum, value) in sums.iter_mut().zip(source(tap)) {
            *sum += i32::from(*value) * weight;
        }
    }
    let mut out = [0; N];
    for (out, sum) in out.iter_mut().zip(sums) {
        *out = byte(sum);
    }
    out
}

#[cfg(test)]
mod tests;
