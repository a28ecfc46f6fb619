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

/// Whether a product replaces what is there or is added to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Into {
    /// Whatever was there is lost.
    Replace,
    /// What was there is a summand.
    Add,
}

/// `out = a b` or `out += a b`, on the thread that calls, `out` being rows one after the other.
///
/// # Panics
/// When the sizes do not fit one another.
pub fn matmul(out: &mut [f32], a: Matrix<'_>, b: Matrix<'_>, into: Into) {
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
            into == Into::Add,
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
mod tests {
    use super::*;

    #[test]
    fn products_of_matrices_and_their_transposes() {
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let b = [1.0, 0.0, 2.0, 1.0, 0.0, 3.0];
        let mut out = [1.0; 4];
        matmul(&mut out, Matrix::new(&a, 3), Matrix::new(&b, 2), Into::Replace);
        assert_eq!(out, [5.0, 11.0, 14.0, 23.0]);
        matmul(&mut out, Matrix::new(&a, 3), Matrix::new(&b, 3).transposed(), Into::Add);
        assert_eq!(out, [12.0, 21.0, 30.0, 45.0]);
    }

    #[test]
    fn parts_of_matrices_are_multiplied_where_they_lie() {
        let a: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let a = Matrix::new(&a, 4);
        // [[5, 6], [9, 10]] times the transpose of [[0, 1], [4, 5], [8, 9]].
        let mut out = [0.0; 6];
        let (left, right) = (a.rows(1..3).columns(1..3), a.columns(0..2).transposed());
        matmul(&mut out, left, right, Into::Replace);
        assert_eq!(out, [6.0, 50.0, 94.0, 10.0, 86.0, 162.0]);
        assert_eq!(left.row(1), [9.0, 10.0]);
        assert_eq!(a.columns(3..4).rows(2..3).row(0), [11.0]);
    }

    #[test]
    fn products_end_where_their_matrices_end() {
        // Slices that fill their allocation, and parts that reach its end, of sizes around those of vectors and blocks: a sanitizer
        // sees a step beyond, and the numbers are whole, so that order rounds nothing.
        const SIZES: [usize; 6] = [1, 2, 7, 8, 17, 33];
        let numbers =
            |count: usize, of: usize| -> Vec<f32> { (0..count).map(|i| (i * of % 13) as f32).collect() };
        for m in SIZES {
            for n in SIZES {
                for k in SIZES {
                    let (a, b) = (numbers((m + 1) * (k + 2), 5), numbers((n + 3) * (k + 1), 7));
                    let left = Matrix::new(&a, k + 2).rows(1..m + 1).columns(2..k + 2);
                    let right = Matrix::new(&b, k + 1).rows(3..n + 3).columns(1..k + 1).transposed();
                    let mut out = vec![1.0; m * n];
                    matmul(&mut out, left, right, Into::Add);
                    for (at, found) in out.iter().enumerate() {
                        let (row, column) = (at / n, at % n);
                        let of =
                            |i: usize| a[(row + 1) * (k + 2) + i + 2] * b[(column + 3) * (k + 1) + i + 1];
                        assert_eq!(
                            *found,
                            1.0 + (0..k).map(of).sum::<f32>(),
                            "{m} x {k} x {n}, at {row} {column}"
                        );
                    }
                }
            }
        }
    }
}
