//! Matrix products of slices: the safe face of the `gemm` crate.

/// A matrix in a slice, or its transpose.
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
    // SAFETY: a `Matrix` is made in this file alone, from a slice of exactly `rows * cols` values with strides that reach each
    // of them and no other; `out` has the size of the product, and as a mutable slice overlaps neither factor.
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
}
