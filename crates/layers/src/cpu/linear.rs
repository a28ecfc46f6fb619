//! Linear layers.

use burn_flex::FlexTensor;
use resect_kernels::{Accumulate, Buffer, Slope, Upstream};
use resect_numeric::{Activation, Precision};

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

    /// The result, and what its gradients come from.
    pub fn forward(self, residual: Option<FlexTensor>) -> (SavedLinear, FlexTensor) {
        let rows = len(&self.x) / self.weight.layout().shape()[0];
        let keeps_slope = self.activation == Some(Activation::Gelu);
        let mut slope = Buffer::stale(if keeps_slope { rows * self.weight.layout().shape()[1] } else { 0 });
        let out = self.run(rows, residual, &mut slope);
        let slope = match self.activation {
            None => None,
            Some(Activation::Relu) => Some(out.clone()),
            Some(Activation::Gelu) => {
                let count = slope.len();
                Some(from_buffer(slope, &[count]))
            }
        };
        (SavedLinear { layer: self, slope }, out)
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

/// What the gradients of a linear layer come from.
#[derive(Clone, Debug)]
pub(super) struct SavedLinear {
    layer: Linear,
    /// The result of a rectifier, or the derivative of a GELU.
    slope: Option<FlexTensor>,
}

/// Input, weight, bias and residual.
impl Saved<4> for SavedLinear {
    fn backward(self, d: FlexTensor, [x, weight, bias, residual]: [Sink; 4]) -> [Option<FlexTensor>; 4] {
        let Self { layer, slope } = self;
        let mut dx = x.open(&shape(&layer.x));
        let mut dw = weight.open(&shape(&layer.weight));
        let mut db = layer.bias.as_ref().and_then(|layer| bias.open(&shape(layer)));
        let mut d = if slope.is_some() { owned(d) } else { d };
        let upstream = match (&slope, layer.activation) {
            (Some(slope), Some(Activation::Relu)) => {
                Upstream::Activated(numbers_mut(&mut d), Slope::Relu(numbers(slope)))
            }
            (Some(slope), _) => Upstream::Activated(numbers_mut(&mut d), Slope::Values(numbers(slope))),
            (None, _) => Upstream::Plain(numbers(&d)),
        };
        layer.layer().backward(
            numbers(&layer.x),
            upstream,
            dx.as_mut().map(|dx| dx.target()),
            dw.as_mut().map(|dw| dw.target()),
            db.as_mut().map(|db| db.target()),
        );
        let residual = if residual.is_wanted() { residual.give(d) } else { None };
        let [dx, dw, db] = [dx, dw, db].map(|gradient| gradient.map(|gradient| gradient.into_tensor()));
        [dx, dw, db, residual]
    }
}
