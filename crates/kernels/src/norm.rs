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
mod tests {
    use super::*;

    #[test]
    fn a_row_is_normalised() {
        let mut y = [0.0; 6];
        // torch.nn.functional.layer_norm(torch.tensor([[1., 2., 6.], [5., 5., 5.]]), (3,), torch.tensor([1., 2., 3.]),
        //     torch.tensor([0.5, 0., -1.]), eps=0.5)
        normalise_rows(&[1.0, 2.0, 6.0, 5.0, 5.0, 5.0], &[1.0, 2.0, 3.0], &[0.5, 0.0, -1.0], 0.5, &mut y);
        let expected = [-0.379_883, -0.879_883, 2.959_472, 0.5, 0.0, -1.0];
        assert!(y.iter().zip(expected).all(|(y, e): (&f32, f32)| (y - e).abs() < 1e-5), "{y:?}");
    }
}
