//! Activations in the backward pass.

use burn_flex::FlexTensor;
use resect_kernels::{Buffer, Slope, Upstream, activate_each};
use resect_numeric::{Activation, Precision};

use super::graph::{Saved, Sink};
use super::tensors::{from_buffer, len, numbers, numbers_mut, owned};

/// [`crate::Layers::activation_layer`]
pub(super) fn predict(x: FlexTensor, activation: Option<Activation>, result: Precision) -> FlexTensor {
    let mut y = owned(x);
    activate_each(activation, result, numbers_mut(&mut y), &mut []);
    y
}

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

    /// The activation of `x`, rounded to `result`, and what its backward pass needs.
    pub fn forward(x: FlexTensor, activation: Option<Activation>, result: Precision) -> (Self, FlexTensor) {
        let mut slope = slope_buffer(activation, len(&x));
        let mut y = owned(x);
        activate_each(activation, result, numbers_mut(&mut y), &mut slope);
        (Self::new(activation, slope, &y), y)
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

/// The input.
impl Saved<1> for SavedActivation {
    fn backward(self, d: FlexTensor, [x]: [Sink; 1]) -> [Option<FlexTensor>; 1] {
        let d = self.with_upstream(d, |upstream| {
            if let Upstream::Activated(d, slope) = upstream {
                slope.apply_each(d);
            }
        });
        [x.give(d)]
    }
}
