//! Layers on images: planes to rows of channels, neighbourhoods, and the logits of masks.

use resect_numeric::Precision;

use crate::blocks::{by_rows, each_item};
use crate::buffer::Buffer;
use crate::linear::Target;
use crate::matmul::{Accumulate, Matrix, matmul};
use crate::rounding::operand;
use crate::vector::{each, vectorised};

/// Rows of a result that are written together: their cache lines stay in the first cache.
const TOGETHER: usize = 16;

/// Planes of channels `x` `[n, c, p]` to rows of channels `[n, p, c]`. `added` is a summand: of each image `[n, c, p]`, or one for all
/// `[1, c, p]`.
///
/// # Panics
/// When sizes do not fit one another.
pub fn to_rows(x: &[f32], added: Option<&[f32]>, [channels, places]: [usize; 2], out: &mut [f32]) {
    let image = channels * places;
    assert!(
        x.len() == out.len() && x.len().is_multiple_of(image),
        "{} numbers of {channels} x {places}",
        x.len()
    );
    let summand = |i: usize| added.map(|added| &added[i % (added.len() / image) * image..][..image]);
    let mut blocks = Vec::new();
    for (i, (x, out)) in x.chunks(image).zip(out.chunks_mut(image)).enumerate() {
        for (block, out) in out.chunks_mut(TOGETHER * channels).enumerate() {
            blocks.push((x, summand(i), block * TOGETHER, out));
        }
    }
    each_item(blocks, |(x, added, first, out)| {
        let rows = out.len() / channels;
        for channel in 0..channels {
            let start = channel * places + first;
            let plane = &x[start..][..rows];
            match added {
                None => plane.iter().enumerate().for_each(|(i, x)| out[i * channels + channel] = *x),
                Some(added) => {
                    let pairs = plane.iter().zip(&added[start..][..rows]).enumerate();
                    pairs.for_each(|(i, (x, added))| out[i * channels + channel] = x + added);
                }
            }
        }
    });
}

/// The tokens of a three by three neighbourhood around `token`, row by row; none beyond the image of `side` by `side` tokens.
fn neighbours(token: usize, side: usize) -> impl Iterator<Item = Option<usize>> {
    let (y, x) = (token / side, token % side);
    let along = move |at: usize| (0..3).map(move |step| (at + step).checked_sub(1).filter(|at| *at < side));
    along(y).flat_map(move |y| along(x).map(move |x| Some(y? * side + x?)))
}

/// Tokens `x` `[n, side * side, c]` to their neighbourhoods `[n, side * side, 9 * c]`: the nine tokens of three by three around each,
/// row by row, and zeros for those beyond the image. A product of these with a weight is a convolution.
pub fn neighbourhoods(x: &[f32], side: usize, channels: usize, out: &mut [f32]) {
    let tokens = side * side;
    by_rows(x.len() / channels, tokens, [out], |range, [out]| {
        let image = &x[range.start / tokens * tokens * channels..][..tokens * channels];
        for (row, out) in range.zip(out.chunks_exact_mut(9 * channels)) {
            for (neighbour, out) in neighbours(row % tokens, side).zip(out.chunks_exact_mut(channels)) {
                match neighbour {
                    Some(token) => out.copy_from_slice(&image[token * channels..][..channels]),
                    None => out.fill(0.0),
                }
            }
        }
    });
}

/// Goes back from the gradient `d` `[n, side * side, 9 * c]` by neighbourhoods to that by the tokens.
pub fn neighbourhoods_backward(d: &[f32], side: usize, channels: usize, dx: Target<'_>) {
    let tokens = side * side;
    let accumulate = dx.accumulate;
    by_rows(dx.gradient.len() / channels, tokens, [dx.gradient], |range, [dx]| {
        let image = &d[range.start / tokens * tokens * 9 * channels..][..tokens * 9 * channels];
        for (row, dx) in range.zip(dx.chunks_exact_mut(channels)) {
            if accumulate == Accumulate::No {
                dx.fill(0.0);
            }
            // In the neighbourhood of its i-th neighbour a token has the place 8 - i.
            for (i, neighbour) in neighbours(row % tokens, side).enumerate() {
                if let Some(neighbour) = neighbour {
                    let d = &image[(neighbour * 9 + 8 - i) * channels..][..channels];
                    each(dx, d, |dx, d| *dx += d);
                }
            }
        }
    });
}

/// Logits of masks: products of the upscaled image with a weight for each mask.
///
/// The image comes in the order in which two upscalings by two make it, `[n, h * w * 16, c]`: places of the grid `[h, w]`, quads in
/// them, quads in those. Masks are in row order, `[n, m, 4h, 4w]`.
#[derive(Clone, Copy, Debug)]
pub struct Masks {
    /// `h` and `w`.
    pub grid: [usize; 2],
    /// `m`
    pub masks: usize,
    /// `c`
    pub channels: usize,
    /// The format that operands of products are rounded to.
    pub precision: Precision,
}

/// Masks that are computed together, as columns of a product. Products with a single column are several times slower.
const COLUMNS: usize = 8;

/// Where in four rows of a mask the `j`th of the 16 numbers belongs that place `i` of a row of the grid becomes.
fn place(i: usize, j: usize, w: usize) -> usize {
    let (row, column) = ((j >> 3 & 1) * 2 + (j >> 1 & 1), (j >> 2 & 1) * 2 + (j & 1));
    row * 4 * w + i * 4 + column
}

impl Masks {
    /// Numbers of a mask that a row of the grid becomes.
    fn line(&self) -> usize {
        16 * self.grid[1]
    }

    /// Logits `y` of weights `[n, m, c]` and an image `x`.
    ///
    /// # Panics
    /// When sizes do not fit one another.
    pub fn forward(&self, weights: &[f32], x: &[f32], y: &mut [f32]) {
        let Self { grid: [h, w], masks, channels, precision } = *self;
        let (line, weights) = (self.line(), operand(precision, weights));
        // The masks of a row of the grid beside one another.
        let mut by_line = Buffer::stale(y.len());
        let lines = by_line.chunks_exact_mut(masks * line).zip(x.chunks_exact(line * channels)).enumerate();
        each_item(lines.collect(), |(i, (out, x))| {
            let weights = &weights[i / h * masks * channels..][..masks * channels];
            let x = operand(precision, x);
            let mut logits = vec![0.0; line * COLUMNS];
            for (weights, out) in weights.chunks(COLUMNS * channels).zip(out.chunks_mut(COLUMNS * line)) {
                let mut columns = vec![0.0; COLUMNS * channels];
                for (mask, weight) in weights.chunks_exact(channels).enumerate() {
                    weight.iter().enumerate().for_each(|(c, weight)| columns[c * COLUMNS + mask] = *weight);
                }
                matmul(
                    &mut logits,
                    Matrix::new(&x, channels),
                    Matrix::new(&columns, COLUMNS),
                    Accumulate::No,
                );
                for (mask, out) in out.chunks_exact_mut(line).enumerate() {
                    for i in 0..w {
                        (0..16).for_each(|j| out[place(i, j, w)] = logits[(i * 16 + j) * COLUMNS + mask]);
                    }
                }
            }
        });
        for (i, lines) in by_line.chunks_exact(masks * line).enumerate() {
            for (mask, numbers) in lines.chunks_exact(line).enumerate() {
                y[((i / h * masks + mask) * h + i % h) * line..][..line].copy_from_slice(numbers);
            }
        }
    }

    /// Goes back from the gradient `d` by logits to those by weights and image.
    ///
    /// # Panics
    /// When sizes do not fit one another.
    pub fn backward(
        &self,
        weights: &[f32],
        x: &[f32],
        d: &[f32],
        dw: Option<Target<'_>>,
        dx: Option<Target<'_>>,
    ) {
        let Self { grid: [h, w], masks, channels, precision } = *self;
        let (line, weights, d) = (self.line(), operand(precision, weights), operand(precision, d));
        let lines = x.len() / (line * channels);
        let dx = Target::chunks(dx, line * channels, lines);
        // The gradient by the weights that each row of the grid has a share in.
        let mut parts = Buffer::zeros(lines * masks * channels);
        let work =
            dx.into_iter().zip(x.chunks_exact(line * channels)).zip(parts.chunks_exact_mut(masks * channels));
        each_item(work.enumerate().collect(), |(at, ((mut dx, x), part))| {
            let x = operand(precision, x);
            for mask in 0..masks {
                let weight = &weights[(at / h * masks + mask) * channels..][..channels];
                let d = &d[((at / h * masks + mask) * h + at % h) * line..][..line];
                let part = &mut part[mask * channels..][..channels];
                vectorised(
                    #[inline(always)]
                    || {
                        for i in 0..w {
                            for j in 0..16 {
                                let d = d[place(i, j, w)];
                                let row = (i * 16 + j) * channels..(i * 16 + j + 1) * channels;
                                each(part, &x[row.clone()], |sum, x| *sum = d.mul_add(x, *sum));
                                if let Some(Target { gradient, accumulate }) = &mut dx {
                                    let dx = &mut gradient[row];
                                    match accumulate {
                                        Accumulate::No => each(dx, weight, |dx, weight| *dx = d * weight),
                                        Accumulate::Yes => each(dx, weight, |dx, weight| *dx += d * weight),
                                    }
                                }
                            }
                        }
                    },
                );
                if let Some(dx) = &mut dx {
                    dx.accumulate = Accumulate::Yes;
                }
            }
        });
        if let Some(dw) = dw {
            let mut sums = vec![0.0; dw.gradient.len()];
            let samples =
                sums.chunks_exact_mut(masks * channels).zip(parts.chunks_exact(h * masks * channels));
            for (sum, parts) in samples {
                parts.chunks_exact(masks * channels).for_each(|part| each(sum, part, |sum, x| *sum += x));
            }
            dw.give(&sums);
        }
    }
}

#[cfg(test)]
mod tests;
