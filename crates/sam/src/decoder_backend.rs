//! What the mask decoder needs of a backend beyond products of matrices, to predict and to learn.

use burn::tensor::activation::softmax;
use burn::tensor::{FloatDType, Tensor, backend::Backend};
use burn_autodiff::Autodiff;
use burn_nn::LayerNorm;
use resect_numeric::{Activation, Precision};

use crate::Cpu;
use crate::layers::{activate, product};

/// A backend on which masks are decoded, and, with gradients, on which the decoder learns.
///
/// Its methods are written here with tensors. Backends for GPUs replace each by a kernel or two, and its gradient by as many: there
/// the host, which has to ask for every kernel, is what takes time.
pub trait DecoderBackend: Backend {
    /// `x [rows, from]` times `weight [from, to]`, with `bias`, and perhaps an activation. A bias of fewer than `to` numbers is that
    /// of several outputs beside each other. The operands of the product are rounded to `precision`.
    fn linear_layer(
        x: Tensor<Self, 2>,
        weight: Tensor<Self, 2>,
        bias: Tensor<Self, 1>,
        activation: Option<Activation>,
        precision: Precision,
    ) -> Tensor<Self, 2> {
        let y = product(x, weight, precision);
        let [rows, to] = y.dims();
        let [channels] = bias.dims();
        let y = y.reshape([rows * to / channels, channels]) + bias.unsqueeze();
        activated(activation, y).reshape([rows, to])
    }

    /// A layer norm over the channels of `x [rows, c]`, and perhaps an activation. `epsilon` is the norm's own.
    fn norm_layer(
        layer: &LayerNorm<Self>,
        _epsilon: f64,
        x: Tensor<Self, 2>,
        activation: Option<Activation>,
    ) -> Tensor<Self, 2> {
        activated(activation, layer.forward(x))
    }

    /// Attention of `queries [n, t, c]` to `keys [n, t', c]` and `values [n, t', c]`, by heads of `c / heads` channels, to
    /// `[n, t, c]`. The operands of products are rounded to `precision`.
    fn attention_layer(
        queries: Tensor<Self, 3>,
        keys: Tensor<Self, 3>,
        values: Tensor<Self, 3>,
        heads: usize,
        precision: Precision,
    ) -> Tensor<Self, 3> {
        let split = |x: Tensor<Self, 3>| {
            let [n, t, c] = x.dims();
            x.reshape([n, t, heads, c / heads]).swap_dims(1, 2)
        };
        let (q, k, v) = (split(queries), split(keys), split(values));
        let [n, _, tokens, head] = q.dims();
        // SAM scales the queries before the product.
        let scores = product(q.mul_scalar((head as f64).powf(-0.5)), k.swap_dims(2, 3), precision);
        let attended = product(softmax(scores, 3), v, precision);
        attended.swap_dims(1, 2).reshape([n, tokens, heads * head])
    }

    /// A vector of `length` numbers in single precision: pieces that do not overlap, each from its start on, and zeros elsewhere.
    fn joined(
        mut pieces: Vec<(usize, Tensor<Self, 1>)>,
        length: usize,
        device: &Self::Device,
    ) -> Tensor<Self, 1> {
        pieces.sort_by_key(|(start, _)| *start);
        let (mut parts, mut end) = (Vec::with_capacity(2 * pieces.len() + 1), 0);
        let fill = |parts: &mut Vec<_>, from: usize, to: usize| {
            if to > from {
                parts.push(Tensor::zeros([to - from], device));
            }
        };
        for (start, piece) in pieces {
            fill(&mut parts, end, start);
            end = start + piece.dims()[0];
            parts.push(piece.cast(FloatDType::F32));
        }
        fill(&mut parts, end, length);
        Tensor::cat(parts, 0)
    }
}

impl DecoderBackend for Cpu {}

impl DecoderBackend for Autodiff<Cpu> {}

fn activated<B: Backend>(activation: Option<Activation>, x: Tensor<B, 2>) -> Tensor<B, 2> {
    match activation {
        Some(activation) => activate(activation, x),
        None => x,
    }
}
