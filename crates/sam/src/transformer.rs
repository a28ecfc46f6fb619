//! The two-way transformer: prompt tokens attend to the image, and the image to the tokens.
//!
//! Reference: `transformers`, `models/sam/modeling_sam.py`, `SamTwoWayTransformer`; `segment_anything/modeling/transformer.py`.

use burn::module::Module;
use burn::tensor::{Tensor, backend::Backend};
use resect_checkpoint::DecoderConfig;
use resect_layers::{LayerNorm, Layers, Linear, Mlp, Rounding};
use resect_numeric::Precision;

/// By how much the attentions inside a block reduce their channels. `transformers` takes only the final attention's rate from
/// the configuration.
const BLOCK_DOWNSAMPLE_RATE: usize = 2;

/// Epsilon of the last norm, which `transformers` leaves at PyTorch's default.
const FINAL_NORM_EPS: f64 = 1e-5;

/// (`SamTwoWayTransformer`)
#[derive(Module, Debug)]
pub(crate) struct TwoWayTransformer<B: Backend> {
    layers: Vec<TwoWayBlock<B>>,
    final_attn_token_to_image: Attention<B>,
    layer_norm_final_attn: LayerNorm<B>,
}

impl<B: Backend> TwoWayTransformer<B> {
    pub(crate) fn new(config: &DecoderConfig, device: &B::Device) -> Self {
        Self {
            layers: (0..config.num_hidden_layers)
                .map(|layer| TwoWayBlock::new(config, layer == 0, device))
                .collect(),
            final_attn_token_to_image: Attention::new(config, config.attention_downsample_rate, device),
            layer_norm_final_attn: LayerNorm::new(config.hidden_size, FINAL_NORM_EPS, device),
        }
    }
}

impl<B: Layers> TwoWayTransformer<B> {
    /// Tokens `[n, t, C]`, image `[n, g * g, C]` and its positions `[1, g * g, C]` to tokens and image of the same shapes.
    ///
    /// The tokens serve as their own positional encoding, throughout.
    pub(crate) fn forward(
        &self,
        tokens: Tensor<B, 3>,
        image: Tensor<B, 3>,
        image_position: Tensor<B, 3>,
        precision: Precision,
    ) -> (Tensor<B, 3>, Tensor<B, 3>) {
        let token_position = tokens.clone();
        let (mut queries, mut keys) = (tokens, image);
        for layer in &self.layers {
            (queries, keys) =
                layer.forward(queries, keys, token_position.clone(), image_position.clone(), precision);
        }
        let attended = self.final_attn_token_to_image.forward(
            B::add(queries.clone(), token_position),
            B::add(keys.clone(), image_position),
            keys.clone(),
            precision,
        );
        (self.layer_norm_final_attn.forward_sum(queries, attended), keys)
    }
}

/// Four post-norm steps: tokens to tokens, tokens to image, an MLP on the tokens, image to tokens.
/// (`SamTwoWayAttentionBlock`)
#[derive(Module, Debug)]
struct TwoWayBlock<B: Backend> {
    self_attn: Attention<B>,
    layer_norm1: LayerNorm<B>,
    cross_attn_token_to_image: Attention<B>,
    layer_norm2: LayerNorm<B>,
    mlp: Mlp<B>,
    layer_norm3: LayerNorm<B>,
    layer_norm4: LayerNorm<B>,
    cross_attn_image_to_token: Attention<B>,
    /// The first block's tokens are still their own positions: its self-attention adds none, and replaces its input.
    first: bool,
}

impl<B: Backend> TwoWayBlock<B> {
    fn new(config: &DecoderConfig, first: bool, device: &B::Device) -> Self {
        let norm = || LayerNorm::new(config.hidden_size, config.layer_norm_eps, device);
        Self {
            self_attn: Attention::new(config, 1, device),
            layer_norm1: norm(),
            cross_attn_token_to_image: Attention::new(config, BLOCK_DOWNSAMPLE_RATE, device),
            layer_norm2: norm(),
            mlp: Mlp::new(config.hidden_size, config.mlp_dim, config.hidden_act, device),
            layer_norm3: norm(),
            layer_norm4: norm(),
            cross_attn_image_to_token: Attention::new(config, BLOCK_DOWNSAMPLE_RATE, device),
            first,
        }
    }
}

impl<B: Layers> TwoWayBlock<B> {
    fn forward(
        &self,
        queries: Tensor<B, 3>,
        keys: Tensor<B, 3>,
        query_position: Tensor<B, 3>,
        key_position: Tensor<B, 3>,
        precision: Precision,
    ) -> (Tensor<B, 3>, Tensor<B, 3>) {
        let queries = if self.first {
            let attended = self.self_attn.forward(queries.clone(), queries.clone(), queries, precision);
            self.layer_norm1.forward(attended, Precision::F32)
        } else {
            let placed = B::add(queries.clone(), query_position.clone());
            let attended = self.self_attn.forward(placed.clone(), placed, queries.clone(), precision);
            self.layer_norm1.forward_sum(queries, attended)
        };

        // Positions tell where to look, so they are added to queries and keys and never to values.
        let placed_keys = B::add(keys.clone(), key_position);
        let attended = self.cross_attn_token_to_image.forward(
            B::add(queries.clone(), query_position.clone()),
            placed_keys.clone(),
            keys.clone(),
            precision,
        );
        let queries = self.layer_norm2.forward_sum(queries, attended);

        let hidden = self.mlp.forward(queries.clone(), precision);
        let queries = self.layer_norm3.forward_sum(queries, hidden);

        let attended = self.cross_attn_image_to_token.forward(
            placed_keys,
            B::add(queries.clone(), query_position),
            queries.clone(),
            precision,
        );
        (queries, self.layer_norm4.forward_sum(keys, attended))
    }
}

/// Attention that may work in fewer channels than its input has. (`SamAttention`)
#[derive(Module, Debug)]
struct Attention<B: Backend> {
    q_proj: Linear<B>,
    k_proj: Linear<B>,
    v_proj: Linear<B>,
    out_proj: Linear<B>,
    heads: usize,
}

impl<B: Backend> Attention<B> {
    fn new(config: &DecoderConfig, downsample_rate: usize, device: &B::Device) -> Self {
        let (outer, inner) = (config.hidden_size, config.hidden_size / downsample_rate);
        let projection = |from, to| Linear::new(from, to, device);
        Self {
            q_proj: projection(outer, inner),
            k_proj: projection(outer, inner),
            v_proj: projection(outer, inner),
            out_proj: projection(inner, outer),
            heads: config.num_attention_heads,
        }
    }
}

impl<B: Layers> Attention<B> {
    /// Queries `[n, q, C]`, keys and values `[n, k, C]` to `[n, q, C]`.
    fn forward(
        &self,
        queries: Tensor<B, 3>,
        keys: Tensor<B, 3>,
        values: Tensor<B, 3>,
        precision: Precision,
    ) -> Tensor<B, 3> {
        let rounding = Rounding::operands(precision);
        let [q, k, v] = [(&self.q_proj, queries), (&self.k_proj, keys), (&self.v_proj, values)]
            .map(|(layer, x)| layer.forward(x, None, rounding));
        self.out_proj.forward(B::cross_attention(q, k, v, self.heads, precision), None, rounding)
    }
}
