//! The image encoder: a vision transformer with windowed and global attention, and a neck that reduces the channels.
//!
//! Reference: `transformers`, `models/sam/modeling_sam.py`, `SamVisionEncoder`; `segment_anything/modeling/image_encoder.py`.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, backend::Backend};
use resect_checkpoint::{Checkpoint, SamConfig};
use resect_layers::{
    CHANNEL_NORM_EPS, Convolution, LayerNorm, Layers, Linear, LoadError, Mlp, Rounding, Source, Squares,
    load_module, unloaded,
};
use resect_numeric::Precision;

use crate::EncoderError;

/// What the names of the encoder's tensors begin with.
pub const VISION_ENCODER: &str = "vision_encoder";

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
    pub fn new(config: &SamConfig, device: &B::Device) -> Self {
        let (v, grid) = (&config.vision, config.grid());
        let layers = (0..v.num_hidden_layers).map(|layer| Block::new(config, config.window(layer), device));
        Self {
            patch_embed: PatchEmbedding {
                projection: Convolution::new([v.num_channels, v.hidden_size], v.patch_size, device),
            },
            pos_embed: v.use_abs_pos.then(|| unloaded([1, grid, grid, v.hidden_size], device)),
            layers: layers.collect(),
            neck: Neck::new(v.hidden_size, v.output_channels, device),
            precision: Precision::F32,
        }
    }

    /// Loads the image encoder of a checkpoint.
    ///
    /// # Errors
    /// A tensor that cannot be read.
    pub fn load(checkpoint: &Checkpoint, device: &B::Device) -> Result<Self, EncoderError> {
        let source = &mut |name: &str| checkpoint.tensor(name).map_err(LoadError::from);
        Self::from_source(checkpoint.config(), source, device)
    }

    /// An encoder whose tensors a source gives by their Hugging Face names.
    ///
    /// # Errors
    /// A tensor that the source does not give, or of another shape.
    pub fn from_source(
        config: &SamConfig,
        source: Source<'_>,
        device: &B::Device,
    ) -> Result<Self, EncoderError> {
        Ok(load_module(Self::new(config, device), VISION_ENCODER, source, device)?)
    }
}

impl<B: Layers> ImageEncoder<B> {
    /// The same encoder, with the operands of its products and convolutions rounded to `precision`; weights are stored in the format
    /// that the backend has for it. As built it rounds nothing.
    pub fn with_precision(mut self, precision: Precision) -> Self {
        let format = B::storage(precision);
        store(&mut self.patch_embed.projection.weight, format);
        for block in &mut self.layers {
            let Block { attn, mlp, .. } = block;
            for weight in [&mut attn.qkv.weight, &mut attn.proj.weight].into_iter().chain(mlp.weights_mut()) {
                store(weight, format);
            }
        }
        store(&mut self.neck.conv1.weight, format);
        store(&mut self.neck.conv2.weight, format);
        Self { precision, ..self }
    }

    /// Pixels `[b, 3, S, S]`, normalised and padded ([`crate::normalise`]), to embeddings `[b, C, g, g]`.
    ///
    /// All images pass together: memory grows with them. On the CPU an image's bits do not depend on the others; where a backend
    /// chooses its products by their sizes, its last bits may.
    ///
    /// # Panics
    /// Where burn does: pixels of another size than the configuration's, or no image at all.
    pub fn forward(&self, pixels: Tensor<B, 4>) -> Tensor<B, 4> {
        let (mut x, grid) = self.patch_embed.forward(pixels, self.precision);
        if let Some(position) = &self.pos_embed {
            let [_, _, _, channels] = position.val().dims();
            x = B::add(x, position.val().reshape([1, grid * grid, channels]));
        }
        for block in &self.layers {
            x = block.forward(x, grid, self.precision);
        }
        self.neck.forward(x, grid, self.precision)
    }
}

/// Stores a weight in a format. What learns is the stored weight.
fn store<B: Backend, const D: usize>(weight: &mut Param<Tensor<B, D>>, format: burn::tensor::FloatDType) {
    *weight = Param::from_tensor(weight.val().cast(format).detach());
}

/// (`SamPatchEmbeddings`)
#[derive(Module, Debug)]
struct PatchEmbedding<B: Backend> {
    projection: Convolution<B>,
}

impl<B: Layers> PatchEmbedding<B> {
    /// Pixels `[b, 3, S, S]` to tokens `[b, g * g, hidden]` and the grid `g`.
    fn forward(&self, pixels: Tensor<B, 4>, precision: Precision) -> (Tensor<B, 3>, usize) {
        let side = pixels.dims()[3];
        let patch = self.projection.weight.dims()[3];
        (self.projection.forward_patches(pixels, precision), side / patch)
    }
}

/// A transformer block. (`SamVisionLayer`)
#[derive(Module, Debug)]
struct Block<B: Backend> {
    layer_norm1: LayerNorm<B>,
    attn: Attention<B>,
    layer_norm2: LayerNorm<B>,
    mlp: Mlp<B>,
}

impl<B: Backend> Block<B> {
    fn new(config: &SamConfig, window: Option<usize>, device: &B::Device) -> Self {
        let v = &config.vision;
        Self {
            layer_norm1: LayerNorm::new(v.hidden_size, v.layer_norm_eps, device),
            attn: Attention::new(config, window, device),
            layer_norm2: LayerNorm::new(v.hidden_size, v.layer_norm_eps, device),
            mlp: Mlp::new(v.hidden_size, v.mlp_dim, v.hidden_act, device),
        }
    }
}

impl<B: Layers> Block<B> {
    /// Tokens `[b, g * g, c]` to tokens of the same shape.
    fn forward(&self, x: Tensor<B, 3>, grid: usize, precision: Precision) -> Tensor<B, 3> {
        let normed = self.layer_norm1.forward(x.clone(), precision);
        let x = self.attn.forward(normed, x, grid, precision);
        self.mlp.forward_after_norm(x, &self.layer_norm2, precision)
    }
}

/// Attention over windows, or over the whole image, with decomposed relative positions. (`SamVisionAttention`)
#[derive(Module, Debug)]
struct Attention<B: Backend> {
    qkv: Linear<B>,
    proj: Linear<B>,
    /// `[2 side - 1, head]`, by row distance.
    rel_pos_h: Option<Param<Tensor<B, 2>>>,
    /// `[2 side - 1, head]`, by column distance.
    rel_pos_w: Option<Param<Tensor<B, 2>>>,
    heads: usize,
    /// Side of the attention windows in tokens; none where attention is global.
    window: Option<usize>,
}

impl<B: Backend> Attention<B> {
    fn new(config: &SamConfig, window: Option<usize>, device: &B::Device) -> Self {
        let v = &config.vision;
        let (hidden, heads) = (v.hidden_size, v.num_attention_heads);
        let side = window.unwrap_or(config.grid());
        let table = || v.use_rel_pos.then(|| unloaded([2 * side - 1, hidden / heads], device));
        Self {
            qkv: Linear::new(hidden, 3 * hidden, device).with_bias(v.qkv_bias),
            proj: Linear::new(hidden, hidden, device),
            rel_pos_h: table(),
            rel_pos_w: table(),
            heads,
            window,
        }
    }
}

impl<B: Layers> Attention<B> {
    /// Normalised tokens `[b, g * g, c]` to what they attend to, projected and added to `residual` of the same shape.
    ///
    /// Windows at the edges reach over the image. Their tokens there are zeros before the projection, so that their keys and values are
    /// its bias; they are attended to like any other, because checkpoints were trained so.
    fn forward(
        &self,
        normed: Tensor<B, 3>,
        residual: Tensor<B, 3>,
        grid: usize,
        precision: Precision,
    ) -> Tensor<B, 3> {
        let [images, _, channels] = normed.dims();
        let squares =
            Squares { images, grid, window: self.window, heads: self.heads, head: channels / self.heads };
        let qkv = self.qkv.forward(normed, None, Rounding::all(precision));
        let outside = self.qkv.bias.as_ref().map(Param::val);
        let tables = self.rel_pos_h.as_ref().zip(self.rel_pos_w.as_ref());
        let tables = tables.map(|(rows, columns)| [rows.val(), columns.val()]);
        let attended = B::square_attention(qkv, outside, tables, squares, precision);
        self.proj.forward_onto(residual, attended, precision)
    }
}

/// Reduces the channels. (`SamVisionNeck`)
#[derive(Module, Debug)]
struct Neck<B: Backend> {
    conv1: Convolution<B>,
    layer_norm1: LayerNorm<B>,
    conv2: Convolution<B>,
    layer_norm2: LayerNorm<B>,
}

impl<B: Backend> Neck<B> {
    fn new(hidden: usize, channels: usize, device: &B::Device) -> Self {
        Self {
            conv1: Convolution::new([hidden, channels], 1, device).without_bias(),
            layer_norm1: LayerNorm::new(channels, CHANNEL_NORM_EPS, device),
            conv2: Convolution::new([channels, channels], 3, device).without_bias(),
            layer_norm2: LayerNorm::new(channels, CHANNEL_NORM_EPS, device),
        }
    }
}

impl<B: Layers> Neck<B> {
    /// Tokens `[b, g * g, hidden]` to embeddings `[b, C, g, g]`, in single precision.
    fn forward(&self, x: Tensor<B, 3>, grid: usize, precision: Precision) -> Tensor<B, 4> {
        let x = self.layer_norm1.forward(self.conv1.forward_rows(x, precision), precision);
        let x = self.conv2.forward_neighbourhoods(x, grid, precision);
        B::to_planes(self.layer_norm2.forward(x, Precision::F32), grid)
    }
}
