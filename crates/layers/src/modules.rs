//! Parameters of layers, named as in checkpoints, and the layers that several parts of a model share.

use burn::module::{Module, Param, ParamId};
use burn::tensor::{Shape, Tensor, backend::Backend};
use resect_numeric::{Activation, Precision};

use crate::{Affine, Layers, Rounding};

/// Epsilon of every layer norm over channels, which `transformers` does not take from the configuration.
pub const CHANNEL_NORM_EPS: f64 = 1e-6;

/// A parameter whose values are not loaded yet.
pub fn unloaded<B: Backend, const D: usize>(shape: [usize; D], device: &B::Device) -> Param<Tensor<B, D>> {
    let init = move |device: &B::Device, _| Tensor::zeros(shape, device);
    Param::uninitialized(ParamId::new(), init, device.clone(), true, Shape::from(shape))
}

/// The parameters of a linear layer. (`nn.Linear`)
#[derive(Module, Debug)]
pub struct Linear<B: Backend> {
    /// `[in, out]`; checkpoints have the transpose.
    pub weight: Param<Tensor<B, 2>>,
    /// `[out]`
    pub bias: Option<Param<Tensor<B, 1>>>,
    /// An addition to the weight that is tuned in its place.
    pub lora: Option<LowRank<B>>,
}

impl<B: Backend> Linear<B> {
    /// A layer with a bias, whose parameters are not loaded yet.
    pub fn new(from: usize, to: usize, device: &B::Device) -> Self {
        Self { weight: unloaded([from, to], device), bias: Some(unloaded([to], device)), lora: None }
    }

    /// The same layer with a bias or without one.
    pub fn with_bias(self, bias: bool) -> Self {
        Self { bias: self.bias.filter(|_| bias), ..self }
    }

    /// Weight and bias.
    pub fn parameters(&self) -> (Tensor<B, 2>, Option<Tensor<B, 1>>) {
        (self.weight.val(), self.bias.as_ref().map(Param::val))
    }
}

impl<B: Layers> Linear<B> {
    /// `act(x W + b)`, `[..., in]` to `[..., out]`.
    pub fn forward<const D: usize>(
        &self,
        x: Tensor<B, D>,
        activation: Option<Activation>,
        rounding: Rounding,
    ) -> Tensor<B, D> {
        self.forward_updated(x, self.lora.as_ref().map(LowRank::factors), activation, rounding)
    }

    /// [`Linear::forward`] with an addition to the weight, in place of [`Linear::lora`].
    pub fn forward_updated<const D: usize>(
        &self,
        x: Tensor<B, D>,
        update: Option<Factors<B>>,
        activation: Option<Activation>,
        rounding: Rounding,
    ) -> Tensor<B, D> {
        let (weight, bias) = self.parameters();
        let Some(update) = update else {
            return B::linear_layer(x, weight, bias, activation, None, rounding);
        };
        let precision = rounding.operands;
        let y = B::linear_layer(x.clone(), weight, bias, None, None, Rounding::operands(precision));
        B::activation_layer(update.apply(y, x, precision), activation, rounding.result)
    }

    /// `residual + x W + b`.
    pub fn forward_onto<const D: usize>(
        &self,
        residual: Tensor<B, D>,
        x: Tensor<B, D>,
        precision: Precision,
    ) -> Tensor<B, D> {
        let (weight, bias) = self.parameters();
        let rounding = Rounding::operands(precision);
        match &self.lora {
            None => B::linear_layer(x, weight, bias, None, Some(residual), rounding),
            Some(lora) => {
                let y = B::linear_layer(x.clone(), weight, bias, None, Some(residual), rounding);
                lora.factors().apply(y, x, precision)
            }
        }
    }
}

/// One factor of a low-rank matrix.
#[derive(Module, Debug)]
pub struct Factor<B: Backend> {
    /// `[in, out]`; checkpoints have the transpose.
    pub weight: Param<Tensor<B, 2>>,
}

/// A low-rank addition to the weight of a linear layer, `scale * A B`. (LoRA; Hu et al., 2021; peft's `LoraLayer`)
#[derive(Module, Debug)]
pub struct LowRank<B: Backend> {
    /// `[in, rank]`
    pub lora_a: Factor<B>,
    /// `[rank, out]`
    pub lora_b: Factor<B>,
    scale: f64,
}

/// The factors of a low-rank addition to a weight: `A` `[in, rank]` and `B` `[rank, out]`, which is scaled.
#[derive(Clone, Debug)]
pub struct Factors<B: Backend> {
    a: Tensor<B, 2>,
    b: Tensor<B, 2>,
}

impl<B: Backend> LowRank<B> {
    /// An addition whose parameters are not loaded yet.
    pub fn new([from, to]: [usize; 2], rank: usize, scale: f64, device: &B::Device) -> Self {
        let factor = |shape| Factor { weight: unloaded(shape, device) };
        Self { lora_a: factor([from, rank]), lora_b: factor([rank, to]), scale }
    }

    /// The factors, with the scale.
    pub fn factors(&self) -> Factors<B> {
        let b = self.lora_b.weight.val();
        let b = if self.scale == 1.0 { b } else { b.mul_scalar(self.scale) };
        Factors { a: self.lora_a.weight.val(), b }
    }
}

impl<B: Backend> Factors<B> {
    /// The sum of additions to parts of the outputs: each with the first output that it adds to, of `outputs` in all. None where there is
    /// none.
    pub fn sum(parts: Vec<(usize, Self)>, outputs: usize) -> Option<Self> {
        let widened = parts.into_iter().map(|(start, Self { a, b })| {
            let [rank, width] = b.dims();
            let b = match width == outputs {
                true => b,
                false => {
                    let zeros = Tensor::zeros([rank, outputs], (&b.device(), b.dtype()));
                    zeros.slice_assign([0..rank, start..start + width], b)
                }
            };
            (a, b)
        });
        let (mut a, mut b): (Vec<_>, Vec<_>) = widened.unzip();
        match a.len() {
            0 => None,
            1 => a.pop().zip(b.pop()).map(|(a, b)| Self { a, b }),
            _ => Some(Self { a: Tensor::cat(a, 1), b: Tensor::cat(b, 0) }),
        }
    }
}

impl<B: Layers> Factors<B> {
    /// `y + (x A) B` for `x` `[..., in]` and `y` `[..., out]`.
    fn apply<const D: usize>(self, y: Tensor<B, D>, x: Tensor<B, D>, precision: Precision) -> Tensor<B, D> {
        let inner = B::linear_layer(x, self.a, None, None, None, Rounding::all(precision));
        B::linear_layer(inner, self.b, None, None, Some(y), Rounding::operands(precision))
    }
}

/// The parameters of a layer norm over the last axis. (`nn.LayerNorm`)
#[derive(Module, Debug)]
pub struct LayerNorm<B: Backend> {
    /// `[c]`
    pub weight: Param<Tensor<B, 1>>,
    /// `[c]`
    pub bias: Param<Tensor<B, 1>>,
    epsilon: f64,
}

impl<B: Backend> LayerNorm<B> {
    /// A norm of `channels`, whose parameters are not loaded yet.
    pub fn new(channels: usize, epsilon: f64, device: &B::Device) -> Self {
        Self { weight: unloaded([channels], device), bias: unloaded([channels], device), epsilon }
    }

    /// The parameters as [`Layers::norm_layer`] takes them.
    pub fn affine(&self) -> Affine<B> {
        Affine { gamma: self.weight.val(), beta: self.bias.val(), epsilon: self.epsilon }
    }
}

impl<B: Layers> LayerNorm<B> {
    /// `norm(x)`, rounded to `result`.
    pub fn forward<const D: usize>(&self, x: Tensor<B, D>, result: Precision) -> Tensor<B, D> {
        B::norm_layer(x, None, self.affine(), None, result)
    }

    /// `act(norm(x))`.
    pub fn forward_activated<const D: usize>(&self, x: Tensor<B, D>, activation: Activation) -> Tensor<B, D> {
        B::norm_layer(x, None, self.affine(), Some(activation), Precision::F32)
    }

    /// `norm(x + residual)`.
    pub fn forward_sum<const D: usize>(&self, x: Tensor<B, D>, residual: Tensor<B, D>) -> Tensor<B, D> {
        B::norm_layer(x, Some(residual), self.affine(), None, Precision::F32)
    }
}

/// The parameters of a convolution. It is computed as a linear layer. (`nn.Conv2d`)
#[derive(Module, Debug)]
pub struct Convolution<B: Backend> {
    /// `[out, in, side, side]`
    pub weight: Param<Tensor<B, 4>>,
    /// `[out]`
    pub bias: Option<Param<Tensor<B, 1>>>,
}

impl<B: Backend> Convolution<B> {
    /// A convolution with a bias, whose parameters are not loaded yet.
    pub fn new([from, to]: [usize; 2], side: usize, device: &B::Device) -> Self {
        Self { weight: unloaded([to, from, side, side], device), bias: Some(unloaded([to], device)) }
    }

    /// The same convolution without a bias.
    pub fn without_bias(self) -> Self {
        Self { bias: None, ..self }
    }
}

impl<B: Layers> Convolution<B> {
    /// A convolution whose stride is its kernel, of planes `[n, in, h, w]`: a linear layer on patches, to rows
    /// `[n, h / side * w / side, out]` in the order of the grid.
    pub fn forward_patches(&self, x: Tensor<B, 4>, precision: Precision) -> Tensor<B, 3> {
        let [n, channels, height, width] = x.dims();
        let weight = self.weight.val();
        let [out, _, side, _] = weight.dims();
        let numbers = channels * side * side;
        let (rows, columns) = (height / side, width / side);
        // Rounding comes first, so that putting the patches in order copies fewer bytes.
        let patches = x
            .cast(B::storage(precision))
            .reshape([n, channels, rows, side, columns, side])
            .permute([0, 2, 4, 1, 3, 5])
            .reshape([n, rows * columns, numbers]);
        let weight = weight.reshape([out, numbers]).transpose();
        B::linear_layer(
            patches,
            weight,
            self.bias.as_ref().map(Param::val),
            None,
            None,
            Rounding::operands(precision),
        )
    }

    /// A convolution of one by one, of rows `[n, t, in]`.
    pub fn forward_rows(&self, x: Tensor<B, 3>, precision: Precision) -> Tensor<B, 3> {
        let weight = self.weight.val();
        let [out, from, _, _] = weight.dims();
        let weight = weight.reshape([out, from]).transpose();
        B::linear_layer(
            x,
            weight,
            self.bias.as_ref().map(Param::val),
            None,
            None,
            Rounding::operands(precision),
        )
    }

    /// A convolution of three by three, padded with zeros, of tokens `[n, side * side, in]`: each token's nine neighbours beside one
    /// another, and one product.
    pub fn forward_neighbourhoods(&self, x: Tensor<B, 3>, side: usize, precision: Precision) -> Tensor<B, 3> {
        let weight = self.weight.val();
        let [out, from, _, _] = weight.dims();
        let weight = weight.permute([2, 3, 1, 0]).reshape([9 * from, out]);
        let neighbourhoods = B::neighbourhoods(x, side);
        let bias = self.bias.as_ref().map(Param::val);
        B::linear_layer(neighbourhoods, weight, bias, None, None, Rounding::operands(precision))
    }
}

/// The parameters of a transposed convolution of kernel and stride 2. (`nn.ConvTranspose2d`)
#[derive(Module, Debug)]
pub struct Upscaling<B: Backend> {
    /// `[in, out, 2, 2]`
    pub weight: Param<Tensor<B, 4>>,
    /// `[out]`
    pub bias: Param<Tensor<B, 1>>,
}

impl<B: Backend> Upscaling<B> {
    /// An upscaling whose parameters are not loaded yet.
    pub fn new([from, to]: [usize; 2], device: &B::Device) -> Self {
        Self { weight: unloaded([from, to, 2, 2], device), bias: unloaded([to], device) }
    }
}

impl<B: Layers> Upscaling<B> {
    /// Rows of channels `[n, p, in]` to `[n, 4 * p, out]`. Each row becomes the four rows of its two by two cells, line by line.
    pub fn forward(
        &self,
        x: Tensor<B, 3>,
        activation: Option<Activation>,
        precision: Precision,
    ) -> Tensor<B, 3> {
        let [n, places, _] = x.dims();
        let weight = self.weight.val();
        let [from, to, _, _] = weight.dims();
        let weight = weight.permute([0, 2, 3, 1]).reshape([from, 4 * to]);
        let rounding = Rounding::operands(precision);
        let quads = B::linear_layer(x, weight, Some(self.bias.val()), activation, None, rounding);
        quads.reshape([n, 4 * places, to])
    }
}

/// One or more rows of learned channels. (`nn.Embedding`)
#[derive(Module, Debug)]
pub struct Embedding<B: Backend> {
    /// `[rows, channels]`
    pub weight: Param<Tensor<B, 2>>,
}

impl<B: Backend> Embedding<B> {
    /// Rows that are not loaded yet.
    pub fn new(rows: usize, channels: usize, device: &B::Device) -> Self {
        Self { weight: unloaded([rows, channels], device) }
    }
}

/// Two linear layers with an activation between them. (`SamMLPBlock`)
#[derive(Module, Debug)]
pub struct Mlp<B: Backend> {
    lin1: Linear<B>,
    lin2: Linear<B>,
    activation: Activation,
}

impl<B: Backend> Mlp<B> {
    /// Layers whose parameters are not loaded yet.
    pub fn new(channels: usize, hidden: usize, activation: Activation, device: &B::Device) -> Self {
        Self {
            lin1: Linear::new(channels, hidden, device),
            lin2: Linear::new(hidden, channels, device),
            activation,
        }
    }

    /// Both layers, to be changed.
    pub fn layers_mut(&mut self) -> [&mut Linear<B>; 2] {
        [&mut self.lin1, &mut self.lin2]
    }
}

impl<B: Layers> Mlp<B> {
    /// `lin2(act(lin1(x)))`
    pub fn forward<const D: usize>(&self, x: Tensor<B, D>, precision: Precision) -> Tensor<B, D> {
        let hidden = self.lin1.forward(x, Some(self.activation), Rounding::all(precision));
        self.lin2.forward(hidden, None, Rounding::operands(precision))
    }

    /// `x + lin2(act(lin1(norm(x))))`
    pub fn forward_after_norm(
        &self,
        x: Tensor<B, 3>,
        norm: &LayerNorm<B>,
        precision: Precision,
    ) -> Tensor<B, 3> {
        if self.lin1.lora.is_some() || self.lin2.lora.is_some() {
            let normed = norm.forward(x.clone(), precision);
            let hidden = self.lin1.forward(normed, Some(self.activation), Rounding::all(precision));
            return self.lin2.forward_onto(x, hidden, precision);
        }
        let layers = [self.lin1.parameters(), self.lin2.parameters()];
        B::norm_mlp(x, norm.affine(), layers, self.activation, precision)
    }
}

/// Linear layers with rectifiers between them. (`SamFeedForward`)
#[derive(Module, Debug)]
pub struct FeedForward<B: Backend> {
    proj_in: Linear<B>,
    layers: Vec<Linear<B>>,
    proj_out: Linear<B>,
}

impl<B: Backend> FeedForward<B> {
    /// `depth` linear layers in all, at least two, whose parameters are not loaded yet.
    pub fn new(input: usize, hidden: usize, output: usize, depth: usize, device: &B::Device) -> Self {
        Self {
            proj_in: Linear::new(input, hidden, device),
            layers: (2..depth).map(|_| Linear::new(hidden, hidden, device)).collect(),
            proj_out: Linear::new(hidden, output, device),
        }
    }
}

impl<B: Layers> FeedForward<B> {
    /// Rows `[n, input]` to `[n, output]`.
    pub fn forward(&self, x: Tensor<B, 2>, precision: Precision) -> Tensor<B, 2> {
        let rounding = Rounding::operands(precision);
        let hidden = std::iter::once(&self.proj_in).chain(&self.layers);
        let x = hidden.fold(x, |x, layer| layer.forward(x, Some(Activation::Relu), rounding));
        self.proj_out.forward(x, None, rounding)
    }
}
