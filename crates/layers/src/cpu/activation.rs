//! Activations in the backward pass.

use burn_flex::FlexTensor;
use resect_kernels::{Buffer, Slope, Upstream};
use resect_numeric::Activation;

use super::tensors::{from_buffer, numbers, numbers_mut, owned};

/// A buffer of `count` numbers for a kernel to write the derivatives of an activation to, or an empty one where the backward pass needs
/// none.
pub(super) fn slope_buffer(activation: Option<Activation>, count: usize) -> Buffer {
    Buffer::stale(if activation == Some(Activation::Gelu) { count } else { 0 })
}

/// What the backward pass needs of an activation.
#[derive(Clone, Debug)]
pub(super) enum SavedActivation {
    None,
    /// The result.
    Relu(FlexTensor),
    /// The derivatives.
    Gelu(FlexTensor),
}

impl SavedActivation {
    /// Takes the buffer of [`slope_buffer`], after a kernel has written it, and the result of the activation.
    pub fn new(activation: Option<Activation>, slope: Buffer, result: &FlexTensor) -> Self {
        match activation {
            None => Self::None,
            Some(Activation::Relu) => Self::Relu(result.clone()),
            Some(Activation::Gelu) => {
                let count = slope.len();
                Self::Gelu(from_buffer(slope, &[count]))
            }
        }
    }

    /// Passes `d`, the gradient by the activation's result, to a kernel, which changes it to the gradient by the activation's input.
    /// Returns the latter.
    pub fn with_upstream(&self, d: FlexTensor, kernel: impl FnOnce(Upstream<'_>)) -> FlexTensor {
        let slope = match self {
            Self::None => {
                kernel(Upstream::Plain(numbers(&d)));
                return d;
            }
            Self::Relu(result) => Slope::Relu(numbers(result)),
            Self::Gelu(derivatives) => Slope::Values(numbers(derivatives)),
        };
        let mut d = owned(d);
        kernel(Upstream::Activated(numbers_mut(&mut d), slope));
        d
    }
}
