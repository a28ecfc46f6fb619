//! Attention between many tokens and few.

use burn_flex::FlexTensor;
use resect_kernels::{Buffer, CrossAttention};
use resect_numeric::Precision;

use super::graph::{Saved, Sink};
use super::tensors::{Gradient, dims3, from_buffer, numbers, shape};

/// What the backward pass of an attention needs.
#[derive(Clone, Debug)]
pub(super) struct Attention {
    attention: CrossAttention,
    /// Queries, keys and values.
    operands: [FlexTensor; 3],
    /// The weights of values.
    weights: FlexTensor,
}

impl Attention {
    pub fn forward(operands: [FlexTensor; 3], heads: usize, precision: Precision) -> (Self, FlexTensor) {
        let ([n, queries, channels], [_, keys, _]) = (dims3(&operands[0]), dims3(&operands[1]));
        let attention = CrossAttention { tokens: [queries, keys], channels, heads, precision };
        let mut y = Buffer::stale(n * queries * channels);
        let mut weights = Buffer::stale(n * attention.weights());
        attention.forward(operands.each_ref().map(numbers), &mut y, &mut weights);
        let count = weights.len();
        let weights = from_buffer(weights, &[count]);
        (Self { attention, operands, weights }, from_buffer(y, &[n, queries, channels]))
    }
}

/// Queries, keys and values.
impl Saved<3> for Attention {
    fn backward(self, d: FlexTensor, sinks: [Sink; 3]) -> [Option<FlexTensor>; 3] {
        let Self { attention, operands, weights } = self;
        let wanted = sinks.each_ref().map(Sink::is_wanted);
        let mut shapes = operands.iter().map(shape);
        // The kernel computes all three gradients. One that is not wanted goes to memory that is dropped.
        let mut gradients = sinks.map(|sink| {
            let shape = shapes.next().unwrap_or_default();
            sink.open(&shape).unwrap_or_else(|| Gradient::new(&shape))
        });
        let targets = gradients.each_mut().map(|gradient| gradient.target());
        attention.backward(operands.each_ref().map(numbers), numbers(&weights), numbers(&d), targets);
        let mut wanted = wanted.into_iter();
        gradients.map(|gradient| wanted.next().unwrap_or(false).then(|| gradient.into_tensor()))
    }
}
