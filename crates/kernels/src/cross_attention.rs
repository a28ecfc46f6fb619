//! Attention between many tokens and few, all heads in one product.
//!
//! Heads see disjoint channels. The few tokens are therefore spread into one row for each token and head, which holds the channels
//! of that head and zeros: `[t, c]` to `[t * h, c]`. Then scores, weighted sums and their gradients are single matrix products of
//! the many tokens with `t * h` rows, and nothing is permuted. Multiplying with the zeros costs less than a product for each head
//! would, because those are far too narrow.
//!
//! Scores and weights are `[many, t * h]`, heads innermost. The many tokens are taken in blocks, each on any thread. A sum over all of
//! them is taken within each block and then over the blocks in their order, so the number of threads changes no bit.

use resect_numeric::Precision;

use crate::blocks::{by_rows, each_item};
use crate::buffer::Buffer;
use crate::linear::Target;
use crate::matmul::{Accumulate, Matrix, matmul};
use crate::rounding::operand;
use crate::vector::{each, each2, exp_negative, vectorised};

/// Rows of a block over which is summed.
const BLOCK: usize = 512;

/// Heads that have a loop of their own, compiled for exactly so many; all published models have them.
const USUAL_HEADS: usize = 8;

/// Attention of queries to keys and values, by heads that divide the channels. One side may have any number of tokens; the other
/// should have few.
#[derive(Clone, Copy, Debug)]
pub struct CrossAttention {
    /// Tokens of queries, and of keys and values, of a sample.
    pub tokens: [usize; 2],
    /// Channels of all heads.
    pub channels: usize,
    /// Heads; they divide the channels.
    pub heads: usize,
    /// The format that the operands of products are rounded to.
    pub precision: Precision,
}

impl CrossAttention {
    /// Whether queries are the few.
    fn few_queries(&self) -> bool {
        self.tokens[0] <= self.tokens[1]
    }

    /// How many tokens the many are.
    fn many(&self) -> usize {
        self.tokens[0].max(self.tokens[1])
    }

    /// Columns of scores: one for each of the few tokens and each head.
    fn columns(&self) -> usize {
        self.tokens[0].min(self.tokens[1]) * self.heads
    }

    /// How many weights a sample has.
    pub fn weights(&self) -> usize {
        self.many() * self.columns()
    }

    /// The scale of queries: one over the root of the channels of a head.
    fn scale(&self) -> f32 {
        1.0 / ((self.channels / self.heads) as f32).sqrt()
    }

    /// Attention of the queries `[n, q, c]` to keys and values `[n, k, c]`: writes the result to `y` `[n, q, c]` and the weights of
    /// values to `weights` `[n, ...]`, [`CrossAttention::weights`] for each sample.
    ///
    /// # Panics
    /// When sizes do not fit one another.
    pub fn forward(&self, [q, k, v]: [&[f32]; 3], y: &mut [f32], weights: &mut [f32]) {
        let [queries, keys] = self.tokens.map(|tokens| tokens * self.channels);
        let inputs = q.chunks_exact(queries).zip(k.chunks_exact(keys).zip(v.chunks_exact(keys)));
        let outputs = y.chunks_exact_mut(queries).zip(weights.chunks_exact_mut(self.weights()));
        each_item(inputs.zip(outputs).collect(), |((q, (k, v)), (y, weights))| {
            self.sample([q, k, v], y, weights);
        });
    }

    fn sample(&self, [q, k, v]: [&[f32]; 3], y: &mut [f32], weights: &mut [f32]) {
        let Self { channels, heads, precision, .. } = *self;
        let columns = self.columns();
        let (few, many) = if self.few_queries() { (q, k) } else { (k, q) };
        let mut tall = Buffer::stale(columns * channels);
        // The scale is no part of the operands: it multiplies what is rounded already, so the scores are scaled.
        spread(&operand(precision, few), channels, heads, self.scale(), &mut tall);
        scores(&operand(precision, many), &tall, channels, weights);
        let v = operand(precision, v);
        if self.few_queries() {
            softmax_columns(weights, columns);
            to_few(&operand(precision, weights), &v, channels, &mut tall);
            gather(&tall, channels, heads, 1.0, Accumulate::No, y);
        } else {
            softmax_groups(weights, columns, heads);
            spread(&v, channels, heads, 1.0, &mut tall);
            to_many(&operand(precision, weights), &tall, channels, y, Accumulate::No);
        }
    }

    /// Goes back from the gradient `d` `[n, q, c]` by the result to those by queries, keys and values. `weights` are those of
    /// [`CrossAttention::forward`].
    ///
    /// # Panics
    /// When sizes do not fit one another.
    pub fn backward(&self, [q, k, v]: [&[f32]; 3], weights: &[f32], d: &[f32], targets: [Target<'_>; 3]) {
        let [queries, keys] = self.tokens.map(|tokens| tokens * self.channels);
        let [dq, dk, dv] = targets;
        let accumulate = [dq.accumulate, dk.accumulate, dv.accumulate];
        let inputs = q.chunks_exact(queries).zip(k.chunks_exact(keys).zip(v.chunks_exact(keys)));
        let inputs = inputs.zip(weights.chunks_exact(self.weights()).zip(d.chunks_exact(queries)));
        let outputs = dq.gradient.chunks_exact_mut(queries);
        let outputs = outputs.zip(dk.gradient.chunks_exact_mut(keys).zip(dv.gradient.chunks_exact_mut(keys)));
        each_item(inputs.zip(outputs).collect(), |(((q, (k, v)), (weights, d)), (dq, (dk, dv)))| {
            self.sample_backward([q, k, v], weights, d, [dq, dk, dv], accumulate);
        });
    }

    fn sample_backward(
        &self,
        [q, k, v]: [&[f32]; 3],
        weights: &[f32],
        d: &[f32],
        [dq, dk, dv]: [&mut [f32]; 3],
        [into_q, into_k, into_v]: [Accumulate; 3],
    ) {
        let Self { channels, heads, precision, .. } = *self;
        let (columns, scale) = (self.columns(), self.scale());
        let [mut tall, mut tall_gradient] = [(); 2].map(|()| Buffer::stale(columns * channels));
        let mut dp = Buffer::stale(weights.len());
        let (d, p, v) = (operand(precision, d), operand(precision, weights), operand(precision, v));
        if self.few_queries() {
            spread(&d, channels, heads, 1.0, &mut tall);
            scores(&v, &tall, channels, &mut dp);
            to_many(&p, &tall, channels, dv, into_v);
            softmax_columns_backward(weights, &mut dp, columns);
        } else {
            spread(&v, channels, heads, 1.0, &mut tall);
            scores(&d, &tall, channels, &mut dp);
            to_few(&p, &d, channels, &mut tall_gradient);
            gather(&tall_gradient, channels, heads, 1.0, into_v, dv);
            softmax_groups_backward(weights, &mut dp, columns, heads);
        }
        let (few, many, d_few, d_many, into_few, into_many) = match self.few_queries() {
            true => (q, k, dq, dk, into_q, into_k),
            false => (k, q, dk, dq, into_k, into_q),
        };
        let dp = operand(precision, &dp);
        spread(&operand(precision, few), channels, heads, scale, &mut tall);
        to_many(&dp, &tall, channels, d_many, into_many);
        to_few(&dp, &operand(precision, many), channels, &mut tall_gradient);
        gather(&tall_gradient, channels, heads, scale, into_few, d_few);
    }
}

/// [`by_rows`] over rows of one sample.
fn by_all_rows<const N: usize>(
    rows: usize,
    buffers: [&mut [f32]; N],
    work: impl Fn(std::ops::Range<usize>, [&mut [f32]; N]) + Sync,
) {
    by_rows(rows, rows, buffers, work);
}

/// Spreads tokens of `channels` values over one row for each head, scaled.
fn spread(few: &[f32], channels: usize, heads: usize, scale: f32, out: &mut [f32]) {
    let head = channels / heads;
    out.fill(0.0);
    for (token, rows) in few.chunks_exact(channels).zip(out.chunks_exact_mut(channels * heads)) {
        for (h, row) in rows.chunks_exact_mut(channels).enumerate() {
            let channels = h * head..(h + 1) * head;
            row[channels.clone()].iter_mut().zip(&token[channels]).for_each(|(y, x)| *y = x * scale);
        }
    }
}

/// Undoes [`spread`]: each head's channels from its own row, scaled. The other numbers of a row belong to no head.
fn gather(
    spread: &[f32],
    channels: usize,
    heads: usize,
    scale: f32,
    accumulate: Accumulate,
    out: &mut [f32],
) {
    let head = channels / heads;
    for (rows, token) in spread.chunks_exact(channels * heads).zip(out.chunks_exact_mut(channels)) {
        for (h, row) in rows.chunks_exact(channels).enumerate() {
            let channels = h * head..(h + 1) * head;
            let row = &row[channels.clone()];
            match accumulate {
                Accumulate::No => each(&mut token[channels], row, |y, x| *y = x * scale),
                Accumulate::Yes => each(&mut token[channels], row, |y, x| *y += x * scale),
            }
        }
    }
}

/// `out = many few^T`: `[n, c]` and `[t * h, c]` to `[n, t * h]`.
fn scores(many: &[f32], few: &[f32], channels: usize, out: &mut [f32]) {
    by_all_rows(many.len() / channels, [out], |rows, [out]| {
        let many = &many[rows.start * channels..rows.end * channels];
        matmul(out, Matrix::new(many, channels), Matrix::new(few, channels).transposed(), Accumulate::No);
    });
}

/// `out (+)= weights few`: `[n, t * h]` and `[t * h, c]` to `[n, c]`.
fn to_many(weights: &[f32], few: &[f32], channels: usize, out: &mut [f32], accumulate: Accumulate) {
    let columns = few.len() / channels;
    by_all_rows(weights.len() / columns, [out], |rows, [out]| {
        let weights = &weights[rows.start * columns..rows.end * columns];
        matmul(out, Matrix::new(weights, columns), Matrix::new(few, channels), accumulate);
    });
}

/// `out = weights^T many`: `[n, t * h]` and `[n, c]` to `[t * h, c]`.
fn to_few(weights: &[f32], many: &[f32], channels: usize, out: &mut [f32]) {
    let columns = out.len() / channels;
    let product = |(weights, many): (&[f32], &[f32]), out: &mut [f32]| {
        matmul(out, Matrix::new(weights, columns).transposed(), Matrix::new(many, channels), Accumulate::No);
    };
    let blocks = weights.chunks(BLOCK * columns).zip(many.chunks(BLOCK * channels));
    over_blocks(blocks, out, product, |sum, x| sum + x);
}

/// Does some work on each block of rows, on any thread, and folds what comes of it, block by block, into `out`.
fn over_blocks<T: Send>(
    blocks: impl ExactSizeIterator<Item = T>,
    out: &mut [f32],
    work: impl Fn(T, &mut [f32]) + Sync + Send,
    fold: impl Fn(f32, f32) -> f32,
) {
    let mut parts = vec![0.0; blocks.len() * out.len()];
    each_item(blocks.zip(parts.chunks_mut(out.len())).collect(), |(block, part)| work(block, part));
    let (first, rest) = parts.split_at(out.len());
    out.copy_from_slice(first);
    for part in rest.chunks_exact(out.len()) {
        each(out, part, |out, x| *out = fold(*out, x));
    }
}

/// Softmax of scores down each column: each of the few tokens attends to the many.
fn softmax_columns(scores: &mut [f32], columns: usize) {
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
    over_blocks(scores.chunks(BLOCK * columns), &mut top, highest, higher);
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
    over_blocks(scores.chunks_mut(BLOCK * columns), &mut sum, exponentials, |sum, x| sum + x);
    sum.iter_mut().for_each(|sum| *sum = 1.0 / *sum);
    by_all_rows(scores.len() / columns, [scores], |_, [scores]| {
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
fn softmax_columns_backward(weights: &[f32], gradients: &mut [f32], columns: usize) {
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
    let blocks = weights.chunks(BLOCK * columns).zip(gradients.chunks(BLOCK * columns));
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
    by_all_rows(weights.len() / columns, [gradients], |rows, [gradients]| {
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
fn softmax_groups(scores: &mut [f32], columns: usize, heads: usize) {
    by_all_rows(scores.len() / columns, [scores], |_, [scores]| {
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
fn softmax_groups_backward(weights: &[f32], gradients: &mut [f32], columns: usize, heads: usize) {
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
