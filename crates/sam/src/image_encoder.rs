//! The image encoder: a vision transformer with windowed and global attention, and a neck that reduces the channels.
//!
//! Reference: `transformers`, `models/sam/modeling_sam.py`, `SamVisionEncoder`; `segment_anything/modeling/image_encoder.py`.

use burn::module::{Module, Param};
use burn::tensor::{FloatDType, Tensor, backend::Backend};
use burn_nn::conv::{Conv2d, Conv2dConfig};
use burn_nn::{LayerNorm, Linear, LinearConfig};
use resect_checkpoint::SamConfig;
use resect_numeric::Precision;

use crate::encoder_backend::{EncoderBackend, Squares};
use crate::layers::{CHANNEL_NORM_EPS, Mlp, layer_norm, narrow, unloaded};

/// Turns images into embeddings. (`SamVisionEncoder`)
#[derive(Module, Debug)]
pub struct ImageEncoder<B: Backend> {
    patch_embed: PatchEmbedding<B>,
    /// `[1, g, g, hidden]`
    pos_embed: Option<Param<Tensor<B, 4>>>,
    layers: Vec<Block<B>>,
    neck: Neck<B>,
    /// To what operands of products and convolutions are rounded.
    precision: Precision,
}

impl<B: Backend> ImageEncoder<B> {
    /// An encoder of the right shape whose parameters wait to be loaded.
    pub(crate) fn new(config: &SamConfig, device: &B::Device) -> Self {
        let (v, grid) = (&config.vision, config.grid());
        let layers = (0..v.num_hidden_layers).map(|layer| Block::new(config, config.window(layer), device));
        Self {
            patch_embed: PatchEmbedding {
                projection: Conv2dConfig::new([v.num_channels, v.hidden_size], [v.patch_size; 2])
                    .with_stride([v.patch_size; 2])
                    .init(device),
            },
            pos_embed: v.use_abs_pos.then(|| unloaded([1, grid, grid, v.hidden_size], device)),
            layers: layers.collect(),
            neck: Neck::new(v.hidden_size, v.output_channels, device),
            precision: Precision::F32,
        }
    }

    /// The same encoder, with the operands of its products and convolutions rounded to `precision`, weights now and for good. As
    /// built it rounds nothing.
    pub fn with_precision(mut self, precision: Precision) -> Self {
        let format = operands(precision);
        round(&mut self.patch_embed.projection.weight, format);
        for block in &mut self.layers {
            let Block { attn, mlp, .. } = block;
            for linear in [&mut attn.qkv, &mut attn.proj, &mut mlp.lin1, &mut mlp.lin2] {
                round(&mut linear.weight, format);
            }
        }
        round(&mut self.neck.conv1.weight, format);
        round(&mut self.neck.conv2.weight, format);
        Self { precision, ..self }
    }
}

/// The format of operands.
fn operands(precision: Precision) -> FloatDType {
    narrow(precision).unwrap_or(FloatDType::F32)
}

fn round<B: Backend, const D: usize>(weight: &mut Param<Tensor<B, D>>, format: FloatDType) {
    *weight = Param::from_tensor(weight.val().cast(format));
}

impl<B: EncoderBackend> ImageEncoder<B> {
    /// Pixels `[b, 3, S, S]`, normalised and padded ([`crate::normalise`]), to embeddings `[b, C, g, g]`.
    ///
    /// All images pass together: memory grows with them, and where a backend chooses its products by their sizes, so may the last
    /// bits of a result.
    ///
    /// # Panics
    /// Where burn does: pixels of another size than the configuration's, or no image at all.
    pub fn forward(&self, pixels: Tensor<B, 4>) -> Tensor<B, 4> {
        let format = operands(self.precision);
        let (mut rows, images) = self.patch_embed.forward(pixels, format);
        if let Some(position) = &self.pos_embed {
            let [rows_in_all, channels] = rows.dims();
            let position = position.val().reshape([1, images.tokens(), channels]);
            let placed = rows.reshape([images.count, images.tokens(), channels]) + position;
            rows = placed.reshape([rows_in_all, channels]);
        }
        for block in &self.layers {
            rows = block.forward(rows, images, format);
        }
        self.neck.forward(rows, images, format)
    }
}

/// Images as tokens: so many of `side` by `side`.
#[derive(Clone, Copy)]
struct Grids {
    count: usize,
    side: usize,
}

impl Grids {
    fn tokens(&self) -> usize {
        self.side * self.side
    }
}

/// (`SamPatchEmbeddings`)
#[derive(Module, Debug)]
struct PatchEmbedding<B: Backend> {
    projection: Conv2d<B>,
}

impl<B: EncoderBackend> PatchEmbedding<B> {
    /// Pixels `[b, 3, S, S]` to tokens `[b * g * g, hidden]`, in single precision. The convolution's stride is its kernel, so it is
    /// a product over patches.
    fn forward(&self, pixels: Tensor<B, 4>, format: FloatDType) -> (Tensor<B, 2>, Grids) {
        let [b, channels, side, _] = pixels.dims();
        let weight = self.projection.weight.val();
        let [hidden, _, patch, _] = weight.dims();
        let (grid, numbers) = (side / patch, channels * patch * patch);
        let patches = pixels
            .cast(format)
            .reshape([b, channels, grid, patch, grid, patch])
            .permute([0, 2, 4, 1, 3, 5])
            .reshape([b * grid * grid, numbers]);
        let product = patches.matmul(weight.reshape([hidden, numbers]).transpose()).cast(FloatDType::F32);
        let rows = match &self.projection.bias {
            Some(bias) => product + bias.val().unsqueeze(),
            None => product,
        };
        (rows, Grids { count: b, side: grid })
    }
}

/// A transformer block. (`SamVisionLayer`)
#[derive(Module, Debug)]
struct Block<B: Backend> {
    layer_norm1: LayerNorm<B>,
    attn: Attention<B>,
    layer_norm2: LayerNorm<B>,
    mlp: Mlp<B>,
    epsilon: f64,
    /// Side of the attention windows in tokens; none where attention is global.
    window: Option<usize>,
}

impl<B: Backend> Block<B> {
    fn new(config: &SamConfig, window: Option<usize>, device: &B::Device) -> Self {
        let v = &config.vision;
        Self {
            layer_norm1: layer_norm(v.hidden_size, v.layer_norm_eps, device),
            attn: Attention::new(config, window.unwrap_or(config.grid()), device),
            layer_norm2: layer_norm(v.hidden_size, v.layer_norm_eps, device),
            mlp: Mlp::new(v.hidden_size, v.mlp_dim, v.hidden_act, device),
            epsilon: v.layer_norm_eps,
            window,
        }
    }
}

impl<B: EncoderBackend> Block<B> {
    /// Tokens `[b * g * g, c]` to tokens of the same shape, both in single precision.
    fn forward(&self, rows: Tensor<B, 2>, images: Grids, format: FloatDType) -> Tensor<B, 2> {
        let normed = B::normed(&self.layer_norm1, self.epsilon, rows.clone(), format);
        let attended = match self.window {
            Some(side) => {
                let windows = Grids { count: images.count * images.side.div_ceil(side).pow(2), side };
                unwindowed(self.attn.forward(windowed(normed, images, side), windows), images, side)
            }
            None => self.attn.forward(normed, images),
        };
        let rows = added(rows, attended, &self.attn.proj);
        let normed = B::normed(&self.layer_norm2, self.epsilon, rows.clone(), format);
        let hidden = normed.matmul(self.mlp.lin1.weight.val());
        let hidden = biased(hidden, &self.mlp.lin1, Some(self.mlp.activation));
        added(rows, hidden.matmul(self.mlp.lin2.weight.val()), &self.mlp.lin2)
    }
}

/// [`EncoderBackend::biased`] with a layer's bias, which its product lacks.
fn biased<B: EncoderBackend>(
    product: Tensor<B, 2>,
    layer: &Linear<B>,
    activation: Option<resect_numeric::Activation>,
) -> Tensor<B, 2> {
    match &layer.bias {
        Some(bias) => B::biased(product, bias.val(), activation),
        None => product,
    }
}

/// Cuts tokens of images `[b * g * g, c]` into windows `[b * windows * side * side, c]`, row by row.
///
/// What is missing on the right and bottom is filled with zeros. This happens after the norm, so the zeros are keys and values
/// like any other; checkpoints were trained so.
fn windowed<B: Backend>(rows: Tensor<B, 2>, images: Grids, side: usize) -> Tensor<B, 2> {
    let [_, c] = rows.dims();
    let Grids { count, side: grid } = images;
    let along = grid.div_ceil(side);
    let x = framed(rows.reshape([count, grid, grid, c]), 0, along * side);
    x.reshape([count, along, side, along, side, c])
        .swap_dims(2, 3)
        .reshape([count * along * along * side * side, c])
}

/// Puts squares `[n, s, s, c]` into larger ones of zeros, `[n, side, side, c]`, so far from their left and upper edges.
///
/// burn's own padding has zeros of the backend's format, whatever the tensor's.
fn framed<B: Backend>(x: Tensor<B, 4>, from: usize, side: usize) -> Tensor<B, 4> {
    let [n, s, _, c] = x.dims();
    if s == side {
        return x;
    }
    let zeros = Tensor::zeros([n, side, side, c], (&x.device(), x.dtype()));
    zeros.slice_assign([0..n, from..from + s, from..from + s, 0..c], x)
}

/// Undoes [`windowed`].
fn unwindowed<B: Backend>(rows: Tensor<B, 2>, images: Grids, side: usize) -> Tensor<B, 2> {
    let [_, c] = rows.dims();
    let Grids { count, side: grid } = images;
    let along = grid.div_ceil(side);
    rows.reshape([count, along, along, side, side, c])
        .swap_dims(2, 3)
        .reshape([count, along * side, along * side, c])
        .slice([0..count, 0..grid, 0..grid, 0..c])
        .reshape([count * grid * grid, c])
}

/// Attention over squares of tokens, with decomposed relative positions. (`SamVisionAttention`)
#[derive(Module, Debug)]
struct Attention<B: Backend> {
    qkv: Linear<B>,
    proj: Linear<B>,
    /// `[2 side - 1, head]`, by row distance.
    rel_pos_h: Option<Param<Tensor<B, 2>>>,
    /// `[2 side - 1, head]`, by column distance.
    rel_pos_w: Option<Param<Tensor<B, 2>>>,
    heads: usize,
}

impl<B: Backend> Attention<B> {
    fn new(config: &SamConfig, side: usize, device: &B::Device) -> Self {
        let v = &config.vision;
        let (hidden, heads) = (v.hidden_size, v.num_attention_heads);
        let table = || v.use_rel_pos.then(|| unloaded([2 * side - 1, hidden / heads], device));
        Self {
            qkv: LinearConfig::new(hidden, 3 * hidden).with_bias(v.qkv_bias).init(device),
            proj: LinearConfig::new(hidden, hidden).init(device),
            rel_pos_h: table(),
            rel_pos_w: table(),
            heads,
        }
    }
}

impl<B: EncoderBackend> Attention<B> {
    /// Squares of tokens `[n * side * side, c]` to tokens of the same shape, each attending to its own square; without the bias of
    /// the last layer.
    fn forward(&self, rows: Tensor<B, 2>, squares: Grids) -> Tensor<B, 2> {
        let [_, c] = rows.dims();
        let qkv = biased(rows.matmul(self.qkv.weight.val()), &self.qkv, None);
        let tables = self.rel_pos_h.as_ref().zip(self.rel_pos_w.as_ref());
        let tables = tables.map(|(rows, columns)| [rows.val(), columns.val()]);
        let Grids { count, side } = squares;
        let squares = Squares { count, side, heads: self.heads, head: c / self.heads };
        B::attended(qkv, squares, tables).matmul(self.proj.weight.val())
    }
}

/// [`EncoderBackend::added`] with a layer's bias, which its product lacks.
fn added<B: EncoderBackend>(rows: Tensor<B, 2>, product: Tensor<B, 2>, layer: &Linear<B>) -> Tensor<B, 2> {
    match &layer.bias {
        Some(bias) => B::added(rows, product, bias.val()),
        None => rows + product.cast(FloatDType::F32),
    }
}

/// Reduces the channels. (`SamVisionNeck`)
#[derive(Module, Debug)]
struct Neck<B: Backend> {
    conv1: Conv2d<B>,
    layer_norm1: LayerNorm<B>,
    conv2: Conv2d<B>,
    layer_norm2: LayerNorm<B>,
}

impl<B: Backend> Neck<B> {
    fn new(hidden: usize, channels: usize, device: &B::Device) -> Self {
        let convolution = |from, side| Conv2dConfig::new([from, channels], [side, side]).with_bias(false);
        Self {
            conv1: convolution(hidden, 1).init(device),
            layer_norm1: layer_norm(channels, CHANNEL_NORM_EPS, device),
            conv2: convolution(channels, 3).init(device),
            layer_norm2: layer_norm(channels, CHANNEL_NORM_EPS, device),
        }
    }
}

impl<B: EncoderBackend> Neck<B> {
    /// Tokens `[b * g * g, hidden]` to embeddings `[b, C, g, g]`, in single precision.
    fn forward(&self, rows: Tensor<B, 2>, images: Grids, format: FloatDType) -> Tensor<B, 4> {
        let weight = self.conv1.weight.val();
        let [channels, hidden, _, _] = weight.dims();
        let rows = rows.cast(format).matmul(weight.reshape([channels, hidden]).transpose());
        let rows = B::normed(&self.layer_norm1, CHANNEL_NORM_EPS, rows.cast(FloatDType::F32), format);
        let rows = three_by_three(self.conv2.weight.val(), rows, images).cast(FloatDType::F32);
        let rows = B::normed(&self.layer_norm2, CHANNEL_NORM_EPS, rows, FloatDType::F32);
        rows.reshape([images.count, images.side, images.side, channels]).permute([0, 3, 1, 2])
    }
}

/// A convolution of tokens `[b * g * g, c]` with a kernel `[c', c, 3, 3]`, padded with zeros, to `[b * g * g, c']`: each token's
/// nine neighbours side by side, and one product. On a GPU products are what is fast.
fn three_by_three<B: Backend>(kernel: Tensor<B, 4>, rows: Tensor<B, 2>, images: Grids) -> Tensor<B, 2> {
    let [to, from, _, _] = kernel.dims();
    let Grids { count, side } = images;
    let padded = framed(rows.reshape([count, side, side, from]), 1, side + 2);
    let shifted = (0..9).map(|place| {
        let (y, x) = (place / 3, place % 3);
        padded.clone().slice([0..count, y..y + side, x..x + side, 0..from])
    });
    let neighbours = Tensor::cat(shifted.collect(), 3).reshape([count * side * side, 9 * from]);
    neighbours.matmul(kernel.permute([2, 3, 1, 0]).reshape([9 * from, to]))
}

#[cfg(test)]
mod tests;
