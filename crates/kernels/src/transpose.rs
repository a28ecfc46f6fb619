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
mod tests;
