use super::*;

#[test]
fn products_of_matrices_and_their_transposes() {
    let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let b = [1.0, 0.0, 2.0, 1.0, 0.0, 3.0];
    let mut out = [1.0; 4];
    matmul(&mut out, Matrix::new(&a, 3), Matrix::new(&b, 2), Accumulate::No);
    assert_eq!(out, [5.0, 11.0, 14.0, 23.0]);
    matmul(&mut out, Matrix::new(&a, 3), Matrix::new(&b, 3).transposed(), Accumulate::Yes);
    assert_eq!(out, [12.0, 21.0, 30.0, 45.0]);
}

#[test]
fn parts_of_matrices_are_multiplied_where_they_lie() {
    let a: Vec<f32> = (0..12).map(|i| i as f32).collect();
    let a = Matrix::new(&a, 4);
    // [[5, 6], [9, 10]] times the transpose of [[0, 1], [4, 5], [8, 9]].
    let mut out = [0.0; 6];
    let (left, right) = (a.rows(1..3).columns(1..3), a.columns(0..2).transposed());
    matmul(&mut out, left, right, Accumulate::No);
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
                matmul(&mut out, left, right, Accumulate::Yes);
                for (at, found) in out.iter().enumerate() {
                    let (row, column) = (at / n, at % n);
                    let of = |i: usize| a[(row + 1) * (k + 2) + i + 2] * b[(column + 3) * (k + 1) + i + 1];
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
