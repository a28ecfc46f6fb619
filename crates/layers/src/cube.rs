//! The layers on a GPU, in kernels that pass over memory once, and the gradients of those that the mask decoder asks for.
//!
//! They are written in CubeCL, so whatever `burn-cubecl` serves can run them; CUDA is what they are for. Each is held to the layer in
//! tensors by `tests/gpu.rs`. Each stands beside its launch, and takes plain arrays: an argument with a shape costs a copy to the GPU
//! at each launch.
//!
//! Tensors come contiguous, and leave so; where nothing else is said they are in single precision. Nothing is added up in an order
//! that could change: the same GPU gives the same bits.

mod attention;
mod differentiable;
mod kernels;
mod launch;
mod linear;
mod norm;
mod windows;

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};
use burn_autodiff::Autodiff;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::reshape;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime, FloatElement, IntElement};
use resect_numeric::{Activation, Precision};

use crate::primitives::{primitive, tensor};
use crate::reference::{self, SCORES_AT_ONCE, narrow, with_residual};
use crate::{Affine, Layers, Rounding, Squares};
use attention::Attention;
use kernels::{TILE, fused};
use linear::Linear;
use norm::Norm;

pub use differentiable::{Given, differentiable};
pub use launch::{shaped, threads};

impl<R, F, I, BT> Layers for CubeBackend<R, F, I, BT>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    BT: BoolElement,
    Self: Backend<FloatTensorPrimitive = CubeTensor<R>>,
{
    fn linear_layer<const D: usize>(
        x: Tensor<Self, D>,
        weight: Tensor<Self, 2>,
        bias: Option<Tensor<Self, 1>>,
        activation: Option<Activation>,
        residual: Option<Tensor<Self, D>>,
        rounding: Rounding,
    ) -> Tensor<Self, D> {
        let mut dims = x.dims();
        dims[D - 1] = weight.dims()[1];
        let (x, residual) = (rows(contiguous(x)), residual.map(|residual| rows(contiguous(residual))));
        let (weight, bias) = (primitive(weight), bias.map(contiguous));
        let result = if residual.is_some() { DType::F32 } else { format(rounding.result) };
        let formats = [format(rounding.operands), result];
        let y = linear::linear(x, weight, bias, activation.into(), residual, formats);
        tensor::<Self, 2>(y).reshape(dims)
    }

    fn norm_layer<const D: usize>(
        x: Tensor<Self, D>,
        residual: Option<Tensor<Self, D>>,
        affine: Affine<Self>,
        activation: Option<Activation>,
        result: Precision,
    ) -> Tensor<Self, D> {
        let dims = x.dims();
        let x = with_residual(x, residual);
        let [gamma, beta] = [affine.gamma, affine.beta].map(contiguous);
        let (x, epsilon) = (rows(contiguous(x)), affine.epsilon as f32);
        let normed = norm::normed(x, gamma, beta, epsilon, activation.into(), format(result));
        tensor::<Self, 2>(normed).reshape(dims)
    }

    fn cross_attention(
        queries: Tensor<Self, 3>,
        keys: Tensor<Self, 3>,
        values: Tensor<Self, 3>,
        heads: usize,
        precision: Precision,
    ) -> Tensor<Self, 3> {
        let operands = [queries, keys, values].map(contiguous);
        tensor(Attention::forward(operands, heads, format(precision)).1)
    }

    fn square_attention(
        qkv: Tensor<Self, 3>,
        outside: Option<Tensor<Self, 1>>,
        tables: Option<[Tensor<Self, 2>; 2]>,
        squares: Squares,
        precision: Precision,
    ) -> Tensor<Self, 3> {
        if squares.window.is_none() {
            let [images, tokens, width] = qkv.dims();
            let qkv = qkv.reshape([images * tokens, width]);
            let attended = Self::attention_in_squares(qkv, tables, squares, precision);
            return attended.reshape([images, tokens, width / 3]);
        }
        let windowed = windows::windowed(contiguous(qkv), outside.map(contiguous), squares);
        let attended = Self::attention_in_squares(tensor(windowed), tables, squares, precision);
        tensor(windows::unwindowed(contiguous(attended), squares))
    }

    /// In a narrow format, tile by tile and without the matrix of scores; its operands are in f16, also where the others are in
    /// bf16, which its kernel does not take, and its sums in single precision. In single precision by products, because it would
    /// round.
    fn attention_in_squares(
        qkv: Tensor<Self, 2>,
        tables: Option<[Tensor<Self, 2>; 2]>,
        squares: Squares,
        precision: Precision,
    ) -> Tensor<Self, 2> {
        if precision != Precision::F32
            && squares.head.is_multiple_of(TILE)
            && let Some(tables) = &tables
        {
            // By distance, so that threads beside each other read numbers beside each other.
            let tables = tables.clone().map(|table| contiguous(table.transpose()));
            if let Some(attended) = fused(contiguous(qkv.clone()), squares, tables) {
                let rows: Tensor<Self, 4> = tensor(attended);
                let rows = rows.slice_dim(2, 0..squares.tokens()).swap_dims(1, 2);
                let rows = rows.reshape([squares.count() * squares.tokens(), squares.channels()]);
                return rows.cast(Self::storage(precision));
            }
        }
        reference::attention_in_squares(qkv, tables, squares, precision, SCORES_AT_ONCE)
    }
}

/// Results are in single precision: the products that they are operands of round them, and their gradients are not rounded.
impl<R, F, I, BT, C> Layers for Autodiff<CubeBackend<R, F, I, BT>, C>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    BT: BoolElement,
    C: CheckpointStrategy,
    CubeBackend<R, F, I, BT>: Backend<FloatTensorPrimitive = CubeTensor<R>>,
{
    fn linear_layer<const D: usize>(
        x: Tensor<Self, D>,
        weight: Tensor<Self, 2>,
        bias: Option<Tensor<Self, 1>>,
        activation: Option<Activation>,
        residual: Option<Tensor<Self, D>>,
        rounding: Rounding,
    ) -> Tensor<Self, D> {
        let mut dims = x.dims();
        let [from, to] = weight.dims();
        let bias = bias.unwrap_or_else(|| Tensor::zeros([to], &x.device()));
        let count = dims.iter().product::<usize>() / from;
        dims[D - 1] = to;
        let (x, weight, bias) = (primitive(x.reshape([count, from])), primitive(weight), primitive(bias));
        let [a, b, c] = [&x, &weight, &bias].map(|tensor| into_contiguous(tensor.primitive.clone()));
        let operands = format(rounding.operands);
        let (given, out) = Linear::forward(a, b, c, activation.into(), operands);
        let y = differentiable::<_, _, C, _, 3, 2>([x, weight, bias], given, out).reshape(dims);
        match residual {
            Some(residual) => residual + y,
            None => y,
        }
    }

    fn norm_layer<const D: usize>(
        x: Tensor<Self, D>,
        residual: Option<Tensor<Self, D>>,
        affine: Affine<Self>,
        activation: Option<Activation>,
        _result: Precision,
    ) -> Tensor<Self, D> {
        let dims = x.dims();
        let x = with_residual(x, residual);
        let count = dims.iter().product::<usize>() / dims[D - 1];
        let x = primitive(x.reshape([count, dims[D - 1]]));
        let [gamma, beta] = [affine.gamma, affine.beta].map(primitive);
        let [a, b, c] = [&x, &gamma, &beta].map(|tensor| into_contiguous(tensor.primitive.clone()));
        let (given, out) = Norm::forward(a, [b, c], affine.epsilon as f32, activation.into());
        differentiable::<_, _, C, _, 3, 2>([x, gamma, beta], given, out).reshape(dims)
    }

    fn cross_attention(
        queries: Tensor<Self, 3>,
        keys: Tensor<Self, 3>,
        values: Tensor<Self, 3>,
        heads: usize,
        precision: Precision,
    ) -> Tensor<Self, 3> {
        let operands = [queries, keys, values].map(primitive);
        let given = operands.each_ref().map(|tensor| into_contiguous(tensor.primitive.clone()));
        let (given, out) = Attention::forward(given, heads, format(precision));
        differentiable(operands, given, out)
    }
}

/// The format of numbers that are rounded to a precision.
fn format(precision: Precision) -> DType {
    narrow(precision).map_or(DType::F32, DType::from)
}

/// The last axis as rows `[rows, channels]`.
fn rows<R: CubeRuntime>(tensor: CubeTensor<R>) -> CubeTensor<R> {
    let shape = tensor.meta.shape();
    let channels = shape[shape.num_dims() - 1];
    let rows = tensor.meta.num_elements() / channels;
    reshape(tensor, burn::tensor::Shape::new([rows, channels]))
}

/// The primitive of a tensor, contiguous.
pub fn contiguous<B, R, const D: usize>(tensor: Tensor<B, D>) -> CubeTensor<R>
where
    B: Backend<FloatTensorPrimitive = CubeTensor<R>>,
    R: CubeRuntime,
{
    into_contiguous(primitive(tensor))
}
