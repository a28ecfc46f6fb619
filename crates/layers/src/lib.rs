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
//! [`Reference`] uses the defaults; tests compare the kernels with it. burn's graph is the only one: an override with a gradient is a
//! node of it.
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
pub use load::{
    Named, Source, chosen_tensors, load_module, load_parameters, named_tensors, parameter_names,
    parameter_shapes,
};
pub use modules::{
    CHANNEL_NORM_EPS, Convolution, Embedding, Factors, FeedForward, LayerNorm, Linear, LowRank, Mlp,
    Upscaling, unloaded,
};
pub use primitives::{primitive, tensor};
pub use resident::{Resident, room};

/// The layers in tensors, with gradients, on the CPU. It is slow; tests compare the kernels with it.
pub type Reference = burn_autodiff::Autodiff<burn_autodiff::Autodiff<Cpu>>;

/// The formats that a layer rounds its operands and its result to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rounding {
    /// The format that the operands of products are rounded to.
    pub operands: Precision,
    /// The format that the result is rounded to. It is a narrow one where the result is used as an operand of products only.
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

/// The parameters of a layer norm.
#[derive(Clone, Debug)]
pub struct Affine<B: Backend> {
    /// The factor of each channel, `[c]`.
    pub gamma: Tensor<B, 1>,
    /// The summand of each channel, `[c]`.
    pub beta: Tensor<B, 1>,
    /// The summand of the variance.
    pub epsilon: f64,
}

/// How the tokens of images are divided into squares. Each token attends to the tokens of its own square.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Squares {
    /// Images.
    pub images: usize,
    /// Tokens along each side of an image.
    pub grid: usize,
    /// Side of the windows in tokens; none where attention is global. Windows at the right and lower edges extend beyond the image
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

    /// Runs `work` on the threads on which this backend's kernels run best.
    fn within<R: Send>(work: impl FnOnce() -> R + Send) -> R {
        work()
    }

    /// `act(x W + b) + residual`: `x` `[..., from]`, `weight` `[from, to]`, `bias` `[to]` or a divisor of it, to `[..., to]`.
    ///
    /// A bias that is shorter than the output repeats along it, as in a transposed convolution whose stride equals its kernel. A layer
    /// with a residual has no activation.
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

    /// `act(x)`, rounded to `result`.
    fn activation_layer<const D: usize>(
        x: Tensor<Self, D>,
        activation: Option<Activation>,
        result: Precision,
    ) -> Tensor<Self, D> {
        reference::activated(x, activation, result)
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

    /// Attention of `queries` `[n, t, c]` to `keys` and `values` `[n, t', c]`, by heads of `c / heads` channels, to `[n, t, c]`. Kernels are
    /// written for few queries or few keys.
    fn cross_attention(
        queries: Tensor<Self, 3>,
        keys: Tensor<Self, 3>,
        values: Tensor<Self, 3>,
        heads: usize,
        precision: Precision,
    ) -> Tensor<Self, 3> {
        reference::attention(queries, keys, values, heads, precision)
    }

    /// Attention of each token to the tokens of its square, with decomposed relative positions. `qkv` is `[images, grid * grid, 3 * heads *
    /// head]`: queries, keys and values, already rounded to `precision`. The result is `[images, grid * grid, heads * head]`, an operand of
    /// the next product.
    ///
    /// `outside` `[3 * heads * head]` has the queries, keys and values of tokens beyond the image: the bias of the projection, or zeros
    /// where it is absent. `tables` has the relative positions by row and by column, `[2 side - 1, head]` each.
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

    /// `x + y` for `x` `[n, t, c]` and `y` `[n, t, c]`, or `[1, t, c]` for all samples.
    fn add(x: Tensor<Self, 3>, y: Tensor<Self, 3>) -> Tensor<Self, 3> {
        x + y
    }

    /// Moves channels to the last axis, `[n, c, h, w]` to `[n, h * w, c]`, and adds a summand of the same shape if one is given.
    fn to_rows(x: Tensor<Self, 4>, summand: Option<Tensor<Self, 4>>) -> Tensor<Self, 3> {
        reference::to_rows(x, summand)
    }

    /// Moves channels from the last axis to the second one, `[n, side * side, c]` to `[n, c, side, side]`.
    fn to_planes(x: Tensor<Self, 3>, side: usize) -> Tensor<Self, 4> {
        let [n, _, c] = x.dims();
        x.reshape([n, side, side, c]).permute([0, 3, 1, 2])
    }

    /// Tokens `[n, side * side, c]` to their neighbourhoods `[n, side * side, 9 * c]`: the nine tokens of three by three around each, row by
    /// row, and zeros for those beyond the image. A product of these with a weight is a convolution.
    fn neighbourhoods(x: Tensor<Self, 3>, side: usize) -> Tensor<Self, 3> {
        reference::neighbourhoods(x, side)
    }

    /// The logits of masks, `[n, m, 4h, 4w]`: products of `weights` `[n, m, c]` with the twice upscaled `image` `[n, h * w * 16, c]`. The
    /// second axis of `image` is in the order of the upscalings: cells of the grid, then the four parts of a cell, then the four parts of
    /// each of these.
    fn masks(
        weights: Tensor<Self, 3>,
        image: Tensor<Self, 3>,
        grid: [usize; 2],
        precision: Precision,
    ) -> Tensor<Self, 4> {
        reference::masks(weights, image, grid, precision)
    }
}
