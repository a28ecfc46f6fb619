//! The fused layers that a model asks of a backend.
//!
//! A model is wired once, on [`Layers`]. Every method of the trait has a default in tensors ([`reference`]), so a layer runs on any
//! backend of burn, gradients included. Backends override methods by kernels:
//!
//! | backend | layers |
//! |---|---|
//! | [`Cpu`] | kernels on slices (`resect-kernels`) |
//! | `Autodiff<Cpu>` | the same, and their gradients |
//! | `CubeBackend`, thus CUDA (features `cube`, `cuda`) | kernels in CubeCL |
//! | `Autodiff<CubeBackend>` | the same, and the gradients of those that the mask decoder asks for |
//!
//! [`Reference`] has none of them: tests hold the kernels to it. burn's graph is the only one: an override with a gradient is a node of it.
//!
//! Products have their operands rounded to a [`Precision`]. On the CPU rounded numbers stay in single precision; on a GPU they are
//! stored in the narrow format ([`Layers::storage`]).
//!
//! ```
//! use burn::tensor::Tensor;
//! use resect_layers::{Cpu, Layers, Rounding};
//!
//! let device = Default::default();
//! let x = Tensor::<Cpu, 2>::from_data([[1.0, 10.0]], &device);
//! let (weight, bias) = (Tensor::from_data([[2.0], [3.0]], &device), Tensor::from_data([1.0], &device));
//! let y = Cpu::linear_layer(x, weight, Some(bias), None, None, Rounding::NONE);
//! assert_eq!(y.into_data().to_vec::<f32>().unwrap(), [33.0]);
//! ```

pub mod cpu;
#[cfg(feature = "cube")]
pub mod cube;
#[cfg(feature = "cuda")]
mod cuda;
mod error;
mod load;
pub mod memory;
mod modules;
mod primitives;
pub mod reference;
mod resident;

use burn::tensor::{FloatDType, Tensor, backend::Backend};
use resect_numeric::{Activation, Precision};

pub use cpu::Cpu;
#[cfg(feature = "cuda")]
pub use cuda::{Cuda, CudaDevice, open as open_cuda};
pub use error::LoadError;
pub use load::{Named, Source, load_module, named_tensors, parameter_names, parameter_shapes};
pub use modules::{
    CHANNEL_NORM_EPS, Convolution, Embedding, FeedForward, LayerNorm, Linear, Mlp, Upscaling, unloaded,
};
pub use primitives::{primitive, tensor};
pub use resident::{Resident, room};

/// The layers in tensors, with gradients, on the CPU: slow, and what the kernels are tested against.
pub type Reference = burn_autodiff::Autodiff<burn_autodiff::Autodiff<Cpu>>;

/// What a layer rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rounding {
    /// The format that the operands of products are rounded to.
    pub operands: Precision,
    /// The format that the result is rounded to, because it is an operand of products and nothing else.
    pub result: Precision,
}

impl Rounding {
    /// Nothing is rounded.
    pub const NONE: Self = Self { operands: Precision::F32, result: Precision::F32 };

    /// Operands are rounded to `precision`, the result is not rounded.
    pub fn operands(precision: Precision) -> Self {
        Self { operands: precision, result: Precision::F32 }
    }

    /// Operands and result are rounded to `precision`.
    pub fn all(precision: Precision) -> Self {
        Self { operands: precision, result: precision }
    }
}

/// What a layer norm multiplies with and adds, `[c]` each, and what it adds to the variance.
#[derive(Clone, Debug)]
pub struct Affine<B: Backend> {
    /// Weight.
    pub gamma: Tensor<B, 1>,
    /// Bias.
    pub beta: Tensor<B, 1>,
    /// Epsilon.
    pub epsilon: f64,
}

/// The squares of tokens within which attention happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Squares {
    /// Images.
    pub images: usize,
    /// Tokens along each side of an image.
    pub grid: usize,
    /// Side of the windows in tokens; none where attention is global. Windows at the right and lower edges reach over the image
    /// where their side does not divide the grid's.
    pub window: Option<usize>,
    /// Attention heads.
    pub heads: usize,
    /// Channels of a head.
    pub head: usize,
}

impl Squares {
    /// Side of a square in tokens.
    pub fn side(&self) -> usize {
        self.window.unwrap_or(self.grid)
    }

    /// Tokens of a square.
    pub fn tokens(&self) -> usize {
        self.side() * self.side()
    }

    /// Squares along each side of an image.
    pub fn across(&self) -> usize {
        self.grid.div_ceil(self.side())
    }

    /// How many squares there are.
    pub fn count(&self) -> usize {
        self.images * self.across() * self.across()
    }

    /// Channels of all heads.
    pub fn channels(&self) -> usize {
        self.heads * self.head
    }
}

/// A backend with the layers that SAM is made of.
///
/// The first axis of every tensor of activations is that of samples: images or prompts. On the CPU without a graph, the bits of a
/// sample's result do not depend on the samples beside it. All activations are in single precision, unless they were rounded as a
/// `result` and [`Layers::storage`] is narrower.
pub trait Layers: Backend {
    /// The format in which this backend stores numbers that are rounded to `precision`.
    fn storage(precision: Precision) -> FloatDType {
        reference::narrow(precision).unwrap_or(FloatDType::F32)
    }

    /// Does some work on the threads on which this backend's kernels run best.
    fn within<R: Send>(work: impl FnOnce() -> R + Send) -> R {
        work()
    }

    /// `act(x W + b) + residual`: `x` `[..., from]`, `weight` `[from, to]`, `bias` `[to]` or a divisor of it, to `[..., to]`.
    ///
    /// A shorter bias is that of several outputs beside one another, as of a transposed convolution whose stride is its kernel. With a
    /// residual there is no activation.
    fn linear_layer<const D: usize>(
        x: Tensor<Self, D>,
        weight: Tensor<Self, 2>,
        bias: Option<Tensor<Self, 1>>,
        activation: Option<Activation>,
        residual: Option<Tensor<Self, D>>,
        rounding: Rounding,
    ) -> Tensor<Self, D> {
        reference::linear(x, weight, bias, activation, residual, rounding)
    }

    /// `act(norm(x + residual))` over the last axis, rounded to `result`.
    fn norm_layer<const D: usize>(
        x: Tensor<Self, D>,
        residual: Option<Tensor<Self, D>>,
        affine: Affine<Self>,
        activation: Option<Activation>,
        result: Precision,
    ) -> Tensor<Self, D> {
        reference::norm(x, residual, affine, activation, result)
    }

    /// `x + act(norm(x) W1 + b1) W2 + b2`, the second half of a pre-norm block: `x` `[n, t, c]`, weights `[c, hidden]` and `[hidden, c]`.
    fn norm_mlp(
        x: Tensor<Self, 3>,
        affine: Affine<Self>,
        [first, second]: [(Tensor<Self, 2>, Option<Tensor<Self, 1>>); 2],
        activation: Activation,
        precision: Precision,
    ) -> Tensor<Self, 3> {
        let normed = Self::norm_layer(x.clone(), None, affine, None, precision);
        let hidden =
            Self::linear_layer(normed, first.0, first.1, Some(activation), None, Rounding::all(precision));
        Self::linear_layer(hidden, second.0, second.1, None, Some(x), Rounding::operands(precision))
    }

    /// Attention of `queries` `[n, t, c]` to `keys` and `values` `[n, t', c]`, by heads of `c / heads` channels, to `[n, t, c]`. Queries, or
    /// keys, are meant to be few.
    fn cross_attention(
        queries: Tensor<Self, 3>,
        keys: Tensor<Self, 3>,
        values: Tensor<Self, 3>,
        heads: usize,
        precision: Precision,
    ) -> Tensor<Self, 3> {
        reference::attention(queries, keys, values, heads, precision)
    }

    /// Attention of tokens to those of their square, with decomposed relative positions: queries, keys and values beside one another
    /// `[images, grid * grid, 3 * heads * head]`, rounded to `precision` already, to `[images, grid * grid, heads * head]`, an operand of the
    /// next product.
    ///
    /// `outside` are queries, keys and values of tokens beyond the image, `[3 * heads * head]`: the bias of the projection, zeros where
    /// there is none. `tables` are relative positions by row and by column, `[2 side - 1, head]` each.
    fn square_attention(
        qkv: Tensor<Self, 3>,
        outside: Option<Tensor<Self, 1>>,
        tables: Option<[Tensor<Self, 2>; 2]>,
        squares: Squares,
        precision: Precision,
    ) -> Tensor<Self, 3> {
        let attended = reference::windowed(qkv, outside, squares);
        reference::unwindowed(Self::attention_in_squares(attended, tables, squares, precision), squares)
    }

    /// [`Layers::square_attention`] of tokens that are in squares already, `[count * tokens, 3 * heads * head]`, to
    /// `[count * tokens, heads * head]`.
    fn attention_in_squares(
        qkv: Tensor<Self, 2>,
        tables: Option<[Tensor<Self, 2>; 2]>,
        squares: Squares,
        precision: Precision,
    ) -> Tensor<Self, 2> {
        reference::attention_in_squares(qkv, tables, squares, precision, reference::SCORES_AT_ONCE)
    }

    /// `x + y`, where `y` may be one for all samples: `[n, t, c]` and `[n, t, c]` or `[1, t, c]`.
    fn add(x: Tensor<Self, 3>, y: Tensor<Self, 3>) -> Tensor<Self, 3> {
        x + y
    }

    /// Planes of channels to rows of channels, `[n, c, h, w]` to `[n, h * w, c]`, with a summand of the same shape where there is one.
    fn to_rows(x: Tensor<Self, 4>, summand: Option<Tensor<Self, 4>>) -> Tensor<Self, 3> {
        reference::to_rows(x, summand)
    }

    /// Rows of channels to planes, `[n, side * side, c]` to `[n, c, side, side]`.
    fn to_planes(x: Tensor<Self, 3>, side: usize) -> Tensor<Self, 4> {
        let [n, _, c] = x.dims();
        x.reshape([n, side, side, c]).permute([0, 3, 1, 2])
    }

    /// Tokens `[n, side * side, c]` to their neighbourhoods `[n, side * side, 9 * c]`: the nine tokens of three by three around each, row by
    /// row, and zeros for those beyond the image. A product of these with a weight is a convolution.
    fn neighbourhoods(x: Tensor<Self, 3>, side: usize) -> Tensor<Self, 3> {
        reference::neighbourhoods(x, side)
    }

    /// The logits of masks, `[n, m, 4h, 4w]`: products of `weights` `[n, m, c]` with an image that was upscaled twice, `[n, h * w * 16, c]`,
    /// in the order in which the upscalings make it: places of the grid, quads in them, quads in those.
    fn masks(
        weights: Tensor<Self, 3>,
        image: Tensor<Self, 3>,
        grid: [usize; 2],
        precision: Precision,
    ) -> Tensor<Self, 4> {
        reference::masks(weights, image, grid, precision)
    }
}
