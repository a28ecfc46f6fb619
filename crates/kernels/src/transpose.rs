//! Transposition.

use rayon::prelude::*;

/// Side of the squares that are transposed one after the other: their lines stay in the first cache.
const SIDE: usize = 16;

/// Writes the transpose of `x` `[rows, cols]` to `out` `[cols, rows]`.
///
/// # Panics
/// When the sizes do not fit one another.
pub fn transpose(x: &[f32], [rows, cols]: [usize; 2], out: &mut [f32]) {
    assert!(x.len() == rows * cols && out.len() == x.len(), "{rows} x {cols}, {} to {}", x.len(), out.len());
    out.par_chunks_mut(SIDE * rows).enumerate().for_each(|(block, out)| {
        for top in (0..rows).step_by(SIDE) {
            for (i, out) in out.chunks_exact_mut(rows).enumerate() {
                let column = block * SIDE + i;
                for (row, out) in out.iter_mut().enumerate().take(top + SIDE).skip(top) {
                    *out = x[row * cols + column];
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_finds_its_place() {
        for [rows, cols] in [[1, 1], [1, 40], [40, 1], [16, 32], [33, 17]] {
            let x: Vec<f32> = (0..rows * cols).map(|i| i as f32).collect();
            let mut out = vec![0.0; x.len()];
            transpose(&x, [rows, cols], &mut out);
            for (i, value) in out.iter().enumerate() {
                assert_eq!(*value, x[i % rows * cols + i / rows], "{rows} x {cols}, {i}");
            }
        }
    }
}
