//! Attention over a square of tokens with decomposed relative positions, one head, a block of keys at a time.
//!
//! The score of a query at `(y, x)` and a key at `(y', x')` is `scale q.k + q.H[y - y'] + q.W[x - x']`. Neither the matrix of all
//! scores nor the one of all positions ever exists: blocks of scores stay in a core's cache, and what is attended so far is
//! scaled down whenever a larger score turns up. (Milakov and Gimelshein, 2018; Dao et al., 2022; positions: Li et al., MViTv2)

use crate::matmul::{Into, Matrix, matmul};
use crate::rounding::round;
use crate::vector::{exp_negative, vectorised};
use resect_numeric::Precision;

/// Keys whose scores exist at the same time: with as many queries they take 256 KiB.
const TOGETHER: usize = 256;
/// Scores that are handled side by side.
const LANES: usize = 16;

/// Tables of relative positions, as [`attend`] wants them.
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
}

/// The tokens that are attended to.
#[derive(Clone, Copy, Debug)]
pub struct Square<'a> {
    /// `[side * pitch, d]`, row after row. As an operand it is expected to be rounded already.
    pub keys: Matrix<'a>,
    /// `[side * pitch, d]`, rounded.
    pub values: Matrix<'a>,
    /// Tokens along each side.
    pub side: usize,
    /// Tokens that a row takes in both matrices, at least `side`. What is beyond the side is not attended to, and must be finite.
    pub pitch: usize,
}

/// Memory of [`attend`], which serves the next call.
#[derive(Debug, Default)]
pub struct Scratch {
    scores: Vec<f32>,
    positions: Vec<f32>,
    top: Vec<f32>,
    sum: Vec<f32>,
    row: Vec<f32>,
}

/// Writes to `out` `[n, d]` what `n` queries `[n, d]` find in a square.
///
/// Query `i` stands at the row `(first + i) / width` and the column `(first + i) % width`. Queries are rounded already, too; the
/// weights of values are rounded to `precision` here, before they are divided by their sum.
///
/// # Panics
/// When the sizes do not fit one another.
#[expect(
    clippy::too_many_arguments,
    reason = "one call for the whole of attention; its parts have no life of their own"
)]
pub fn attend(
    queries: Matrix<'_>,
    [first, width]: [usize; 2],
    square: Square<'_>,
    positions: Option<&Positions>,
    scale: f32,
    precision: Precision,
    scratch: &mut Scratch,
    out: &mut [f32],
) {
    let Square { keys, values, side, pitch } = square;
    let (n, d) = (queries.shape()[0], values.shape()[1]);
    let distances = 2 * side - 1;
    let Scratch { scores, positions: shares, top, sum, row } = scratch;
    shares.resize(n * 2 * distances, 0.0);
    match positions {
        Some(positions) => {
            assert_eq!(positions.side, side, "side of the tables of positions");
            matmul(shares, queries, Matrix::new(&positions.tables, d).transposed(), Into::Replace);
        }
        None => shares.fill(0.0),
    }
    reset(top, n, f32::NEG_INFINITY);
    reset(sum, n, 0.0);
    // Columns beyond the side keep this share and so get no weight.
    reset(row, pitch, f32::NEG_INFINITY);

    let rows_together = (TOGETHER / pitch).max(1);
    for first_row in (0..side).step_by(rows_together) {
        let key_rows = first_row..(first_row + rows_together).min(side);
        let tokens = key_rows.start * pitch..key_rows.end * pitch;
        scores.resize(n * tokens.len(), 0.0);
        matmul(scores, queries, keys.rows(tokens.clone()).transposed(), Into::Replace);
        vectorised(
            #[inline(always)]
            || {
                for i in 0..n {
                    let (y, x) = ((first + i) / width, (first + i) % width);
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
        let into = if first_row == 0 { Into::Replace } else { Into::Add };
        round(precision, scores);
        matmul(out, Matrix::new(scores, tokens.len()), values.rows(tokens), into);
    }
    vectorised(
        #[inline(always)]
        || {
            for (out, sum) in out.chunks_exact_mut(d).zip(sum) {
                let inverse = 1.0 / *sum;
                out.iter_mut().for_each(|out| *out *= inverse);
            }
        },
    );
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
