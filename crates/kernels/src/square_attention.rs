//! Attention of the image encoder: each token attends to its window, or to the whole image, head by head.

use std::ops::Range;

use resect_numeric::Precision;

use crate::blocks::{by_rows, each_item_with};
use crate::buffer::Buffer;
use crate::linear::Target;
use crate::matmul::{Accumulate, Matrix};
use crate::rounding::round;
use crate::square::{Positions, Queries, Scratch, Square, SquareGradients};
use crate::vector::each;

/// Queries that one thread takes at a time where attention is global.
const ROWS: usize = 256;
/// Rows of a window are stretched to a multiple of so many tokens, which vectors are then filled by.
const PITCH: usize = 16;

/// Attention within squares of tokens. Images are `grid` by `grid` tokens, and have queries, keys and values of all heads beside one
/// another, `[grid * grid, 3 * heads * head]`.
///
/// Where a window reaches over the image, checkpoints were trained with tokens of zeros before the projection. Their keys and values
/// are the projection's bias, `outside`; nobody needs what they attend to.
#[derive(Clone, Copy, Debug)]
pub struct SquareAttention<'a> {
    /// Tokens along each side of an image.
    pub grid: usize,
    /// Side of the windows in tokens; none where attention is global.
    pub window: Option<usize>,
    /// Heads.
    pub heads: usize,
    /// Channels of a head.
    pub head: usize,
    /// Tables of relative positions, for squares of the window's side or the image's.
    pub positions: Option<&'a Positions>,
    /// Queries, keys and values of tokens beyond the image, `[3 * heads * head]`; zeros where there is none.
    pub outside: Option<&'a [f32]>,
    /// The format that operands of products are rounded to. Queries, keys and values are expected to be rounded already.
    pub precision: Precision,
}

/// The targets of the gradients of a [`SquareAttention`].
#[derive(Debug)]
pub struct SquareTargets<'a> {
    /// Queries, keys and values.
    pub qkv: Target<'a>,
    /// [`SquareAttention::outside`].
    pub outside: Option<Target<'a>>,
    /// Tables by row and by column distance, `[2 side - 1, head]` each, in the order of checkpoints.
    pub tables: Option<[Target<'a>; 2]>,
}

/// What is gathered of a window, for one head.
#[derive(Debug, Default)]
struct Window {
    queries: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
    out: Vec<f32>,
    d: Vec<f32>,
}

impl SquareAttention<'_> {
    /// How many logarithms of sums [`SquareAttention::forward`] writes for an image.
    pub fn log_sums(&self) -> usize {
        self.units() * self.heads * self.rows()
    }

    /// Writes what the tokens of images `qkv` `[n, grid * grid, 3 * heads * head]` attend to, `[n, grid * grid, heads * head]`. `log_sums`
    /// receives what the backward pass needs, [`SquareAttention::log_sums`] numbers an image; it is empty where there is none.
    ///
    /// # Panics
    /// When sizes do not fit one another.
    pub fn forward(&self, qkv: &[f32], out: &mut [f32], log_sums: &mut [f32]) {
        let (tokens, channels) = (self.grid * self.grid, self.heads * self.head);
        let images = qkv.len() / (3 * channels * tokens);
        let (rows, units) = (self.rows(), self.units());
        let outside = self.rounded_outside();
        // By image, unit and head: `[rows, head]`.
        let mut attended = Buffer::stale(images * units * rows * channels);
        let mut log_sums: Vec<&mut [f32]> = match log_sums.is_empty() {
            true => (0..images * units * self.heads).map(|_| Default::default()).collect(),
            false => log_sums.chunks_exact_mut(rows).collect(),
        };
        let parts: Vec<_> =
            attended.chunks_exact_mut(rows * self.head).zip(log_sums.drain(..)).enumerate().collect();
        each_item_with(parts, |(scratch, window): &mut (Scratch, Window), (part, (out, log_sums))| {
            let (image, unit, head) =
                (part / self.heads / units, part / self.heads % units, part % self.heads);
            let qkv = &qkv[image * tokens * 3 * channels..][..tokens * 3 * channels];
            let qkv = Matrix::new(qkv, 3 * channels);
            match self.window {
                Some(_) => {
                    self.gather(qkv, &outside, unit, head, window);
                    let queries = self.window_queries(window, unit);
                    let count = window.queries.len() / self.head;
                    let log_sums = if log_sums.is_empty() { log_sums } else { &mut log_sums[..count] };
                    let square = self.window_square(window);
                    square.attend(queries, scratch, &mut out[..count * self.head], log_sums);
                }
                None => {
                    let (queries, square) = self.global(qkv, unit * ROWS, head);
                    let count = queries.rows.shape()[0];
                    let log_sums = if log_sums.is_empty() { log_sums } else { &mut log_sums[..count] };
                    square.attend(queries, scratch, &mut out[..count * self.head], log_sums);
                }
            }
        });
        by_rows(images * tokens, tokens, [out], |range, [out]| {
            for (row, out) in range.zip(out.chunks_exact_mut(channels)) {
                let (unit, place) = self.place(row % tokens);
                for (head, out) in out.chunks_exact_mut(self.head).enumerate() {
                    let part = ((row / tokens) * units + unit) * self.heads + head;
                    out.copy_from_slice(&attended[(part * rows + place) * self.head..][..self.head]);
                }
            }
        });
    }

    /// Goes back from the gradient `d` by the result `out` of [`SquareAttention::forward`], which wrote `log_sums`.
    ///
    /// # Panics
    /// When sizes do not fit one another.
    pub fn backward(
        &self,
        qkv: &[f32],
        out: &[f32],
        log_sums: &[f32],
        d: &[f32],
        targets: SquareTargets<'_>,
    ) {
        let (tokens, channels) = (self.grid * self.grid, self.heads * self.head);
        let images = qkv.len() / (3 * channels * tokens);
        let outside = self.rounded_outside();
        let squares = self.window.map_or(1, |_| self.units());
        let (side, pitch) = (self.side(), self.pitch());
        // By image, square and head: gradients by queries `[side * side, head]`, by keys and by values `[side * pitch, head]`.
        let area = (side * side + 2 * side * pitch) * self.head;
        let tables = 2 * (2 * side - 1) * self.head;
        let mut areas = Buffer::zeros(images * squares * self.heads * area);
        let mut parts = Buffer::zeros(images * squares * self.heads * tables);
        let work: Vec<_> =
            areas.chunks_exact_mut(area).zip(parts.chunks_exact_mut(tables)).enumerate().collect();
        each_item_with(work, |(scratch, window): &mut (Scratch, Window), (part, (area, positions))| {
            let (image, square, head) =
                (part / self.heads / squares, part / self.heads % squares, part % self.heads);
            let of_image =
                |x, columns: usize| Matrix::new(x, columns).rows(image * tokens..(image + 1) * tokens);
            let qkv = of_image(qkv, 3 * channels);
            let [out, d] = [out, d].map(|x| of_image(x, channels));
            let (queries, rest) = area.split_at_mut(side * side * self.head);
            let (keys, values) = rest.split_at_mut(side * pitch * self.head);
            let log_sums = &log_sums[image * self.log_sums()..][..self.log_sums()];
            let of_part = |unit: usize| &log_sums[(unit * self.heads + head) * self.rows()..][..self.rows()];
            match self.window {
                Some(_) => {
                    self.gather(qkv, &outside, square, head, window);
                    let columns = head * self.head..(head + 1) * self.head;
                    for token in self.tokens_inside(square) {
                        window.out.extend_from_slice(&out.row(token)[columns.clone()]);
                        window.d.extend_from_slice(&d.row(token)[columns.clone()]);
                    }
                    let found = [&window.out, &window.d].map(|x| Matrix::new(x, self.head));
                    let queries = &mut queries[..window.queries.len()];
                    let gradients = SquareGradients { queries, keys, values, positions };
                    let at = self.window_queries(window, square);
                    self.window_square(window).backward(at, found, of_part(square), scratch, gradients);
                }
                None => {
                    for (unit, queries) in queries.chunks_mut(ROWS * self.head).enumerate() {
                        let (at, square) = self.global(qkv, unit * ROWS, head);
                        let rows = unit * ROWS..unit * ROWS + at.rows.shape()[0];
                        let columns = head * self.head..(head + 1) * self.head;
                        let found = [out, d].map(|x| x.columns(columns.clone()).rows(rows.clone()));
                        let gradients = SquareGradients {
                            queries,
                            keys: &mut *keys,
                            values: &mut *values,
                            positions: &mut *positions,
                        };
                        square.backward(at, found, of_part(unit), scratch, gradients);
                    }
                }
            }
        });
        let found = Found { attention: self, areas: &areas, area, squares };
        let SquareTargets { qkv, outside, tables: of_tables } = targets;
        found.give_qkv(images, qkv);
        if let Some(outside) = outside {
            found.give_outside(images, outside);
        }
        if let Some([by_row, by_column]) = of_tables {
            crate::elementwise::sum_parts(&mut parts, tables);
            let [rows, columns] = Positions::in_order_of_checkpoints(&parts[..tables], self.head);
            by_row.give(&rows);
            by_column.give(&columns);
        }
    }

    fn rounded_outside(&self) -> Vec<f32> {
        let mut outside = match self.outside {
            Some(outside) => outside.to_vec(),
            None => vec![0.0; 3 * self.heads * self.head],
        };
        round(self.precision, &mut outside);
        outside
    }

    /// The channels of a head in the `part`th of queries, keys and values.
    fn channels(&self, part: usize, head: usize) -> Range<usize> {
        let start = (part * self.heads + head) * self.head;
        start..start + self.head
    }

    fn scale(&self) -> f32 {
        (self.head as f32).powf(-0.5)
    }

    fn square<'s>(&'s self, keys: Matrix<'s>, values: Matrix<'s>) -> Square<'s> {
        Square {
            keys,
            values,
            side: self.side(),
            pitch: self.pitch(),
            positions: self.positions,
            scale: self.scale(),
            precision: self.precision,
        }
    }

    /// A block of queries of an image, and all its keys.
    fn global<'s>(&'s self, qkv: Matrix<'s>, first: usize, head: usize) -> (Queries<'s>, Square<'s>) {
        let [q, keys, values] = [0, 1, 2].map(|part| qkv.columns(self.channels(part, head)));
        let rows = q.rows(first..(first + ROWS).min(self.grid * self.grid));
        (Queries { rows, first, width: self.grid }, self.square(keys, values))
    }

    /// Gathers the queries, keys and values of a window.
    fn gather(&self, qkv: Matrix<'_>, outside: &[f32], unit: usize, head: usize, window: &mut Window) {
        let (side, [top, left], [height, width]) = (self.side(), self.corner(unit), self.size(unit));
        let [q, k, v] = [0, 1, 2].map(|part| self.channels(part, head));
        let Window { queries, keys, values, out, d } = &mut *window;
        [queries, keys, values, out, d].into_iter().for_each(Vec::clear);
        for (part, out) in [(k, &mut window.keys), (v, &mut window.values)] {
            for row in 0..side {
                for column in 0..side {
                    let token = (top + row) * self.grid + left + column;
                    let inside = row < height && column < width;
                    out.extend_from_slice(if inside {
                        &qkv.row(token)[part.clone()]
                    } else {
                        &outside[part.clone()]
                    });
                }
                out.resize((row + 1) * self.pitch() * self.head, 0.0);
            }
        }
        for token in self.tokens_inside(unit) {
            window.queries.extend_from_slice(&qkv.row(token)[q.clone()]);
        }
    }

    fn window_queries<'w>(&self, window: &'w Window, unit: usize) -> Queries<'w> {
        Queries { rows: Matrix::new(&window.queries, self.head), first: 0, width: self.size(unit)[1] }
    }

    fn window_square<'s>(&'s self, window: &'s Window) -> Square<'s> {
        self.square(Matrix::new(&window.keys, self.head), Matrix::new(&window.values, self.head))
    }

    /// Tokens along a side of a square.
    fn side(&self) -> usize {
        self.window.unwrap_or(self.grid)
    }

    /// Tokens that a row of a square takes.
    fn pitch(&self) -> usize {
        match self.window {
            Some(side) => side.next_multiple_of(PITCH),
            None => self.grid,
        }
    }

    /// Windows beside one another.
    fn across(&self) -> usize {
        self.grid.div_ceil(self.side())
    }

    /// What attention is divided into beside heads: windows, or blocks of [`ROWS`] queries where it is global.
    fn units(&self) -> usize {
        match self.window {
            Some(_) => self.across() * self.across(),
            None => (self.grid * self.grid).div_ceil(ROWS),
        }
    }

    /// Room for queries that each unit has.
    fn rows(&self) -> usize {
        self.window.map_or(ROWS, |side| side * side)
    }

    /// The first row and column of a window, in tokens.
    fn corner(&self, unit: usize) -> [usize; 2] {
        [unit / self.across(), unit % self.across()].map(|place| place * self.side())
    }

    /// Rows and columns of a window that lie within the image.
    fn size(&self, unit: usize) -> [usize; 2] {
        self.corner(unit).map(|start| self.side().min(self.grid - start))
    }

    /// The tokens of a window that lie within the image, row by row.
    fn tokens_inside(&self, unit: usize) -> impl Iterator<Item = usize> + use<> {
        let ([top, left], [height, width], grid) = (self.corner(unit), self.size(unit), self.grid);
        (top..top + height).flat_map(move |row| (left..left + width).map(move |column| row * grid + column))
    }

    /// The unit and the row within it of a token.
    fn place(&self, token: usize) -> (usize, usize) {
        match self.window {
            Some(side) => {
                let (y, x) = (token / self.grid, token % self.grid);
                let unit = y / side * self.across() + x / side;
                (unit, y % side * self.size(unit)[1] + x % side)
            }
            None => (token / ROWS, token % ROWS),
        }
    }
}

/// Gradients by image, square and head.
struct Found<'a> {
    attention: &'a SquareAttention<'a>,
    areas: &'a [f32],
    /// Numbers of each.
    area: usize,
    /// Squares of an image.
    squares: usize,
}

impl Found<'_> {
    /// The gradients by queries, keys and values of a square and head.
    fn parts(&self, image: usize, square: usize, head: usize) -> [&[f32]; 3] {
        let SquareAttention { heads, head: channels, .. } = *self.attention;
        let (side, pitch) = (self.attention.side(), self.attention.pitch());
        let area = &self.areas[((image * self.squares + square) * heads + head) * self.area..][..self.area];
        let (queries, rest) = area.split_at(side * side * channels);
        let (keys, values) = rest.split_at(side * pitch * channels);
        [queries, keys, values]
    }

    fn give_qkv(&self, images: usize, target: Target<'_>) {
        let attention = self.attention;
        let (tokens, channels) = (attention.grid * attention.grid, attention.head);
        let width = 3 * attention.heads * channels;
        let accumulate = target.accumulate;
        by_rows(images * tokens, tokens, [target.gradient], |range, [gradient]| {
            for (row, gradient) in range.zip(gradient.chunks_exact_mut(width)) {
                let (image, token) = (row / tokens, row % tokens);
                let (y, x) = (token / attention.grid, token % attention.grid);
                let (square, query, key) = match attention.window {
                    Some(side) => {
                        let (square, query) = attention.place(token);
                        (square, query, y % side * attention.pitch() + x % side)
                    }
                    None => (0, token, token),
                };
                for head in 0..attention.heads {
                    let [q, k, v] = self.parts(image, square, head);
                    for (part, (found, at)) in [(q, query), (k, key), (v, key)].into_iter().enumerate() {
                        let gradient = &mut gradient[attention.channels(part, head)];
                        let found = &found[at * channels..][..channels];
                        match accumulate {
                            Accumulate::No => gradient.copy_from_slice(found),
                            Accumulate::Yes => each(gradient, found, |gradient, found| *gradient += found),
                        }
                    }
                }
            }
        });
    }

    /// What keys and values of tokens beyond the image have, summed.
    fn give_outside(&self, images: usize, target: Target<'_>) {
        let attention = self.attention;
        let channels = attention.head;
        let mut sums = vec![0.0; 3 * attention.heads * channels];
        if let Some(side) = attention.window {
            for (image, square) in
                (0..images).flat_map(|image| (0..self.squares).map(move |square| (image, square)))
            {
                let [height, width] = attention.size(square);
                let beyond: Vec<usize> = (0..side * side)
                    .filter(|at| at / side >= height || at % side >= width)
                    .map(|at| at / side * attention.pitch() + at % side)
                    .collect();
                for head in 0..attention.heads {
                    let [_, k, v] = self.parts(image, square, head);
                    for (part, found) in [(1, k), (2, v)] {
                        let sum = &mut sums[attention.channels(part, head)];
                        for at in &beyond {
                            each(sum, &found[at * channels..][..channels], |sum, found| *sum += found);
                        }
                    }
                }
            }
        }
        target.give(&sums);
    }
}

#[cfg(test)]
mod tests;
