use serde::{Deserialize, Serialize};
use std::fmt;

/// The number format of the operands of matrix products and convolutions.
///
/// Both operands of each product are rounded to it, to nearest, ties to even; gradients, too, where they enter a product. Sums
/// are in single precision. Everything else is single precision in any case: weights as they are kept, biases, softmax, norms,
/// activations, sums of residuals, loss, optimiser. (`torch.autocast` is the same idea; it also rounds results and biases.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// Single precision: nothing is rounded.
    #[default]
    F32,
    /// bfloat16: 8 bits of significand, the range of single precision.
    Bf16,
    /// IEEE half precision: 11 bits of significand, 65504 at most, 6e-8 at least. Training scales the loss to stay in that range.
    F16,
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        })
    }
}
