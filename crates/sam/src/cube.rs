//! What the image encoder and the mask decoder need of a GPU, in kernels that pass over memory once.
//!
//! They are written in CubeCL, so whatever `burn-cubecl` serves can run them; CUDA is what they are for. Each is held to the
//! tensors of [`EncoderBackend`] or [`crate::DecoderBackend`] by `tests/gpu.rs`. Each stands beside what launches it, and takes
//! plain arrays: what has a shape costs a copy to the GPU at each launch.
//!
//! Tensors come contiguous, and leave so; where nothing else is said they are in single precision. Nothing is added up in an order
//! that could change: the same GPU gives the same bits.

mod attention;
mod decoder;
mod differentiable;
mod joined;
mod kernels;
mod launch;
mod linear;
mod norm;

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{DType, FloatDType, Tensor, TensorPrimitive};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime, FloatElement, IntElement};
use burn_nn::LayerNorm;
use resect_numeric::Activation;

use crate::encoder_backend::{EncoderBackend, SCORES_AT_ONCE, Squares, attended_by_products};
use kernels::{TILE, finished, fused};
use launch::Activated;

pub use differentiable::{Given, differentiable};
pub use launch::{shaped, threads};

impl<R, F, I, BT> EncoderBackend for CubeBackend<R, F, I, BT>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    BT: BoolElement,
    Self: Backend<FloatTensorPrimitive = CubeTensor<R>>,
{
    fn normed(
        norm: &LayerNorm<Self>,
        epsilon: f64,
        rows: Tensor<Self, 2>,
        format: FloatDType,
    ) -> Tensor<Self, 2> {
        let Some(beta) = &norm.beta else { return norm.forward(rows).cast(format) };
        let [gamma, beta] = [&norm.gamma, beta].map(|param| contiguous(param.val()));
        tensor(norm::normed(contiguous(rows), gamma, beta, epsilon as f32, Activated::Not, format.into()))
    }

    fn biased(
        product: Tensor<Self, 2>,
        bias: Tensor<Self, 1>,
        activation: Option<Activation>,
    ) -> Tensor<Self, 2> {
        let (product, bias) = (contiguous(product), contiguous(bias));
        let format = product.dtype;
        tensor(finished(product, bias, None, activation.into(), format))
    }

    fn added(rows: Tensor<Self, 2>, product: Tensor<Self, 2>, bias: Tensor<Self, 1>) -> Tensor<Self, 2> {
        let (product, bias) = (contiguous(product), contiguous(bias));
        tensor(finished(product, bias, Some(contiguous(rows)), Activated::Not, DType::F32))
    }

    /// In a narrow format, tile by tile and without the matrix of scores; its operands are in f16, also where the others are in
    /// bf16, which its kernel does not take, and its sums in single precision. In single precision by products, because it would
    /// round.
    fn attended(
        qkv: Tensor<Self, 2>,
        squares: Squares,
        tables: Option<[Tensor<Self, 2>; 2]>,
    ) -> Tensor<Self, 2> {
        let format = qkv.dtype();
        if format != DType::F32
            && squares.head.is_multiple_of(TILE)
            && let Some(tables) = &tables
        {
            // By distance, so that threads beside each other read numbers beside each other.
            let tables = tables.clone().map(|table| contiguous(table.transpose()));
            if let Some(attended) = fused(contiguous(qkv.clone()), squares, tables) {
                let rows: Tensor<Self, 4> = tensor(attended);
                let rows = rows.slice_dim(2, 0..squares.tokens()).swap_dims(1, 2);
                return rows.reshape([squares.count * squares.tokens(), squares.channels()]).cast(format);
            }
        }
        attended_by_products(qkv, squares, tables, SCORES_AT_ONCE)
    }
}

/// The primitive of a tensor, contiguous.
pub fn contiguous<B, R, const D: usize>(tensor: Tensor<B, D>) -> CubeTensor<R>
where
    B: Backend<FloatTensorPrimitive = CubeTensor<R>>,
    R: CubeRuntime,
{
    into_contiguous(tensor.into_primitive().tensor())
}

/// The tensor of a primitive.
pub fn tensor<B: Backend, const D: usize>(primitive: FloatTensor<B>) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}
