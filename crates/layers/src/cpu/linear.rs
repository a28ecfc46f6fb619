//! Linear layers.

use burn_flex::FlexTensor;
use resect_kernels::{Accumulate, Buffer};
use resect_numeric::{Activation, Precision};

use super::activation::{SavedActivation, slope_buffer};
use super::graph::{Saved, Sink};
use super::tensors::{from_buffer, len, numbers, numbers_mut, owned, shape};
use crate::Rounding;

/// A linear layer with its input.
#[derive(Clone, Debug)]
pub(super) struct Linear {
    /// `[..., from]`
    x: FlexTensor,
    /// `[from, to]`
    weight: FlexTensor,
    bias: Option<FlexTensor>,
    activation: Option<Activation>,
    rounding: Rounding,
}

impl Linear {
    pub fn new(
        x: FlexTensor,
        weight: FlexTensor,
        bias: Option<FlexTensor>,
        activation: Option<Activation>,
        rounding: Rounding,
    ) -> Self {
        Self { x, weight, bias, activation, rounding }
    }

    fn layer(&self) -> resect_kernels::Linear<'_> {
        let from = self.weight.layout().shape()[0];
        let bias = self.bias.as_ref().map(numbers);
        resect_kernels::Linear::new(numbers(&self.weight), bias, from, self.rounding.operands)
    }

    /// The shape of the result.
    fn shape(&self) -> Vec<usize> {
        let mut shape = shape(&self.x);
        if let Some(last) = shape.last_mut() {
            *last = self.weight.layout().shape()[1];
        }
        shape
    }

    /// The result, added to a residual where there is one; sample by sample.
    pub fn predict(self, residual: Option<FlexTensor>) -> FlexTensor {
        let shape = shape(&self.x);
        let sample = shape[1..shape.len() - 1].iter().product();
        self.run(sample, residual, &mut [])
    }

    /// The result, and what the backward pass needs. It needs the input for the gradient by the weight alone (`keeps_input`).
    pub fn forward(mut self, residual: Option<FlexTensor>, keeps_input: bool) -> (SavedLinear, FlexTensor) {
        let rows = len(&self.x) / self.weight.layout().shape()[0];
        let mut slope = slope_buffer(self.activation, rows * self.weight.layout().shape()[1]);
        let out = self.run(rows, residual, &mut slope);
        let activation = SavedActivation::new(self.activation, slope, &out);
        let input = shape(&self.x);
        if !keeps_input {
            self.x = from_buffer(Buffer::default(), &[0]);
        }
        (SavedLinear { layer: self, input, activation }, out)
    }

    fn run(&self, sample: usize, residual: Option<FlexTensor>, slope: &mut [f32]) -> FlexTensor {
        let (accumulate, mut out) = match residual {
            Some(residual) => (Accumulate::Yes, owned(residual)),
            None => {
                let shape = self.shape();
                (Accumulate::No, from_buffer(Buffer::stale(shape.iter().product()), &shape))
            }
        };
        let result = if accumulate == Accumulate::Yes { Precision::F32 } else { self.rounding.result };
        let y = numbers_mut(&mut out);
        self.layer().forward(numbers(&self.x), sample.max(1), self.activation, accumulate, result, y, slope);
        out
    }
}

/// What the backward pass of a linear layer needs.
#[derive(Clone, Debug)]
pub(super) struct SavedLinear {
    /// Its input is empty if the weight has no gradient.
    layer: Linear,
    /// The shape of the input.
    input: Vec<usize>,
    activation: SavedActivation,
}

/// Input, weight, bias and residual.
impl Saved<4> for SavedLinear {
    fn backward(self, d: FlexTensor, [x, weight, bias, residual]: [Sink; 4]) -> [Option<FlexTensor>; 4] {
        let Self { layer, input, activation } = self;
        let mut dx = x.open(&input);
        let mut dw = weight.open(&shape(&layer.weight));
        let mut db = layer.bias.as_ref().and_then(|layer| bias.open(&shape(layer)));
        let d = activation.with_upstream(d, |upstream| {
            layer.layer().backward(
                numbers(&layer.x),
                upstream,
                dx.as_mut().map(|dx| dx.target()),
                dw.as_mut().map(|dw| dw.target()),
                db.as_mut().map(|db| db.target()),
            );
        });
        let residual = if residual.is_wanted() { residual.give(d) } else { None };
        let [dx, dw, db] = [dx, dw, db].map(|gradient| gradient.map(|gradient| gradient.into_tensor()));
        [dx, dw, db, residual]
    }
}
