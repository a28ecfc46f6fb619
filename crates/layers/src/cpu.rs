//! The layers on the CPU, by the kernels on slices of `resect-kernels`, and their gradients in burn's graph.
//!
//! Results do not depend on the number of threads. Without a graph, those of a sample do not depend on other samples either.
//!
//! A process that runs a backward pass in a job of rayon's pool must not run another one at the same time, in the pool or outside. burn
//! locks a graph while the kernels of its backward pass run, and afterwards locks every graph in turn. A thread of the pool that waits for
//! a kernel runs other jobs of the pool. If such a job is a backward pass, it waits for a graph whose own pass waits for this thread.
//! `train` therefore runs one step at a time.

mod activation;
mod attention;
mod graph;
mod image;
mod linear;
mod norm;
mod square;
mod tensors;

use burn::tensor::{FloatDType, Tensor};
use burn_autodiff::Autodiff;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use resect_numeric::{Activation, Precision};

use crate::primitives::{primitive, tensor};
use crate::{Affine, Layers, Rounding, Squares, reference};
use activation::SavedActivation;
use attention::Attention;
use graph::{absent, any_tracked, primitives};
use image::{Masks, Neighbourhoods, Sum};
use linear::Linear;
use norm::Norm;
use square::Square;
use tensors::contiguous;

pub use graph::{Saved, Sink, differentiable};
pub use tensors::{Gradient, from_buffer, in_order, numbers, numbers_mut, owned};

/// The CPU backend. Code outside this crate names it only through this alias.
pub type Cpu = burn_flex::Flex;

/// Gives the memory that dropped tensors of the CPU left for later ones back to the system.
pub fn release_memory() {
    resect_kernels::release();
}

impl Layers for Cpu {
    /// Rounded numbers stay in single precision.
    fn storage(_: Precision) -> FloatDType {
        FloatDType::F32
    }

    /// On a thread of the pool: from outside, each parallel kernel would be handed over and waited for.
    fn within<R: Send>(work: impl FnOnce() -> R + Send) -> R {
        rayon::scope(|_| work())
    }

    fn linear_layer<const D: usize>(
        x: Tensor<Self, D>,
        weight: Tensor<Self, 2>,
        bias: Option<Tensor<Self, 1>>,
        activation: Option<Activation>,
        residual: Option<Tensor<Self, D>>,
        rounding: Rounding,
    ) -> Tensor<Self, D> {
        let layer =
            Linear::new(contiguous(x), contiguous(weight), bias.map(contiguous), activation, rounding);
        tensor(layer.predict(residual.map(primitive)))
    }

    fn activation_layer<const D: usize>(
        x: Tensor<Self, D>,
        activation: Option<Activation>,
        result: Precision,
    ) -> Tensor<Self, D> {
        tensor(activation::predict(primitive(x), activation, result))
    }

    fn norm_layer<const D: usize>(
        x: Tensor<Self, D>,
        residual: Option<Tensor<Self, D>>,
        affine: Affine<Self>,
        activation: Option<Activation>,
        result: Precision,
    ) -> Tensor<Self, D> {
        let [gamma, beta] = [affine.gamma, affine.beta].map(contiguous);
        let residual = residual.map(contiguous);
        tensor(norm::predict(
            &contiguous(x),
            residual.as_ref(),
            [&gamma, &beta],
            affine.epsilon,
            activation,
            result,
        ))
    }

    fn norm_mlp(
        x: Tensor<Self, 3>,
        affine: Affine<Self>,
        layers: [(Tensor<Self, 2>, Option<Tensor<Self, 1>>); 2],
        activation: Activation,
        precision: Precision,
    ) -> Tensor<Self, 3> {
        let affine_of = [affine.gamma, affine.beta].map(contiguous);
        let layers = layers.map(|(weight, bias)| (contiguous(weight), bias.map(contiguous)));
        tensor(norm::predict_mlp(primitive(x), affine_of, affine.epsilon, layers, activation, precision))
    }

    fn cross_attention(
        queries: Tensor<Self, 3>,
        keys: Tensor<Self, 3>,
        values: Tensor<Self, 3>,
        heads: usize,
        precision: Precision,
    ) -> Tensor<Self, 3> {
        tensor(Attention::forward([queries, keys, values].map(contiguous), heads, precision).1)
    }

    fn square_attention(
        qkv: Tensor<Self, 3>,
        outside: Option<Tensor<Self, 1>>,
        tables: Option<[Tensor<Self, 2>; 2]>,
        squares: Squares,
        precision: Precision,
    ) -> Tensor<Self, 3> {
        let tables = tables.map(|tables| tables.map(contiguous));
        tensor(Square::new(contiguous(qkv), outside.map(contiguous), tables, squares, precision).predict())
    }

    fn add(x: Tensor<Self, 3>, y: Tensor<Self, 3>) -> Tensor<Self, 3> {
        tensor(Sum::forward(&contiguous(x), &contiguous(y)).1)
    }

    fn to_rows(x: Tensor<Self, 4>, summand: Option<Tensor<Self, 4>>) -> Tensor<Self, 3> {
        tensor(image::to_rows(primitive(x), summand.map(primitive)))
    }

    fn to_planes(x: Tensor<Self, 3>, side: usize) -> Tensor<Self, 4> {
        tensor(image::to_planes(&contiguous(x), side))
    }

    fn neighbourhoods(x: Tensor<Self, 3>, side: usize) -> Tensor<Self, 3> {
        tensor(Neighbourhoods::forward(&contiguous(x), side).1)
    }

    fn masks(
        weights: Tensor<Self, 3>,
        image: Tensor<Self, 3>,
        grid: [usize; 2],
        precision: Precision,
    ) -> Tensor<Self, 4> {
        tensor(Masks::forward(contiguous(weights), contiguous(image), grid, precision).1)
    }
}

impl<C: CheckpointStrategy> Layers for Autodiff<Cpu, C> {
    fn storage(precision: Precision) -> FloatDType {
        Cpu::storage(precision)
    }

    fn linear_layer<const D: usize>(
        x: Tensor<Self, D>,
        weight: Tensor<Self, 2>,
        bias: Option<Tensor<Self, 1>>,
        activation: Option<Activation>,
        residual: Option<Tensor<Self, D>>,
        rounding: Rounding,
    ) -> Tensor<Self, D> {
        let inputs =
            [Some(primitive(x)), Some(primitive(weight)), bias.map(primitive), residual.map(primitive)];
        let [x, weight, bias, residual] = inputs.each_ref().map(|input| input.as_ref().map(primitives));
        let (Some(x), Some(weight)) = (x, weight) else { unreachable!("both were made above") };
        let layer = Linear::new(x, weight, bias, activation, rounding);
        let nodes = inputs.map(absent);
        if any_tracked(&nodes) {
            let keeps_input = nodes[1].is_tracked();
            let (saved, out) = layer.forward(residual, keeps_input);
            differentiable(nodes, saved, out)
        } else {
            Tensor::from_inner(tensor(layer.predict(residual)))
        }
    }

    fn activation_layer<const D: usize>(
        x: Tensor<Self, D>,
        activation: Option<Activation>,
        result: Precision,
    ) -> Tensor<Self, D> {
        let x = primitive(x);
        let node = x.clone();
        if x.is_tracked() {
            let (saved, out) = SavedActivation::forward(x.primitive, activation, result);
            differentiable([node], saved, out)
        } else {
            Tensor::from_inner(tensor(activation::predict(x.primitive, activation, result)))
        }
    }

    fn norm_layer<const D: usize>(
        x: Tensor<Self, D>,
        residual: Option<Tensor<Self, D>>,
        affine: Affine<Self>,
        activation: Option<Activation>,
        result: Precision,
    ) -> Tensor<Self, D> {
        let (x, residual) = (primitive(x), residual.map(primitive));
        let affine_of = [affine.gamma, affine.beta].map(primitive);
        let input = primitives(&x);
        let summand = residual.as_ref().map(primitives);
        let [gamma, beta] = affine_of.each_ref().map(primitives);
        let [of_gamma, of_beta] = affine_of;
        let nodes = [x, absent(residual), of_gamma, of_beta];
        if any_tracked(&nodes) {
            let (saved, out) =
                Norm::forward(&input, summand.as_ref(), [gamma, beta], affine.epsilon, activation, result);
            differentiable(nodes, saved, out)
        } else {
            let out =
                norm::predict(&input, summand.as_ref(), [&gamma, &beta], affine.epsilon, activation, result);
            Tensor::from_inner(tensor(out))
        }
    }

    fn cross_attention(
        queries: Tensor<Self, 3>,
        keys: Tensor<Self, 3>,
        values: Tensor<Self, 3>,
        heads: usize,
        precision: Precision,
    ) -> Tensor<Self, 3> {
        let nodes = [queries, keys, values].map(primitive);
        let (saved, out) = Attention::forward(nodes.each_ref().map(primitives), heads, precision);
        differentiable(nodes, saved, out)
    }

    fn square_attention(
        qkv: Tensor<Self, 3>,
        outside: Option<Tensor<Self, 1>>,
        tables: Option<[Tensor<Self, 2>; 2]>,
        squares: Squares,
        precision: Precision,
    ) -> Tensor<Self, 3> {
        let (qkv, outside) = (primitive(qkv), outside.map(primitive));
        let tables = tables.map(|tables| tables.map(primitive));
        let attention = Square::new(
            primitives(&qkv),
            outside.as_ref().map(primitives),
            tables.as_ref().map(|tables| tables.each_ref().map(primitives)),
            squares,
            precision,
        );
        let [rows, columns] = tables.map_or([None, None], |tables| tables.map(Some)).map(absent);
        let nodes = [qkv, absent(outside), rows, columns];
        if any_tracked(&nodes) {
            let (saved, out) = attention.forward();
            differentiable(nodes, saved, out)
        } else {
            Tensor::from_inner(tensor(attention.predict()))
        }
    }

    fn add(x: Tensor<Self, 3>, y: Tensor<Self, 3>) -> Tensor<Self, 3> {
        let nodes = [x, y].map(primitive);
        let [x, y] = nodes.each_ref().map(primitives);
        let (saved, out) = Sum::forward(&x, &y);
        differentiable(nodes, saved, out)
    }

    fn to_rows(x: Tensor<Self, 4>, summand: Option<Tensor<Self, 4>>) -> Tensor<Self, 3> {
        let (x, summand) = (primitive(x), summand.map(primitive));
        if x.is_tracked() || summand.as_ref().is_some_and(|summand| summand.is_tracked()) {
            return reference::to_rows(tensor(x), summand.map(tensor));
        }
        Tensor::from_inner(tensor(image::to_rows(x.primitive, summand.map(|summand| summand.primitive))))
    }

    fn neighbourhoods(x: Tensor<Self, 3>, side: usize) -> Tensor<Self, 3> {
        let nodes = [primitive(x)];
        let (saved, out) = Neighbourhoods::forward(&primitives(&nodes[0]), side);
        differentiable(nodes, saved, out)
    }

    fn masks(
        weights: Tensor<Self, 3>,
        image: Tensor<Self, 3>,
        grid: [usize; 2],
        precision: Precision,
    ) -> Tensor<Self, 4> {
        let nodes = [weights, image].map(primitive);
        let [weights, image] = nodes.each_ref().map(primitives);
        let (saved, out) = Masks::forward(weights, image, grid, precision);
        differentiable(nodes, saved, out)
    }
}

/// The layers in tensors, with gradients, on the CPU: what tests hold the kernels to. A graph of a graph has no kernels of its own, and
/// the inner graph tracks nothing.
impl Layers for Autodiff<Autodiff<Cpu>> {}
