//! The image encoder: a vision transformer with windowed and global attention, and a neck that reduces the channels.
//!
//! Reference: `transformers`, `models/sam/modeling_sam.py`, `SamVisionEncoder`; `segment_anything/modeling/image_encoder.py`.

use std::ops::Range;

use burn::module::{Module, Param};
use burn::tensor::{FloatDType, Tensor, backend::Backend};
use resect_checkpoint::{Checkpoint, SamConfig};
use resect_layers::{
    CHANNEL_NORM_EPS, Convolution, Factors, LayerNorm, Layers, Linear, LoadError, LowRank, Mlp, Rounding,
    Source, Squares, load_module, unloaded,
};
use resect_numeric::{BlockLayer, Place, Precision};

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
    /// An encoder of the right shape whose parameters are not loaded yet.
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

impl<B: Backend> ImageEncoder<B> {
    /// Adds a low-rank addition to a layer of a block. Its parameters are not loaded yet.
    ///
    /// # Panics
    /// When there is no such block.
    pub fn add_low_rank(&mut self, block: usize, layer: BlockLayer, addition: LowRank<B>) {
        let Block { attn, mlp, .. } = &mut self.layers[block];
        let [lin1, lin2] = mlp.layers_mut();
        let place = match layer {
            BlockLayer::Qkv => &mut attn.qkv.lora,
            BlockLayer::Q => &mut attn.q,
            BlockLayer::K => &mut attn.k,
            BlockLayer::V => &mut attn.v,
            BlockLayer::Proj => &mut attn.proj.lora,
            BlockLayer::Lin1 => &mut lin1.lora,
            BlockLayer::Lin2 => &mut lin2.lora,
        };
        *place = Some(addition);
    }
}

/// The shape of an image's features at a place, as [`ImageEncoder::forward_to`] gives them.
pub fn feature_shape(config: &SamConfig, place: Place) -> [usize; 3] {
    let (side, grid) = (config.image_size(), config.grid());
    match place {
        Place::Pixels => [config.vision.num_channels, side, side],
        Place::Block(_) => [grid, grid, config.vision.hidden_size],
        Place::Neck => [config.embedding_channels(), grid, grid],
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
            for layer in [&mut attn.qkv, &mut attn.proj].into_iter().chain(mlp.layers_mut()) {
                store(&mut layer.weight, format);
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
        self.forward_from(Place::Pixels, pixels)
    }

    /// Features at a place, as [`ImageEncoder::forward_to`] gives them, to embeddings `[b, C, g, g]`.
    ///
    /// # Panics
    /// As [`ImageEncoder::forward`]; with a block that the encoder does not have.
    pub fn forward_from(&self, place: Place, features: Tensor<B, 4>) -> Tensor<B, 4> {
        let (first, tokens) = match place {
            Place::Neck => return features,
            Place::Pixels => (0, self.forward_patches(features)),
            Place::Block(first) => {
                let [images, height, width, hidden] = features.dims();
                (first, features.reshape([images, height * width, hidden]))
            }
        };
        self.forward_neck(self.forward_blocks(tokens, first..self.layers.len()))
    }

    /// Pixels `[b, 3, S, S]` to the features at a place: themselves, the tokens that enter a block `[b, g, g, hidden]`, or embeddings
    /// `[b, C, g, g]`.
    ///
    /// # Panics
    /// As [`ImageEncoder::forward_from`].
    pub fn forward_to(&self, place: Place, pixels: Tensor<B, 4>) -> Tensor<B, 4> {
        match place {
            Place::Pixels => pixels,
            Place::Neck => self.forward(pixels),
            Place::Block(block) => {
                let tokens = self.forward_blocks(self.forward_patches(pixels), 0..block);
                let [images, count, hidden] = tokens.dims();
                let grid = count.isqrt();
                tokens.reshape([images, grid, grid, hidden])
            }
        }
    }

    /// Pixels `[b, 3, S, S]` to the tokens that enter the first block, `[b, g * g, hidden]`.
    fn forward_patches(&self, pixels: Tensor<B, 4>) -> Tensor<B, 3> {
        let x = self.patch_embed.projection.forward_patches(pixels, self.precision);
        match &self.pos_embed {
            Some(position) => {
                let [_, tokens, channels] = x.dims();
                B::add(x, position.val().reshape([1, tokens, channels]))
            }
            None => x,
        }
    }

    /// Tokens `[b, g * g, hidden]` that enter the first of `blocks` to those that leave the last one.
    fn forward_blocks(&self, tokens: Tensor<B, 3>, blocks: Range<usize>) -> Tensor<B, 3> {
        let grid = tokens.dims()[1].isqrt();
        self.layers[blocks].iter().fold(tokens, |x, block| block.forward(x, grid, self.precision))
    }

    /// Tokens `[b, g * g, hidden]` that leave the last block to embeddings `[b, C, g, g]`.
    fn forward_neck(&self, tokens: Tensor<B, 3>) -> Tensor<B, 4> {
        let grid = tokens.dims()[1].isqrt();
        self.neck.forward(tokens, grid, self.precision)
    }
}

/// Stores a weight in a format, if it is loaded. What learns is the stored weight.
fn store<B: Backend, const D: usize>(weight: &mut Param<Tensor<B, D>>, format: FloatDType) {
    if !weight.is_initialized() {
        return;
    }
    *weight = Param::from_tensor(weight.val().cast(format).detach());
}

/// (`SamPatchEmbeddings`)
#[derive(Module, Debug)]
struct PatchEmbedding<B: Backend> {
    projection: Convolution<B>,
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
    /// Low-rank additions to the parts of `qkv`.
    q: Option<LowRank<B>>,
    k: Option<LowRank<B>>,
    v: Option<LowRank<B>>,
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
            q: None,
            k: None,
            v: None,
            proj: Linear::new(hidden, hidden, device),
            rel_pos_h: table(),
            rel_pos_w: table(),
            heads,
            window,
        }
    }
}

impl<B: Layers> Attention<B> {
    /// The additions to the weight of queries, keys and values, of `channels` each.
    fn update(&self, channels: usize) -> Option<Factors<B>> {
        let whole = self.qkv.lora.as_ref().map(|lora| (0, lora.factors()));
        let parts = [&self.q, &self.k, &self.v].into_iter().enumerate();
        let parts = parts.filter_map(|(i, part)| Some((i * channels, part.as_ref()?.factors())));
        Factors::sum(whole.into_iter().chain(parts).collect(), 3 * channels)
    }

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
        let qkv = self.qkv.forward_updated(normed, self.update(channels), None, Rounding::all(precision));
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
