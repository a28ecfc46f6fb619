//! Attention between many tokens and few, all heads in one product.
//!
//! Heads see disjoint channels. The few tokens are therefore spread into one row for each token and head, which holds that
//! head's channels and zeros: `[t, c]` to `[t * h, c]`. Then scores, weighted sums and their gradients are single matrix
//! products of the many tokens with `t * h` rows, and nothing is permuted. What is multiplied by zeros in vain costs less than a
//! product for each head would, because those are far too narrow.
//!
//! Scores and weights are `[many, t * h]`, heads innermost.
//!
//! The many tokens are taken in blocks, each on any thread. What is summed over all of them is summed in each block and then over the
//! blocks in their order, so the number of threads changes no bit.

use rayon::prelude::*;
use resect_kernels::{Into, Matrix, by_rows, each, each2, exp_negative, matmul, vectorised};

/// Rows of a block over which is summed.
const BLOCK: usize = 512;

/// Heads that have a loop of their own, compiled for exactly so many; all published models have them.
const USUAL_HEADS: usize = 8;

/// Spreads tokens of `channels` values over one row for each head, scaled.
pub(crate) fn spread(few: &[f32], channels: usize, heads: usize, scale: f32, out: &mut [f32]) {
    let head = channels / heads;
    out.fill(0.0);
    for (token, rows) in few.chunks_exact(channels).zip(out.chunks_exact_mut(channels * heads)) {
        for (h, row) in rows.chunks_exact_mut(channels).enumerate() {
            let channels = h * head..(h + 1) * head;
            row[channels.clone()].iter_mut().zip(&token[channels]).for_each(|(y, x)| *y = x * scale);
        }
    }
}

/// Undoes [`spread`]: each head's channels from its own row, scaled; what its rows have elsewhere belongs to no head.
pub(crate) fn gather(spread: &[f32], channels: usize, heads: usize, scale: f32, out: &mut [f32]) {
    let head = channels / heads;
    for (rows, token) in spread.chunks_exact(channels * heads).zip(out.chunks_exact_mut(channels)) {
        for (h, row) in rows.chunks_exact(channels).enumerate() {
            let channels = h * head..(h + 1) * head;
            token[channels.clone()].iter_mut().zip(&row[channels]).for_each(|(y, x)| *y = x * scale);
        }
    }
}

/// `out = many few^T`: `[n, c]` and `[t * h, c]` to `[n, t * h]`.
pub(crate) fn scores(many: &[f32], few: &[f32], channels: usize, out: &mut [f32]) {
    by_rows(many.len() / channels, [out], |rows, [out]| {
        let many = &many[rows.start * channels..rows.end * channels];
        matmul(out, Matrix::new(many, channels), Matrix::new(few, channels).transposed(), Into::Replace);
    });
}

/// `out (+)= weights few`: `[n, t * h]` and `[t * h, c]` to `[n, c]`.
pub(crate) fn to_many(weights: &[f32], few: &[f32], channels: usize, out: &mut [f32], into: Into) {
    let columns = few.len() / channels;
    by_rows(weights.len() / columns, [out], |rows, [out]| {
        let weights = &weights[rows.start * columns..rows.end * columns];
        matmul(out, Matrix::new(weights, columns), Matrix::new(few, channels), into);
    });
}

/// `out = weights^T many`: `[n, t * h]` and `[n, c]` to `[t * h, c]`.
pub(crate) fn to_few(weights: &[f32], many: &[f32], channels: usize, out: &mut [f32]) {
    let columns = out.len() / channels;
    let product = |(weights, many): (&[f32], &[f32]), out: &mut [f32]| {
        matmul(out, Matrix::new(weights, columns).transposed(), Matrix::new(many, channels), Into::Replace);
    };
    let blocks = weights.par_chunks(BLOCK * columns).zip(many.par_chunks(BLOCK * channels));
    over_blocks(blocks, out, product, |sum, x| sum + x);
}

/// Does some work on each block of rows, on any thread, and folds what comes of it, block by block, into `out`.
fn over_blocks<T: Send>(
    blocks: impl IndexedParallelIterator<Item = T>,
    out: &mut [f32],
    work: impl Fn(T, &mut [f32]) + Sync,
    fold: impl Fn(f32, f32) -> f32,
) {
    let mut parts = vec![0.0; blocks.len() * out.len()];
    blocks.zip(parts.par_chunks_mut(out.len())).for_each(|(block, part)| work(block, part));
    let (first, rest) = parts.split_at(out.len());
    out.copy_from_slice(first);
    for part in rest.chunks_exact(out.len()) {
        each(out, part, |out, x| *out = fold(*out, x));
    }
}

/// Softmax of scores down each column: each of the few tokens attends to the many.
pub(crate) fn softmax_columns(scores: &mut [f32], columns: usize) {
    let (mut top, mut sum) = (vec![0.0; columns], vec![0.0; columns]);
    let highest = |scores: &[f32], top: &mut [f32]| {
        vectorised(
            #[inline(always)]
            || {
                top.fill(f32::NEG_INFINITY);
                for row in scores.chunks_exact(columns) {
                    each(top, row, |top, x| *top = higher(*top, x));
                }
            },
        );
    };
    over_blocks(scores.par_chunks(BLOCK * columns), &mut top, highest, higher);
    let exponentials = |scores: &mut [f32], sum: &mut [f32]| {
        vectorised(
            #[inline(always)]
            || {
                for row in scores.chunks_exact_mut(columns) {
                    each(row, &top, |x, top| *x = exp_negative(*x - top));
                    each(sum, row, |sum, x| *sum += x);
                }
            },
        );
    };
    over_blocks(scores.par_chunks_mut(BLOCK * columns), &mut sum, exponentials, |sum, x| sum + x);
    sum.iter_mut().for_each(|sum| *sum = 1.0 / *sum);
    by_rows(scores.len() / columns, [scores], |_, [scores]| {
        vectorised(
            #[inline(always)]
            || {
                for row in scores.chunks_exact_mut(columns) {
                    each(row, &sum, |x, inverse| *x *= inverse);
                }
            },
        );
    });
}

/// The larger of two numbers; the second where the first is none.
#[inline(always)]
fn higher(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// Turns gradients of the weights of [`softmax_columns`] into those of the scores.
pub(crate) fn softmax_columns_backward(weights: &[f32], gradients: &mut [f32], columns: usize) {
    let mut sum = vec![0.0; columns];
    let sums = |(weights, gradients): (&[f32], &[f32]), sum: &mut [f32]| {
        vectorised(
            #[inline(always)]
            || {
                for (p, d) in weights.chunks_exact(columns).zip(gradients.chunks_exact(columns)) {
                    each2(sum, p, d, |sum, p, d| *sum = p.mul_add(d, *sum));
                }
            },
        );
    };
    let blocks = weights.par_chunks(BLOCK * columns).zip(gradients.par_chunks(BLOCK * columns));
    over_blocks(blocks, &mut sum, sums, |sum, x| sum + x);
    by_row(
        weights,
        gradients,
        columns,
        #[inline(always)]
        |p, d| each2(d, p, &sum, |d, p, sum| *d = p * (*d - sum)),
    );
}

/// Does some work on each row of the weights with that of their gradients, on any thread.
#[inline(always)]
fn by_row(weights: &[f32], gradients: &mut [f32], columns: usize, work: impl Fn(&[f32], &mut [f32]) + Sync) {
    by_rows(weights.len() / columns, [gradients], |rows, [gradients]| {
        let weights = &weights[rows.start * columns..rows.end * columns];
        vectorised(
            #[inline(always)]
            || {
                for (p, d) in weights.chunks_exact(columns).zip(gradients.chunks_exact_mut(columns)) {
                    work(p, d);
                }
            },
        );
    });
}

/// Softmax of scores over the few tokens, for each of the many and each head.
pub(crate) fn softmax_groups(scores: &mut [f32], columns: usize, heads: usize) {
    by_rows(scores.len() / columns, [scores], |_, [scores]| {
        vectorised(
            #[inline(always)]
            || {
                for row in scores.chunks_exact_mut(columns) {
                    match heads {
                        USUAL_HEADS => softmax_lanes(row.as_chunks_mut::<USUAL_HEADS>().0),
                        _ => (0..heads).for_each(|h| {
                            let top = row[h..].iter().step_by(heads);
                            let top = top.fold(f32::NEG_INFINITY, |top, x| higher(top, *x));
                            let mut sum = 0.0;
                            for x in row[h..].iter_mut().step_by(heads) {
                                *x = exp_negative(*x - top);
                                sum += *x;
                            }
                            row[h..].iter_mut().step_by(heads).for_each(|x| *x /= sum);
                        }),
                    }
                }
            },
        );
    });
}

#[inline(always)]
fn softmax_lanes<const H: usize>(tokens: &mut [[f32; H]]) {
    let (mut top, mut sum) = ([f32::NEG_INFINITY; H], [0f32; H]);
    for token in tokens.iter() {
        for h in 0..H {
            top[h] = higher(top[h], token[h]);
        }
    }
    for token in tokens.iter_mut() {
        for h in 0..H {
            token[h] = exp_negative(token[h] - top[h]);
            sum[h] += token[h];
        }
    }
    let inverse = sum.map(|sum| 1.0 / sum);
    for token in tokens {
        for h in 0..H {
            token[h] *= inverse[h];
        }
    }
}

/// Turns gradients of the weights of [`softmax_groups`] into those of the scores.
pub(crate) fn softmax_groups_backward(weights: &[f32], gradients: &mut [f32], columns: usize, heads: usize) {
    by_row(
        weights,
        gradients,
        columns,
        #[inline(always)]
        |p, d| match heads {
            USUAL_HEADS => {
                let (p, d) = (p.as_chunks::<USUAL_HEADS>().0, d.as_chunks_mut::<USUAL_HEADS>().0);
                let mut sum = [0f32; USUAL_HEADS];
                for (p, d) in p.iter().zip(d.iter()) {
                    for h in 0..USUAL_HEADS {
                        sum[h] = p[h].mul_add(d[h], sum[h]);
                    }
                }
                for (p, d) in p.iter().zip(d) {
                    for h in 0..USUAL_HEADS {
                        d[h] = p[h] * (d[h] - sum[h]);
                    }
                }
            }
            _ => (0..heads).for_each(|h| {
                let places = || (h..columns).step_by(heads);
                let sum: f32 = places().map(|i| p[i] * d[i]).sum();
                places().for_each(|i| d[i] = p[i] * (d[i] - sum));
            }),
        },
    );
}
