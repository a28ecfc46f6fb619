//! Attention between many tokens and few, all heads in one product.
//!
//! Heads see disjoint channels. The few tokens are therefore spread into one row for each token and head, which holds that
//! head's channels and zeros: `[t, c]` to `[t * h, c]`. Then scores, weighted sums and their gradients are single matrix
//! products of the many tokens with `t * h` rows, and nothing is permuted. What is multiplied by zeros in vain costs less than a
//! product for each head would, because those are far too narrow.
//!
//! Scores and weights are `[many, t * h]`, heads innermost.

use resect_kernels::{Into, Matrix, each, each2, exp_negative, matmul, vectorised};

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
    matmul(out, Matrix::new(many, channels), Matrix::new(few, channels).transposed(), Into::Replace);
}

/// `out (+)= weights few`: `[n, t * h]` and `[t * h, c]` to `[n, c]`.
pub(crate) fn to_many(weights: &[f32], few: &[f32], channels: usize, out: &mut [f32], into: Into) {
    let columns = few.len() / channels;
    matmul(out, Matrix::new(weights, columns), Matrix::new(few, channels), into);
}

/// `out = weights^T many`: `[n, t * h]` and `[n, c]` to `[t * h, c]`.
pub(crate) fn to_few(weights: &[f32], many: &[f32], channels: usize, out: &mut [f32]) {
    let columns = out.len() / channels;
    matmul(out, Matrix::new(weights, columns).transposed(), Matrix::new(many, channels), Into::Replace);
}

/// Softmax of scores down each column: each of the few tokens attends to the many.
pub(crate) fn softmax_columns(scores: &mut [f32], columns: usize, scratch: &mut [f32]) {
    let (top, sum) = scratch.split_at_mut(columns);
    vectorised(
        #[inline(always)]
        || {
            top.fill(f32::NEG_INFINITY);
            sum.fill(0.0);
            for row in scores.chunks_exact(columns) {
                each(top, row, |top, x| *top = if *top > x { *top } else { x });
            }
            for row in scores.chunks_exact_mut(columns) {
                for (x, (top, sum)) in row.iter_mut().zip(top.iter().zip(sum.iter_mut())) {
                    *x = exp_negative(*x - top);
                    *sum += *x;
                }
            }
            for sum in sum.iter_mut() {
                *sum = 1.0 / *sum;
            }
            for row in scores.chunks_exact_mut(columns) {
                each(row, sum, |x, inverse| *x *= inverse);
            }
        },
    );
}

/// Turns gradients of the weights of [`softmax_columns`] into those of the scores.
pub(crate) fn softmax_columns_backward(
    weights: &[f32],
    gradients: &mut [f32],
    columns: usize,
    scratch: &mut [f32],
) {
    let sum = &mut scratch[..columns];
    vectorised(
        #[inline(always)]
        || {
            sum.fill(0.0);
            for (p, d) in weights.chunks_exact(columns).zip(gradients.chunks_exact(columns)) {
                each2(sum, p, d, |sum, p, d| *sum = p.mul_add(d, *sum));
            }
            for (p, d) in weights.chunks_exact(columns).zip(gradients.chunks_exact_mut(columns)) {
                each2(d, p, sum, |d, p, sum| *d = p * (*d - sum));
            }
        },
    );
}

/// Softmax of scores over the few tokens, for each of the many and each head.
pub(crate) fn softmax_groups(scores: &mut [f32], columns: usize, heads: usize) {
    vectorised(
        #[inline(always)]
        || {
            for row in scores.chunks_exact_mut(columns) {
                match heads {
                    USUAL_HEADS => softmax_lanes(row.as_chunks_mut::<USUAL_HEADS>().0),
                    _ => (0..heads).for_each(|h| {
                        let top = row[h..].iter().step_by(heads);
                        let top = top.fold(f32::NEG_INFINITY, |top, x| if top > *x { top } else { *x });
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
}

#[inline(always)]
fn softmax_lanes<const H: usize>(tokens: &mut [[f32; H]]) {
    let (mut top, mut sum) = ([f32::NEG_INFINITY; H], [0f32; H]);
    for token in tokens.iter() {
        for h in 0..H {
            top[h] = if top[h] > token[h] { top[h] } else { token[h] };
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
    vectorised(
        #[inline(always)]
        || {
            for (p, d) in weights.chunks_exact(columns).zip(gradients.chunks_exact_mut(columns)) {
                match heads {
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
                }
            }
        },
    );
}
