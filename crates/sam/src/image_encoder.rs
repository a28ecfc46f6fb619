//! The image encoder: a vision transformer with windowed and global attention, and a neck that reduces the channels.
//!
//! Reference: `transformers`, `models/sam/modeling_sam.py`, `SamVisionEncoder`; `segment_anything/modeling/image_encoder.py`.

use burn::module::{Module, Param};
use burn::tensor::activation::softmax;
use burn::tensor::{Int, Tensor, backend::Backend};
use burn_nn::conv::{Conv2d, Conv2dConfig};
use burn_nn::{LayerNorm, Linear, LinearConfig, PaddingConfig2d};
use resect_checkpoint::SamConfig;
use resect_params::Precision;

use crate::layers::{
    CHANNEL_NORM_EPS, Mlp, channel_norm, convolution, layer_norm, linear, product, unloaded,
};

/// How many attention scores are held at once, per image: 32 MiB of f32. ViT-B's global attention has 201 million.
pub(crate) const SCORES_AT_ONCE: usize = 8 << 20;

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

    /// The same encoder, with the operands of its products and convolutions rounded to `precision`. As built it rounds nothing.
    pub fn with_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// Pixels `[b, 3, S, S]`, normalised and padded ([`crate::normalise`]), to embeddings `[b, C, g, g]`.
    ///
    /// Images run one after the other, so neither memory nor any bit of the result depends on how many there are.
    ///
    /// # Panics
    /// Where burn does: pixels of another size than the configuration's, or no image at all.
    pub fn forward(&self, pixels: Tensor<B, 4>) -> Tensor<B, 4> {
        let images = pixels.dims()[0];
        Tensor::cat((0..images).map(|i| self.embed(pixels.clone().slice_dim(0, i..i + 1))).collect(), 0)
    }

    /// One image, `[1, 3, S, S]`, to its embedding `[1, C, g, g]`.
    fn embed(&self, pixels: Tensor<B, 4>) -> Tensor<B, 4> {
        let x = convolution(&self.patch_embed.projection, pixels, self.precision);
        let mut x = x.permute([0, 2, 3, 1]);
        if let Some(position) = &self.pos_embed {
            x = x + position.val();
        }
        for block in &self.layers {
            x = block.forward(x, self.precision);
        }
        self.neck.forward(x, self.precision)
    }
}

/// (`SamPatchEmbeddings`)
#[derive(Module, Debug)]
struct PatchEmbedding<B: Backend> {
    projection: Conv2d<B>,
}

/// A transformer block. (`SamVisionLayer`)
#[derive(Module, Debug)]
struct Block<B: Backend> {
    layer_norm1: LayerNorm<B>,
    attn: Attention<B>,
    layer_norm2: LayerNorm<B>,
    mlp: Mlp<B>,
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
            window,
        }
    }

    /// Tokens `[b, h, w, c]` to tokens of the same shape.
    fn forward(&self, x: Tensor<B, 4>, precision: Precision) -> Tensor<B, 4> {
        let [_, h, w, _] = x.dims();
        let normed = self.layer_norm1.forward(x.clone());
        let attended = match self.window {
            Some(window) => unwindowed(self.attn.forward(windowed(normed, window), precision), [h, w]),
            None => self.attn.forward(normed, precision),
        };
        let x = x + attended;
        let normed = self.layer_norm2.forward(x.clone());
        x + self.mlp.infer(normed, precision)
    }
}

/// Cuts `[b, h, w, c]` into windows `[b * windows, side, side, c]`, row by row.
///
/// What is missing on the right and bottom is filled with zeros. This happens after the norm, so the zeros are keys and values
/// like any other; checkpoints were trained so.
fn windowed<B: Backend>(x: Tensor<B, 4>, side: usize) -> Tensor<B, 4> {
    let [b, h, w, c] = x.dims();
    let (rows, cols) = (h.div_ceil(side), w.div_ceil(side));
    x.pad([(0, rows * side - h), (0, cols * side - w), (0, 0)], 0.0)
        .reshape([b, rows, side, cols, side, c])
        .swap_dims(2, 3)
        .reshape([b * rows * cols, side, side, c])
}

/// Undoes [`windowed`] for images of `h` by `w` tokens.
fn unwindowed<B: Backend>(x: Tensor<B, 4>, [h, w]: [usize; 2]) -> Tensor<B, 4> {
    let [n, side, _, c] = x.dims();
    let (rows, cols) = (h.div_ceil(side), w.div_ceil(side));
    let b = n / (rows * cols);
    x.reshape([b, rows, cols, side, side, c])
        .swap_dims(2, 3)
        .reshape([b, rows * side, cols * side, c])
        .slice([0..b, 0..h, 0..w, 0..c])
}

/// Attention over a square of tokens, with decomposed relative positions. (`SamVisionAttention`)
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

    /// Squares of tokens `[n, s, s, c]` to tokens of the same shape, each attending to its own square.
    ///
    /// The score of query `q` at `(y, x)` and key `k` at `(y', x')` is `scale q.k + q.R_h[y - y'] + q.R_w[x - x']`. It is
    /// computed as one product, of the query `[scale q, q.R_h, q.R_w]` with the key `[k, onehot(y'), onehot(x')]`, for a block
    /// of queries at a time: the whole score matrix of a large image would not fit, and adding positions to it would be slower
    /// than the product. In a narrower precision the positions' share is an operand and rounded as such.
    fn forward(&self, x: Tensor<B, 4>, precision: Precision) -> Tensor<B, 4> {
        let [n, s, _, c] = x.dims();
        let (heads, head, tokens) = (self.heads, c / self.heads, s * s);
        let qkv = linear(&self.qkv, x.reshape([n * tokens, c]), precision)
            .reshape([n, tokens, 3, heads, head])
            .permute([2, 0, 3, 1, 4])
            .reshape([3, n * heads, tokens, head]);
        let part = |i: usize| qkv.clone().slice_dim(0, i..i + 1).reshape([n * heads, tokens, head]);
        let (q, k, v) = (part(0), part(1), part(2));

        let scaled = q.clone().mul_scalar((head as f64).powf(-0.5));
        let (queries, keys) = match (&self.rel_pos_h, &self.rel_pos_w) {
            (Some(rel_h), Some(rel_w)) => {
                let q = q.reshape([n * heads, s, s, head]);
                let along_h = relative_scores(q.clone(), rel_h.val(), precision);
                let along_w = relative_scores(q.swap_dims(1, 2), rel_w.val(), precision).swap_dims(1, 2);
                let positions = Tensor::cat(vec![along_h, along_w], 3).reshape([n * heads, tokens, 2 * s]);
                let places = coordinates(s, &k.device()).expand([n * heads, tokens, 2 * s]);
                (Tensor::cat(vec![scaled, positions], 2), Tensor::cat(vec![k, places], 2))
            }
            _ => (scaled, k),
        };
        let attended = attend(queries, keys.swap_dims(1, 2), v, SCORES_AT_ONCE, precision);
        let merged = attended.reshape([n, heads, tokens, head]).swap_dims(1, 2).reshape([n * tokens, c]);
        linear(&self.proj, merged, precision).reshape([n, s, s, c])
    }
}

/// `softmax(q k) v` for `q [m, t, e]`, `k [m, e, t]` and `v [m, t, d]`, with at most so many scores in memory (and at least one
/// row of each `m`). Queries do not see one another, so how they are divided does not change what is computed.
fn attend<B: Backend>(
    q: Tensor<B, 3>,
    k: Tensor<B, 3>,
    v: Tensor<B, 3>,
    scores_at_once: usize,
    precision: Precision,
) -> Tensor<B, 3> {
    let [m, t, _] = q.dims();
    let rows = |q: Tensor<B, 3>, k: Tensor<B, 3>, v: Tensor<B, 3>| {
        product(softmax(product(q, k, precision), 2), v, precision)
    };
    let whole = scores_at_once / (t * t);
    if whole >= m {
        return rows(q, k, v);
    }
    if whole >= 1 {
        // Small squares, many of them: some whole squares at a time.
        let some = |x: &Tensor<B, 3>, i: usize| x.clone().slice_dim(0, i..(i + whole).min(m));
        return Tensor::cat(
            (0..m).step_by(whole).map(|i| rows(some(&q, i), some(&k, i), some(&v, i))).collect(),
            0,
        );
    }
    let step = (scores_at_once / (m * t)).max(1);
    let blocks = (0..t).step_by(step).map(|i| {
        let some = q.clone().slice_dim(1, i..(i + step).min(t));
        rows(some, k.clone(), v.clone())
    });
    Tensor::cat(blocks.collect(), 1)
}

/// Scores of queries `[m, s, s', d]` against every distance along their second axis: `[m, s, s', s]`, element
/// `(i, j, k)` being the product of query `(i, j)` with the table's row for the distance `i - k`.
fn relative_scores<B: Backend>(q: Tensor<B, 4>, table: Tensor<B, 2>, precision: Precision) -> Tensor<B, 4> {
    let [_, s, _, d] = q.dims();
    let rows: Vec<i32> =
        (0..s as i32).flat_map(|i| (0..s as i32).map(move |k| i - k + s as i32 - 1)).collect();
    let rows = Tensor::<B, 1, Int>::from_data(rows.as_slice(), &q.device());
    let table = resized(table, 2 * s - 1).select(0, rows).reshape([1, s, s, d]);
    product(q, table.swap_dims(2, 3), precision)
}

/// Interpolates a table `[length, d]` linearly to another length; sample centres are aligned, not corners.
///
/// A model run on another grid than it was trained on needs this. (`get_rel_pos`, `F.interpolate(mode="linear")`)
fn resized<B: Backend>(table: Tensor<B, 2>, length: usize) -> Tensor<B, 2> {
    let [found, _] = table.dims();
    if found == length {
        return table;
    }
    let ratio = found as f32 / length as f32;
    let source = |i: usize| ((i as f32 + 0.5) * ratio - 0.5).max(0.0);
    let below: Vec<i32> = (0..length).map(|i| source(i) as i32).collect();
    let above: Vec<i32> = below.iter().map(|&i| (i + 1).min(found as i32 - 1)).collect();
    let weight: Vec<f32> = (0..length).map(|i| source(i).fract()).collect();
    let device = table.device();
    let pick = |rows: &[i32]| table.clone().select(0, Tensor::<B, 1, Int>::from_data(rows, &device));
    let weight = Tensor::<B, 1>::from_data(weight.as_slice(), &device).reshape([length, 1]);
    let (below, above) = (pick(&below), pick(&above));
    below.clone() * weight.clone().neg().add_scalar(1.0) + above * weight
}

/// For every token of a square, its row and its column as two one-hot vectors: `[1, s * s, 2 s]`.
fn coordinates<B: Backend>(s: usize, device: &B::Device) -> Tensor<B, 3> {
    let mut hot = vec![0f32; s * s * 2 * s];
    for (token, place) in hot.chunks_exact_mut(2 * s).enumerate() {
        place[token / s] = 1.0;
        place[s + token % s] = 1.0;
    }
    Tensor::<B, 1>::from_data(hot.as_slice(), device).reshape([1, s * s, 2 * s])
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
        Self {
            conv1: Conv2dConfig::new([hidden, channels], [1, 1]).with_bias(false).init(device),
            layer_norm1: layer_norm(channels, CHANNEL_NORM_EPS, device),
            conv2: Conv2dConfig::new([channels, channels], [3, 3])
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                .with_bias(false)
                .init(device),
            layer_norm2: layer_norm(channels, CHANNEL_NORM_EPS, device),
        }
    }

    /// Tokens `[b, g, g, hidden]` to embeddings `[b, C, g, g]`.
    fn forward(&self, x: Tensor<B, 4>, precision: Precision) -> Tensor<B, 4> {
        let x = convolution(&self.conv1, x.permute([0, 3, 1, 2]), precision);
        let x = channel_norm(&self.layer_norm1, x);
        channel_norm(&self.layer_norm2, convolution(&self.conv2, x, precision))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cpu;

    #[test]
    fn windows_pad_with_zeros_and_come_apart_again() {
        let x = Tensor::<Cpu, 1, Int>::arange(1..3 * 5 * 2 + 1, &Default::default())
            .float()
            .reshape([1, 3, 5, 2]);
        let windows = windowed(x.clone(), 2);
        assert_eq!(windows.dims(), [6, 2, 2, 2]);
        let corner = windows.clone().slice([5..6, 0..2, 0..2, 0..2]).into_data().to_vec::<f32>().unwrap();
        assert_eq!(corner, [29.0, 30.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(unwindowed(windows, [3, 5]).into_data(), x.into_data());
    }

    #[test]
    fn attention_in_blocks_is_attention() {
        let device = Default::default();
        let draw = |shape: [usize; 3], step: f32| {
            let values: Vec<f32> =
                (0..shape.iter().product()).map(|i| (i as f32 * step).sin() * 2.0).collect();
            Tensor::<Cpu, 1>::from_data(values.as_slice(), &device).reshape(shape)
        };
        let (q, k, v) = (draw([5, 6, 3], 0.7), draw([5, 3, 6], 1.3), draw([5, 6, 4], 2.9));
        let attended = |scores| {
            let attended = attend(q.clone(), k.clone(), v.clone(), scores, Precision::F32);
            attended.into_data().to_vec::<f32>().unwrap()
        };
        let whole = attended(usize::MAX);
        for scores in [1, 30, 35, 36, 100, 180] {
            let close = attended(scores).iter().zip(&whole).all(|(a, b)| (a - b).abs() < 1e-6);
            assert!(close, "at most {scores} scores");
        }
    }

    #[test]
    fn tables_are_resized_as_by_torch() {
        // torch.nn.functional.interpolate(torch.tensor([[[0., 1., 4., 9., 16.]]]), size=n, mode="linear")
        let table = Tensor::<Cpu, 2>::from_data([[0.0], [1.0], [4.0], [9.0], [16.0]], &Default::default());
        for (length, expected) in [
            (3, vec![0.333_333_4, 4.0, 13.666_667]),
            (5, vec![0.0, 1.0, 4.0, 9.0, 16.0]),
            (7, vec![0.0, 0.571_428_54, 1.857_142_8, 4.0, 7.571_429, 12.0, 16.0]),
        ] {
            let found = resized(table.clone(), length).into_data().to_vec::<f32>().unwrap();
            let close = found.iter().zip(&expected).all(|(a, b): (&f32, &f32)| (a - b).abs() < 1e-5);
            assert!(close && found.len() == length, "{length}: {found:?}");
        }
    }
}
