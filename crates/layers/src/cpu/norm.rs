//! Layer norms, and the second half of a pre-norm block.

use burn_flex::FlexTensor;
use resect_kernels::{Buffer, Kept, norm_mlp};
use resect_numeric::{Activation, Precision};

use super::activation::{SavedActivation, slope_buffer};
use super::graph::{Saved, Sink};
use super::tensors::{from_buffer, len, numbers, numbers_mut, owned, shape};

fn norm<'a>([gamma, beta]: [&'a FlexTensor; 2], epsilon: f64) -> resect_kernels::Norm<'a> {
    resect_kernels::Norm { weight: numbers(gamma), bias: numbers(beta), epsilon: epsilon as f32 }
}

/// The norm of `x`, or of `x + residual`, activated.
pub(super) fn predict(
    x: &FlexTensor,
    residual: Option<&FlexTensor>,
    affine: [&FlexTensor; 2],
    epsilon: f64,
    activation: Option<Activation>,
    result: Precision,
) -> FlexTensor {
    let mut y = Buffer::stale(len(x));
    let none = Kept { unit: &mut [], inverse: &mut [], slope: &mut [] };
    norm(affine, epsilon).forward(numbers(x), residual.map(numbers), activation, result, &mut y, none);
    from_buffer(y, &shape(x))
}

/// [`crate::Layers::norm_mlp`]
pub(super) fn predict_mlp(
    x: FlexTensor,
    affine: [FlexTensor; 2],
    epsilon: f64,
    layers: [(FlexTensor, Option<FlexTensor>); 2],
    activation: Activation,
    precision: Precision,
) -> FlexTensor {
    let mut x = owned(x);
    let sample = x.layout().shape()[1];
    let [first, second] = layers.each_ref().map(|(weight, bias)| {
        let from = weight.layout().shape()[0];
        resect_kernels::Linear::new(numbers(weight), bias.as_ref().map(numbers), from, precision)
    });
    let norm = norm(affine.each_ref(), epsilon);
    norm_mlp(&norm, [&first, &second], activation, sample, numbers_mut(&mut x));
    x
}

/// What the backward pass of a norm needs.
#[derive(Clone, Debug)]
pub(super) struct Norm {
    shape: Vec<usize>,
    /// The rows with mean 0 and variance 1.
    unit: FlexTensor,
    /// The inverse deviation of each row.
    inverse: FlexTensor,
    affine: [FlexTensor; 2],
    epsilon: f64,
    activation: SavedActivation,
}

impl Norm {
    pub fn forward(
        x: &FlexTensor,
        residual: Option<&FlexTensor>,
        affine: [FlexTensor; 2],
        epsilon: f64,
        activation: Option<Activation>,
        result: Precision,
    ) -> (Self, FlexTensor) {
        let (count, rows) = (len(x), len(x) / len(&affine[0]));
        let [mut y, mut unit] = [(); 2].map(|()| Buffer::stale(count));
        let mut inverse = Buffer::stale(rows);
        let mut slope = slope_buffer(activation, count);
        let kept = Kept { unit: &mut unit, inverse: &mut inverse, slope: &mut slope };
        norm(affine.each_ref(), epsilon).forward(
            numbers(x),
            residual.map(numbers),
            activation,
            result,
            &mut y,
            kept,
        );
        let y = from_buffer(y, &shape(x));
        let activation = SavedActivation::new(activation, slope, &y);
        let (unit, inverse) = (from_buffer(unit, &[count]), from_buffer(inverse, &[rows]));
        (Self { shape: shape(x), unit, inverse, affine, epsilon, activation }, y)
    }
}

/// Input, residual, weight and bias.
impl Saved<4> for Norm {
    fn backward(self, d: FlexTensor, [x, residual, gamma, beta]: [Sink; 4]) -> [Option<FlexTensor>; 4] {
        let channels = [len(&self.affine[0])];
        let mut gradients =
            [x.open(&self.shape), residual.open(&self.shape), gamma.open(&channels), beta.open(&channels)];
        let [dx, dr, dg, db] =
            gradients.each_mut().map(|gradient| gradient.as_mut().map(|gradient| gradient.target()));
        let kept = [numbers(&self.unit), numbers(&self.inverse)];
        self.activation.with_upstream(d, |upstream| {
            norm(self.affine.each_ref(), self.epsilon).backward(kept, upstream, [dx, dr], [dg, db]);
        });
        gradients.map(|gradient| gradient.map(|gradient| gradient.into_tensor()))
    }
}
