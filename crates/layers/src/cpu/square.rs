//! Attention within squares of tokens.

use burn_flex::FlexTensor;
use resect_kernels::{Buffer, Positions, SquareAttention, SquareTargets};
use resect_numeric::Precision;

use super::graph::{Saved, Sink};
use super::tensors::{Gradient, from_buffer, numbers, shape};
use crate::Squares;

/// Attention with its inputs.
#[derive(Clone, Debug)]
pub(super) struct Square {
    /// `[images, grid * grid, 3 * heads * head]`
    qkv: FlexTensor,
    outside: Option<FlexTensor>,
    tables: Option<[FlexTensor; 2]>,
    positions: Option<Positions>,
    squares: Squares,
    precision: Precision,
}

impl Square {
    pub fn new(
        qkv: FlexTensor,
        outside: Option<FlexTensor>,
        tables: Option<[FlexTensor; 2]>,
        squares: Squares,
        precision: Precision,
    ) -> Self {
        let positions = tables.as_ref().map(|[rows, columns]| {
            Positions::new(numbers(rows), numbers(columns), squares.side(), precision)
        });
        Self { qkv, outside, tables, positions, squares, precision }
    }

    fn attention(&self) -> SquareAttention<'_> {
        let Squares { grid, window, heads, head, .. } = self.squares;
        SquareAttention {
            grid,
            window,
            heads,
            head,
            positions: self.positions.as_ref(),
            outside: self.outside.as_ref().map(numbers),
            precision: self.precision,
        }
    }

    /// The result.
    pub fn predict(&self) -> FlexTensor {
        self.run(&mut [])
    }

    /// The result, and what the backward pass needs.
    pub fn forward(self) -> (SavedSquare, FlexTensor) {
        let mut log_sums = Buffer::zeros(self.squares.images * self.attention().log_sums());
        let out = self.run(&mut log_sums);
        let count = log_sums.len();
        let log_sums = from_buffer(log_sums, &[count]);
        (SavedSquare { square: self, out: out.clone(), log_sums }, out)
    }

    fn run(&self, log_sums: &mut [f32]) -> FlexTensor {
        let Squares { images, grid, .. } = self.squares;
        let shape = [images, grid * grid, self.squares.channels()];
        let mut out = Buffer::stale(shape.iter().product());
        self.attention().forward(numbers(&self.qkv), &mut out, log_sums);
        from_buffer(out, &shape)
    }
}

/// What the backward pass of an attention needs.
#[derive(Clone, Debug)]
pub(super) struct SavedSquare {
    square: Square,
    out: FlexTensor,
    log_sums: FlexTensor,
}

/// Queries, keys and values; those of tokens beyond the image; tables by row and by column.
impl Saved<4> for SavedSquare {
    fn backward(self, d: FlexTensor, [qkv, outside, rows, columns]: [Sink; 4]) -> [Option<FlexTensor>; 4] {
        let Self { square, out, log_sums } = self;
        // The kernel computes this gradient even if it is not wanted: the others follow from it.
        let wanted = qkv.is_wanted();
        let of_qkv = shape(&square.qkv);
        let mut qkv = qkv.open(&of_qkv).unwrap_or_else(|| Gradient::new(&of_qkv));
        let mut outside = square.outside.as_ref().and_then(|tensor| outside.open(&shape(tensor)));
        let wanted_tables = [rows.is_wanted(), columns.is_wanted()];
        let mut tables = square.tables.as_ref().filter(|_| wanted_tables.contains(&true)).map(|tables| {
            // The gradient of a table is dropped if it is not wanted.
            let [by_row, by_column] = tables.each_ref().map(shape);
            let open = |sink: Sink, shape: &[usize]| sink.open(shape).unwrap_or_else(|| Gradient::new(shape));
            [open(rows, &by_row), open(columns, &by_column)]
        });
        let targets = SquareTargets {
            qkv: qkv.target(),
            outside: outside.as_mut().map(|outside| outside.target()),
            tables: tables.as_mut().map(|tables| tables.each_mut().map(|table| table.target())),
        };
        let attention = square.attention();
        attention.backward(numbers(&square.qkv), numbers(&out), numbers(&log_sums), numbers(&d), targets);
        let [rows, columns] = match tables {
            Some([rows, columns]) => {
                let [by_row, by_column] = wanted_tables;
                [by_row.then(|| rows.into_tensor()), by_column.then(|| columns.into_tensor())]
            }
            None => [None, None],
        };
        [wanted.then(|| qkv.into_tensor()), outside.map(|outside| outside.into_tensor()), rows, columns]
    }
}
