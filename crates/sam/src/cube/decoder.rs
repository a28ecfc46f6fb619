//! The mask decoder on a GPU: its layers, and their gradients, by kernels.

use burn::module::Param;
use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{DType, FloatDType, Tensor};
use burn_autodiff::Autodiff;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime, FloatElement, IntElement};
use burn_nn::LayerNorm;
use resect_numeric::{Activation, Precision};

use super::attention::Attention;
use super::joined::placed;
use super::linear::Linear;
use super::norm::Norm;
use super::{contiguous, differentiable, tensor};
use crate::DecoderBackend;
use crate::layers::narrow;

impl<R, F, I, BT> DecoderBackend for CubeBackend<R, F, I, BT>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    BT: BoolElement,
    Self: Backend<FloatTensorPrimitive = CubeTensor<R>>,
{
    fn linear_layer(
        x: Tensor<Self, 2>,
        weight: Tensor<Self, 2>,
        bias: Tensor<Self, 1>,
        activation: Option<Activation>,
        precision: Precision,
    ) -> Tensor<Self, 2> {
        let (x, weight, bias) = (contiguous(x), contiguous(weight), contiguous(bias));
        tensor(Linear::forward(x, weight, bias, activation.into(), operand(precision)).1)
    }

    fn norm_layer(
        layer: &LayerNorm<Self>,
        epsilon: f64,
        x: Tensor<Self, 2>,
        activation: Option<Activation>,
    ) -> Tensor<Self, 2> {
        let affine = affine(layer).map(contiguous);
        tensor(Norm::forward(contiguous(x), affine, epsilon as f32, activation.into()).1)
    }

    fn attention_layer(
        queries: Tensor<Self, 3>,
        keys: Tensor<Self, 3>,
        values: Tensor<Self, 3>,
        heads: usize,
        precision: Precision,
    ) -> Tensor<Self, 3> {
        let operands = [queries, keys, values].map(contiguous);
        tensor(Attention::forward(operands, heads, operand(precision)).1)
    }

    fn joined(
        pieces: Vec<(usize, Tensor<Self, 1>)>,
        length: usize,
        device: &Self::Device,
    ) -> Tensor<Self, 1> {
        let zeros = contiguous(Tensor::<Self, 1>::zeros([length], device));
        let pieces =
            pieces.into_iter().map(|(start, piece)| (start, contiguous(piece.cast(FloatDType::F32))));
        tensor(placed(pieces.collect(), zeros))
    }
}

impl<R, F, I, BT, C> DecoderBackend for Autodiff<CubeBackend<R, F, I, BT>, C>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    BT: BoolElement,
    C: CheckpointStrategy,
    CubeBackend<R, F, I, BT>: Backend<FloatTensorPrimitive = CubeTensor<R>>,
{
    fn linear_layer(
        x: Tensor<Self, 2>,
        weight: Tensor<Self, 2>,
        bias: Tensor<Self, 1>,
        activation: Option<Activation>,
        precision: Precision,
    ) -> Tensor<Self, 2> {
        let (x, weight, bias) = (primitive(x), primitive(weight), primitive(bias));
        let [a, b, c] = [&x, &weight, &bias].map(|tensor| into_contiguous(tensor.primitive.clone()));
        let (given, out) = Linear::forward(a, b, c, activation.into(), operand(precision));
        differentiable([x, weight, bias], given, out)
    }

    fn norm_layer(
        layer: &LayerNorm<Self>,
        epsilon: f64,
        x: Tensor<Self, 2>,
        activation: Option<Activation>,
    ) -> Tensor<Self, 2> {
        let ([gamma, beta], x) = (affine(layer).map(primitive), primitive(x));
        let [a, b, c] = [&x, &gamma, &beta].map(|tensor| into_contiguous(tensor.primitive.clone()));
        let (given, out) = Norm::forward(a, [b, c], epsilon as f32, activation.into());
        differentiable([x, gamma, beta], given, out)
    }

    fn attention_layer(
        queries: Tensor<Self, 3>,
        keys: Tensor<Self, 3>,
        values: Tensor<Self, 3>,
        heads: usize,
        precision: Precision,
    ) -> Tensor<Self, 3> {
        let operands = [queries, keys, values].map(primitive);
        let given = operands.each_ref().map(|tensor| into_contiguous(tensor.primitive.clone()));
        let (given, out) = Attention::forward(given, heads, operand(precision));
        differentiable(operands, given, out)
    }
}

/// The format of operands of products.
fn operand(precision: Precision) -> DType {
    narrow(precision).map_or(DType::F32, DType::from)
}

/// What a norm multiplies with and adds.
fn affine<B: Backend>(layer: &LayerNorm<B>) -> [Tensor<B, 1>; 2] {
    let gamma = layer.gamma.val();
    let beta = layer.beta.as_ref().map_or_else(|| gamma.zeros_like(), Param::val);
    [gamma, beta]
}

fn primitive<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> FloatTensor<B> {
    tensor.into_primitive().tensor()
}
