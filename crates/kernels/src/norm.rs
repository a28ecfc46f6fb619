//! The layer norm.

use crate::vector::{squares_about, sum, vectorised};

/// Writes each row of `x` with mean 0 and variance 1, times `weight`, plus `bias`, to `y`; as many columns as weights.
///
/// The variance is the mean of squares about the mean, and `epsilon` is added to it. (`torch.nn.LayerNorm`)
pub fn normalise_rows(x: &[f32], weight: &[f32], bias: &[f32], epsilon: f32, y: &mut [f32]) {
    let cols = weight.len();
    vectorised(
        #[inline(always)]
        || {
            for (x, y) in x.chunks_exact(cols).zip(y.chunks_exact_mut(cols)) {
                let mean = sum(x) / cols as f32;
                let variance = squares_about(x, mean) / cols as f32;
                let scale = 1.0 / (variance + epsilon).sqrt();
                for ((y, x), (weight, bias)) in y.iter_mut().zip(x).zip(weight.iter().zip(bias)) {
                    *y = ((x - mean) * scale).mul_add(*weight, *bias);
                }
            }
        },
    );
}

#[cfg(test)]
mod tests;
