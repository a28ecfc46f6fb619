//! Small layers that several parts share.

use burn::module::{Module, Param};
use burn::tensor::activation::relu;
use burn::tensor::{FloatDType, Tensor, backend::Backend};
use burn_nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use resect_numeric::{Activation, Precision};

use crate::DecoderBackend;

/// Epsilon of every layer norm over channels, which `transformers` does not take from the configuration.
pub(crate) const CHANNEL_NORM_EPS: f64 = 1e-6;

/// The format that operands of products are rounded to; none where they stay as they are. An operand that is in this format
/// already is taken as it is.
pub fn narrow(precision: Precision) -> Option<FloatDType> {
    match precision {
        Precision::F32 => None,
        Precision::Bf16 => Some(FloatDType::BF16),
        Precision::F16 => Some(FloatDType::F16),
    }
}

/// The matrix product of two tensors, whose operands are rounded to `precision`.
///
/// burn's products give the format that they take, so the result, which was summed in single precision, passes through that
/// format, too. So does the gradient of each operand: the casts turn round on the way back. That is what `torch.autocast` does,
/// and what the matrix units of GPUs are fast at.
pub(crate) fn product<B: Backend, const D: usize>(
    a: Tensor<B, D>,
    b: Tensor<B, D>,
    precision: Precision,
) -> Tensor<B, D> {
    match narrow(precision) {
        None => a.matmul(b),
        Some(format) => a.cast(format).matmul(b.cast(format)).cast(FloatDType::F32),
    }
}

/// Applies a linear layer to the last axis as one matrix product, whose operands are rounded to `precision`; then an activation.
///
/// With more than two axes burn multiplies one small matrix per leading index.
pub(crate) fn linear<B: DecoderBackend, const D: usize>(
    layer: &Linear<B>,
    x: Tensor<B, D>,
    activation: Option<Activation>,
    precision: Precision,
) -> Tensor<B, D> {
    let mut dims = x.dims();
    let weight = layer.weight.val();
    let bias = layer.bias.as_ref();
    let bias = bias.map_or_else(|| Tensor::zeros([weight.dims()[1]], &x.device()), Param::val);
    let y = B::linear_layer(rows(x), weight, bias, activation, precision);
    dims[D - 1] = y.dims()[1];
    y.reshape(dims)
}

/// A layer norm over the last axis. `epsilon` is the norm's own.
pub(crate) fn norm<B: DecoderBackend, const D: usize>(
    layer: &LayerNorm<B>,
    epsilon: f64,
    x: Tensor<B, D>,
) -> Tensor<B, D> {
    let dims = x.dims();
    B::norm_layer(layer, epsilon, rows(x), None).reshape(dims)
}

/// The last axis as rows `[rows, channels]`.
fn rows<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, 2> {
    let channels = x.dims()[D - 1];
    let rows = x.dims().iter().product::<usize>() / channels;
    x.reshape([rows, channels])
}

/// The exact GELU, `x * (1 + erf(x / sqrt 2)) / 2`, with its exact gradient.
///
/// Composed, because the gradient of burn's own is the one of the tanh approximation on some backends.
pub(crate) fn gelu<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    let gate = x.clone().mul_scalar(std::f64::consts::FRAC_1_SQRT_2).erf().add_scalar(1.0);
    x.mul(gate).mul_scalar(0.5)
}

/// An activation that a gradient may have to pass.
pub(crate) fn activate<B: Backend, const D: usize>(activation: Activation, x: Tensor<B, D>) -> Tensor<B, D> {
    match activation {
        Activation::Gelu => gelu(x),
        Activation::Relu => relu(x),
    }
}

pub(crate) fn layer_norm<B: Backend>(size: usize, eps: f64, device: &B::Device) -> LayerNorm<B> {
    LayerNormConfig::new(size).with_epsilon(eps).init(device)
}

/// A parameter that waits to be loaded.
pub(crate) fn unloaded<B: Backend, const D: usize>(
    shape: [usize; D],
    device: &B::Device,
) -> Param<Tensor<B, D>> {
    burn_nn::Initializer::Zeros.init(shape, device)
}

/// One or more rows of learned channels. (`nn.Embedding`)
#[derive(Module, Debug)]
pub(crate) struct Embedding<B: Backend> {
    /// `[rows, channels]`
    pub(crate) weight: Param<Tensor<B, 2>>,
}

impl<B: Backend> Embedding<B> {
    pub(crate) fn new(rows: usize, channels: usize, device: &B::Device) -> Self {
        Self { weight: unloaded([rows, channels], device) }
    }
}

/// Two linear layers with an activation between them. (`SamMLPBlock`)
#[derive(Module, Debug)]
pub(crate) struct Mlp<B: Backend> {
    pub(crate) lin1: Linear<B>,
    pub(crate) lin2: Linear<B>,
    pub(crate) activation: Activation,
}

impl<B: Backend> Mlp<B> {
    pub(crate) fn new(channels: usize, hidden: usize, activation: Activation, device: &B::Device) -> Self {
        Self {
            lin1: LinearConfig::new(channels, hidden).init(device),
            lin2: LinearConfig::new(hidden, channels).init(device),
            activation,
        }
    }

    pub(crate) fn forward<const D: usize>(&self, x: Tensor<B, D>, precision: Precision) -> Tensor<B, D>
    where
        B: DecoderBackend,
    {
        linear(&self.lin2, linear(&self.lin1, x, Some(self.activation), precision), None, precision)
    }
}

/// Linear layers with rectifiers between them. (`SamFeedForward`)
#[derive(Module, Debug)]
pub(crate) struct FeedForward<B: Backend> {
    proj_in: Linear<B>,
    layers: Vec<Linear<B>>,
    proj_out: Linear<B>,
}

impl<B: Backend> FeedForward<B> {
    /// `depth` linear layers in all, at least two.
    pub(crate) fn new(input: usize, hidden: usize, output: usize, depth: usize, device: &B::Device) -> Self {
        Self {
            proj_in: LinearConfig::new(input, hidden).init(device),
            layers: (2..depth).map(|_| LinearConfig::new(hidden, hidden).init(device)).collect(),
            proj_out: LinearConfig::new(hidden, output).init(device),
        }
    }

    pub(crate) fn forward(&self, x: Tensor<B, 2>, precision: Precision) -> Tensor<B, 2>
    where
        B: DecoderBackend,
    {
        let hidden = std::iter::once(&self.proj_in).chain(&self.layers);
        let x = hidden.fold(x, |x, layer| linear(layer, x, Some(Activation::Relu), precision));
        linear(&self.proj_out, x, None, precision)
    }
}
