//! The mask decoder on a GPU: its layers, and their gradients, by kernels.

use burn::module::Param;
use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{DType, FloatDType, Tensor, TensorPrimitive};
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};
use burn_autodiff::{Autodiff, NodeId};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime, FloatElement, IntElement};
use burn_nn::LayerNorm;
use resect_checkpoint::Activation;
use resect_params::Precision;
use std::marker::PhantomData;

use super::attention::Attention;
use super::joined::placed;
use super::launch::Activated;
use super::linear::Linear;
use super::norm::{norm_back, normed};
use super::{contiguous, wrapped};
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
        wrapped(Linear::forward(x, weight, bias, activation.into(), operand(precision)).1)
    }

    fn norm_layer(
        layer: &LayerNorm<Self>,
        epsilon: f64,
        x: Tensor<Self, 2>,
        activation: Option<Activation>,
    ) -> Tensor<Self, 2> {
        let [gamma, beta] = affine(layer).map(contiguous);
        wrapped(normed(contiguous(x), gamma, beta, epsilon as f32, activation.into(), DType::F32))
    }

    fn attention_layer(
        queries: Tensor<Self, 3>,
        keys: Tensor<Self, 3>,
        values: Tensor<Self, 3>,
        heads: usize,
        precision: Precision,
    ) -> Tensor<Self, 3> {
        let operands = [queries, keys, values].map(contiguous);
        wrapped(Attention::forward(operands, heads, operand(precision)).1)
    }

    fn joined(
        pieces: Vec<(usize, Tensor<Self, 1>)>,
        length: usize,
        device: &Self::Device,
    ) -> Tensor<Self, 1> {
        let zeros = contiguous(Tensor::<Self, 1>::zeros([length], device));
        let pieces =
            pieces.into_iter().map(|(start, piece)| (start, contiguous(piece.cast(FloatDType::F32))));
        wrapped(placed(pieces.collect(), zeros))
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
        let (state, out) = Linear::forward(a, b, c, activation.into(), operand(precision));
        let nodes = [x.node, weight.node, bias.node];
        let prepared = LinearBack::<CubeBackend<R, F, I, BT>>(PhantomData).prepare::<C>(nodes);
        tracked(match prepared.compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(state, out),
            OpsKind::UnTracked(prepared) => prepared.finish(out),
        })
    }

    fn norm_layer(
        layer: &LayerNorm<Self>,
        epsilon: f64,
        x: Tensor<Self, 2>,
        activation: Option<Activation>,
    ) -> Tensor<Self, 2> {
        let ([gamma, beta], x) = (affine(layer).map(primitive), primitive(x));
        let [a, b, c] = [&x, &gamma, &beta].map(|tensor| into_contiguous(tensor.primitive.clone()));
        let (epsilon, activated) = (epsilon as f32, activation.into());
        let out = normed(a.clone(), b.clone(), c.clone(), epsilon, activated, DType::F32);
        let state = Normed { x: a, affine: [b, c], epsilon, activated };
        let nodes = [x.node, gamma.node, beta.node];
        let prepared = NormBack::<CubeBackend<R, F, I, BT>>(PhantomData).prepare::<C>(nodes);
        tracked(match prepared.compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(state, out),
            OpsKind::UnTracked(prepared) => prepared.finish(out),
        })
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
        let (state, out) = Attention::forward(given, heads, operand(precision));
        let nodes = operands.map(|tensor| tensor.node);
        let prepared = AttentionBack::<CubeBackend<R, F, I, BT>>(PhantomData).prepare::<C>(nodes);
        tracked(match prepared.compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(state, out),
            OpsKind::UnTracked(prepared) => prepared.finish(out),
        })
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

fn tracked<B: Backend, const D: usize>(tensor: FloatTensor<B>) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(tensor))
}

/// The step back through a linear layer: to its input, its weight and its bias.
#[derive(Debug)]
struct LinearBack<B>(PhantomData<B>);

impl<B, R> Backward<B, 3> for LinearBack<B>
where
    B: Backend<FloatTensorPrimitive = CubeTensor<R>>,
    R: CubeRuntime,
{
    type State = Linear<R>;

    fn backward(self, ops: Ops<Linear<R>, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = into_contiguous(gradients.consume::<B>(&ops.node));
        let found = ops.state.back(gradient, ops.parents[0].is_some());
        register::<B>(gradients, ops.parents.map(|node| Some(node?.id)), found);
    }
}

/// The step back through a norm: to its input, and what it multiplies with and adds.
#[derive(Debug)]
struct NormBack<B>(PhantomData<B>);

/// What a norm was given.
#[derive(Clone, Debug)]
struct Normed<R: CubeRuntime> {
    x: CubeTensor<R>,
    affine: [CubeTensor<R>; 2],
    epsilon: f32,
    activated: Activated,
}

impl<B, R> Backward<B, 3> for NormBack<B>
where
    B: Backend<FloatTensorPrimitive = CubeTensor<R>>,
    R: CubeRuntime,
{
    type State = Normed<R>;

    fn backward(self, ops: Ops<Normed<R>, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = into_contiguous(gradients.consume::<B>(&ops.node));
        let Normed { x, affine, epsilon, activated } = ops.state;
        let found = norm_back(x, affine, epsilon, activated, gradient).map(Some);
        register::<B>(gradients, ops.parents.map(|node| Some(node?.id)), found);
    }
}

/// The step back through an attention: to its queries, keys and values.
#[derive(Debug)]
struct AttentionBack<B>(PhantomData<B>);

impl<B, R> Backward<B, 3> for AttentionBack<B>
where
    B: Backend<FloatTensorPrimitive = CubeTensor<R>>,
    R: CubeRuntime,
{
    type State = Attention<R>;

    fn backward(self, ops: Ops<Attention<R>, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = into_contiguous(gradients.consume::<B>(&ops.node));
        register::<B>(gradients, ops.parents.map(|node| Some(node?.id)), ops.state.back(gradient).map(Some));
    }
}

/// Hands on what was found for those that want it.
fn register<B: Backend>(
    gradients: &mut Gradients,
    nodes: [Option<NodeId>; 3],
    found: [Option<FloatTensor<B>>; 3],
) {
    for (node, gradient) in nodes.into_iter().zip(found) {
        if let (Some(node), Some(gradient)) = (node, gradient) {
            gradients.register::<B>(node, gradient);
        }
    }
}
