//! Attention over a square of tokens with decomposed relative positions, one head, a block of keys at a time.
//!
//! The score of a query at `(y, x)` and a key at `(y', x')` is `scale q.k + q.H[y - y'] + q.W[x - x']`. Neither the matrix of all
//! scores nor the one of all positions ever exists: blocks of scores stay in a core's cache, and the sum so far is scaled down
//! whenever a larger score turns up. (Milakov and Gimelshein, 2018; Dao et al., 2022; positions: Li et al., MViTv2) The backward pass
//! computes the scores again, from the kept logarithms of the sums.

use resect_numeric::Precision;

use crate::matmul::{Accumulate, Matrix, matmul};
use crate::rounding::{operand, round};
use crate::vector::{dot, each, exp_negative, vectorised};

/// Keys whose scores exist at the same time: with as many queries they take 256 KiB.
const TOGETHER: usize = 256;
/// Scores that are handled side by side.
const LANES: usize = 16;

/// Tables of relative positions, in the order in which attention reads them.
#[derive(Clone, Debug)]
pub struct Positions {
    /// Both tables, `[2 (2 side - 1), d]`, farthest following key first: the distances of a query at `y` to the keys of all rows
    /// are then `side` rows, from `side - 1 - y` on.
    tables: Vec<f32>,
    side: usize,
}

impl Positions {
    /// From tables `[2 side - 1, d]` by row and by column distance, in which the distance `side - 1` of a query to the first key
    /// comes last, as checkpoints have them. As operands of products they are rounded to `precision`.
    ///
    /// # Panics
    /// When the tables differ in size, or are no such tables.
    pub fn new(by_row: &[f32], by_column: &[f32], side: usize, precision: Precision) -> Self {
        let distances = 2 * side - 1;
        assert!(by_row.len() == by_column.len() && by_row.len().is_multiple_of(distances));
        let d = by_row.len() / distances;
        let mut tables: Vec<f32> = [by_row, by_column]
            .into_iter()
            .flat_map(|table| table.rchunks_exact(d))
            .flatten()
            .copied()
            .collect();
        round(precision, &mut tables);
        Self { tables, side }
    }

    /// Gradients in the order of the tables here, to gradients by row and by column in the order of checkpoints.
    pub(crate) fn in_order_of_checkpoints(gradients: &[f32], d: usize) -> [Vec<f32>; 2] {
        let (by_row, by_column) = gradients.split_at(gradients.len() / 2);
        [by_row, by_column].map(|table| table.rchunks_exact(d).flatten().copied().collect())
    }
}

/// The keys and values of a square of tokens, and how queries attend to them.
#[derive(Clone, Copy, Debug)]
pub struct Square<'a> {
    /// `[side * pitch, d]`, row after row. As an operand it is expected to be rounded already.
    pub keys: Matrix<'a>,
    /// `[side * pitch, d]`, rounded.
    pub values: Matrix<'a>,
    /// Tokens along each side.
    pub side: usize,
    /// Tokens that a row takes in both matrices, at least `side`. Those beyond the side are not attended to, and must be finite.
    pub pitch: usize,
    /// Tables of relative positions, for squares of this side.
    pub positions: Option<&'a Positions>,
    /// What products of queries and keys are multiplied by.
    pub scale: f32,
    /// The format that weights, and gradients that enter products, are rounded to.
    pub precision: Precision,
}

/// Some queries of a square, in row order.
#[derive(Clone, Copy, Debug)]
pub struct Queries<'a> {
    /// `[n, d]`, rounded.
    pub rows: Matrix<'a>,
    /// Query `i` stands at the row `(first + i) / width` and the column `(first + i) % width`.
    pub first: usize,
    /// See `first`.
    pub width: usize,
}

impl Queries<'_> {
    fn count(&self) -> usize {
        self.rows.shape()[0]
    }

    /// Row and column of a query.
    fn place(&self, i: usize) -> [usize; 2] {
        [(self.first + i) / self.width, (self.first + i) % self.width]
    }
}

/// Memory of [`Square`]'s passes, which serves the next call.
#[derive(Debug, Default)]
pub struct Scratch {
    scores: Vec<f32>,
    positions: Vec<f32>,
    top: Vec<f32>,
    sum: Vec<f32>,
    row: Vec<f32>,
    weights: Vec<f32>,
    position_gradients: Vec<f32>,
}

/// Gradients of an attention, all of which are added to.
#[derive(Debug)]
pub struct SquareGradients<'a> {
    /// By the queries at hand, `[n, d]`.
    pub queries: &'a mut [f32],
    /// `[side * pitch, d]`
    pub keys: &'a mut [f32],
    /// `[side * pitch, d]`
    pub values: &'a mut [f32],
    /// By the tables of positions in the order of [`Positions`], `[2 (2 side - 1), d]`.
    pub positions: &'a mut [f32],
}

impl Square<'_> {
    /// Distances between two rows, or two columns, of the square.
    fn distances(&self) -> usize {
        2 * self.side - 1
    }

    /// The shares of positions in the scores of queries, `[n, 2 (2 side - 1)]`.
    fn shares(&self, queries: Queries<'_>, shares: &mut Vec<f32>) {
        shares.resize(queries.count() * 2 * self.distances(), 0.0);
        match self.positions {
            Some(positions) => {
                assert_eq!(positions.side, self.side, "side of the tables of positions");
                let tables = Matrix::new(&positions.tables, self.values.shape()[1]);
                matmul(shares, queries.rows, tables.transposed(), Accumulate::No);
            }
            None => shares.fill(0.0),
        }
    }

    /// Rows of keys in blocks, each with its tokens.
    fn blocks(&self) -> impl Iterator<Item = (std::ops::Range<usize>, std::ops::Range<usize>)> + use<> {
        let Self { side, pitch, .. } = *self;
        let together = (TOGETHER / pitch).max(1);
        (0..side).step_by(together).map(move |first| {
            let rows = first..(first + together).min(side);
            (rows.clone(), rows.start * pitch..rows.end * pitch)
        })
    }

    /// Writes to `out` `[n, d]` what `n` queries find in the square, and to `log_sums` `[n]` the logarithm of each query's sum of
    /// exponentials, unless that is empty.
    ///
    /// The weights of values are rounded before they are divided by their sum.
    ///
    /// # Panics
    /// When the sizes do not fit one another.
    pub fn attend(&self, queries: Queries<'_>, scratch: &mut Scratch, out: &mut [f32], log_sums: &mut [f32]) {
        let Self { keys, values, side, pitch, scale, precision, .. } = *self;
        let (n, d, distances) = (queries.count(), values.shape()[1], self.distances());
        let Scratch { scores, positions: shares, top, sum, row, .. } = scratch;
        self.shares(queries, shares);
        reset(top, n, f32::NEG_INFINITY);
        reset(sum, n, 0.0);
        // Columns beyond the side keep this share and so get no weight.
        reset(row, pitch, f32::NEG_INFINITY);

        for (key_rows, tokens) in self.blocks() {
            scores.resize(n * tokens.len(), 0.0);
            matmul(scores, queries.rows, keys.rows(tokens.clone()).transposed(), Accumulate::No);
            vectorised(
                #[inline(always)]
                || {
                    for i in 0..n {
                        let [y, x] = queries.place(i);
                        let shares = &shares[i * 2 * distances..][..2 * distances];
                        row[..side].copy_from_slice(&shares[distances + side - 1 - x..][..side]);
                        let by_row = &shares[side - 1 - y..][key_rows.clone()];
                        let scores = &mut scores[i * tokens.len()..][..tokens.len()];
                        let largest = place(scores, by_row, row, scale);
                        let larger = if largest > top[i] { largest } else { top[i] };
                        let kept = exp_negative(top[i] - larger);
                        top[i] = larger;
                        sum[i] = sum[i].mul_add(kept, exponentiate(scores, larger));
                        out[i * d..(i + 1) * d].iter_mut().for_each(|out| *out *= kept);
                    }
                },
            );
            let accumulate = if key_rows.start == 0 { Accumulate::No } else { Accumulate::Yes };
            round(precision, scores);
            matmul(out, Matrix::new(scores, tokens.len()), values.rows(tokens), accumulate);
        }
        vectorised(
            #[inline(always)]
            || {
                for (out, sum) in out.chunks_exact_mut(d).zip(sum.iter()) {
                    let inverse = 1.0 / *sum;
                    out.iter_mut().for_each(|out| *out *= inverse);
                }
            },
        );
        for (log_sum, (top, sum)) in log_sums.iter_mut().zip(top.iter().zip(sum)) {
            *log_sum = *top + sum.ln();
        }
    }

    /// Goes back from the gradient `d` `[n, d]` by the result of [`Square::attend`], `out` `[n, d]`, to queries, keys, values and tables
    /// of positions.
    ///
    /// # Panics
    /// When the sizes do not fit one another.
    pub fn backward(
        &self,
        queries: Queries<'_>,
        [out, d]: [Matrix<'_>; 2],
        log_sums: &[f32],
        scratch: &mut Scratch,
        gradients: SquareGradients<'_>,
    ) {
        let Self { keys, values, side, pitch, scale, precision, .. } = *self;
        let (n, channels, distances) = (queries.count(), values.shape()[1], self.distances());
        let Scratch { scores, positions: shares, top: along, row, weights, position_gradients, .. } = scratch;
        self.shares(queries, shares);
        reset(row, pitch, f32::NEG_INFINITY);
        // What a query's gradient has along its result.
        along.clear();
        along.extend((0..n).map(|i| dot(d.row(i), out.row(i))));
        let rounded: Vec<f32> = match precision {
            Precision::F32 => Vec::new(),
            _ => {
                let mut rows: Vec<f32> = (0..n).flat_map(|i| d.row(i)).copied().collect();
                round(precision, &mut rows);
                rows
            }
        };
        let d = if rounded.is_empty() { d } else { Matrix::new(&rounded, channels) };
        reset(position_gradients, n * 2 * distances, 0.0);

        for (key_rows, tokens) in self.blocks() {
            // First the scores, which become weights; then the gradients by weights, which become those by scores.
            weights.resize(n * tokens.len(), 0.0);
            scores.resize(n * tokens.len(), 0.0);
            matmul(weights, queries.rows, keys.rows(tokens.clone()).transposed(), Accumulate::No);
            matmul(scores, d, values.rows(tokens.clone()).transposed(), Accumulate::No);
            vectorised(
                #[inline(always)]
                || {
                    for i in 0..n {
                        let [y, x] = queries.place(i);
                        let shares = &shares[i * 2 * distances..][..2 * distances];
                        row[..side].copy_from_slice(&shares[distances + side - 1 - x..][..side]);
                        let by_row = &shares[side - 1 - y..][key_rows.clone()];
                        let weights = &mut weights[i * tokens.len()..][..tokens.len()];
                        let scores = &mut scores[i * tokens.len()..][..tokens.len()];
                        place(weights, by_row, row, scale);
                        let (log_sum, along) = (log_sums[i], along[i]);
                        for (weight, score) in weights.iter_mut().zip(scores.iter_mut()) {
                            // Rounding may leave a score just above the logarithm of its sum.
                            let exponent = *weight - log_sum;
                            *weight = exp_negative(if exponent > 0.0 { 0.0 } else { exponent });
                            *score = *weight * (*score - along);
                        }
                        let of_positions = &mut position_gradients[i * 2 * distances..][..2 * distances];
                        let (of_rows, of_columns) = of_positions.split_at_mut(distances);
                        let of_columns = &mut of_columns[side - 1 - x..][..side];
                        for (key_row, scores) in key_rows.clone().zip(scores.chunks_exact(pitch)) {
                            let scores = &scores[..side];
                            of_rows[side - 1 - y + key_row] += crate::sum(scores);
                            each(of_columns, scores, |sum, score| *sum += score);
                        }
                        scores.iter_mut().for_each(|score| *score *= scale);
                    }
                },
            );
            round(precision, weights);
            round(precision, scores);
            let (weights, scores) = (Matrix::new(weights, tokens.len()), Matrix::new(scores, tokens.len()));
            let part = tokens.start * channels..tokens.end * channels;
            matmul(&mut gradients.values[part.clone()], weights.transposed(), d, Accumulate::Yes);
            matmul(&mut gradients.keys[part], scores.transposed(), queries.rows, Accumulate::Yes);
            matmul(gradients.queries, scores, keys.rows(tokens), Accumulate::Yes);
        }
        if let Some(positions) = self.positions {
            let of_shares = operand(precision, position_gradients);
            let of_shares = Matrix::new(&of_shares, 2 * distances);
            matmul(gradients.queries, of_shares, Matrix::new(&positions.tables, channels), Accumulate::Yes);
            matmul(gradients.positions, of_shares.transposed(), queries.rows, Accumulate::Yes);
        }
    }
}

fn reset(x: &mut Vec<f32>, len: usize, value: f32) {
    x.clear();
    x.resize(len, value);
}

/// Scales scores and adds the positions' shares: one for each row of keys, and one for each column. The largest of what results.
///
/// (Loops by index over arrays of a known length: they become vectors in registers, iterators would not.)
#[inline(always)]
fn place(scores: &mut [f32], by_row: &[f32], by_column: &[f32], scale: f32) -> f32 {
    let mut top = [f32::NEG_INFINITY; LANES];
    let mut rest_top = f32::NEG_INFINITY;
    let (columns, rest_columns) = by_column.as_chunks::<LANES>();
    for (row, share) in by_row.iter().enumerate() {
        let (scores, rest) = scores[row * by_column.len()..][..by_column.len()].as_chunks_mut::<LANES>();
        for chunk in 0..columns.len().min(scores.len()) {
            let (scores, columns) = (&mut scores[chunk], &columns[chunk]);
            for lane in 0..LANES {
                scores[lane] = scores[lane].mul_add(scale, share + columns[lane]);
                top[lane] = if top[lane] > scores[lane] { top[lane] } else { scores[lane] };
            }
        }
        for column in 0..rest.len().min(rest_columns.len()) {
            rest[column] = rest[column].mul_add(scale, share + rest_columns[column]);
            rest_top = if rest_top > rest[column] { rest_top } else { rest[column] };
        }
    }
    top.into_iter().fold(rest_top, |a, b| if a > b { a } else { b })
}

/// Replaces scores by `e^(score - top)`, and sums them.
#[inline(always)]
fn exponentiate(scores: &mut [f32], top: f32) -> f32 {
    let mut sums = [0f32; LANES];
    let (scores, rest) = scores.as_chunks_mut::<LANES>();
    for chunk in 0..scores.len() {
        let scores = &mut scores[chunk];
        for lane in 0..LANES {
            scores[lane] = exp_negative(scores[lane] - top);
            sums[lane] += scores[lane];
        }
    }
    for i in 0..rest.len() {
        rest[i] = exp_negative(rest[i] - top);
        sums[i] += rest[i];
    }
    sums.into_iter().sum()
}

#[cfg(test)]
mod tests;
