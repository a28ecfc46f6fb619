//! Matrix products of slices: the safe face of the `gemm` crate.

use std::ops::Range;

/// A matrix in a slice, some rows and columns of one, or the transpose of such.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Rows of `cols` values, one after the other.
    ///
    /// # Panics
    /// When the slice holds no whole number of rows.
    pub fn new(data: &'a [f32], cols: usize) -> Self {
        assert!(cols > 0 && data.len().is_multiple_of(cols), "{} values in rows of {cols}", data.len());
        Self { data, rows: data.len() / cols, cols, row_stride: cols, col_stride: 1 }
    }

    /// Rows and columns.
    pub fn shape(&self) -> [usize; 2] {
        [self.rows, self.cols]
    }

    /// Rows and columns exchanged; nothing is copied.
    pub fn transposed(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }

    /// Some of the rows; nothing is copied.
    ///
    /// # Panics
    /// When there are no such rows.
    pub fn rows(self, range: Range<usize>) -> Self {
        assert!(range.start < range.end && range.end <= self.rows, "rows {range:?} of {}", self.rows);
        Self { data: &self.data[range.start * self.row_stride..], rows: range.len(), ..self }
    }

    /// Some of the columns; nothing is copied.
    ///
    /// # Panics
    /// When there are no such columns.
    pub fn columns(self, range: Range<usize>) -> Self {
        self.transposed().rows(range).transposed()
    }

    /// The values of a row whose columns lie beside one another.
    ///
    /// # Panics
    /// When there is no such row, or the matrix is a transposed one.
    pub fn row(&self, row: usize) -> &'a [f32] {
        assert!(row < self.rows && self.col_stride == 1, "row {row} of {}", self.rows);
        &self.data[row * self.row_stride..][..self.cols]
    }
}

/// Whether a result is added to the numbers that are in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accumulate {
    /// The result replaces them.
    No,
    /// The result is added to them.
    Yes,
}

/// `out = a b` or `out += a b`, on the thread that calls, `out` being rows one after the other.
///
/// # Panics
/// When the sizes do not fit one another.
pub fn matmul(out: &mut [f32], a: Matrix<'_>, b: Matrix<'_>, accumulate: Accumulate) {
    assert_eq!(a.cols, b.rows, "inner sizes of a product");
    assert_eq!(out.len(), a.rows * b.cols, "size of a product");
    // SAFETY: a `Matrix` is made in this file alone: by `new`, whose strides reach each value of its slice and no other, and by
    // exchanging both axes or leaving out some of one, after which the last row's last column still lies within the slice.
    // `out` has the size of the product, and as a mutable slice overlaps neither factor.
    #[allow(unsafe_code)]
    unsafe {
        gemm::gemm(
            a.rows,
            b.cols,
            a.cols,
            out.as_mut_ptr(),
            1,
            b.cols as isize,
            accumulate == Accumulate::Yes,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            1.0f32,
            1.0f32,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests;
