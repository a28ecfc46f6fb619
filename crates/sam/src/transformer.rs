//! The two-way transformer: prompt tokens attend to the image, and the image to the tokens.
//!
//! Reference: `transformers`, `models/sam/modeling_sam.py`, `SamTwoWayTransformer`; `segment_anything/modeling/transformer.py`.

use burn::module::Module;
use burn::tensor::{Tensor, backend::Backend};
use burn_nn::{LayerNorm, Linear, LinearConfig};
use resect_checkpoint::DecoderConfig;
use resect_numeric::Precision;

use crate::DecoderBackend;
use crate::layers::{Mlp, layer_norm, linear, norm};

/// By how much the attentions inside a block reduce their channels. `transformers` takes only the final attention's rate from
/// the configuration.
const BLOCK_DOWNSAMPLE_RATE: usize = 2;

/// Epsilon of the last norm, which `transformers` leaves at PyTorch's default.
pub(crate) const FINAL_NORM_EPS: f64 = 1e-5;

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
            layer_norm_final_attn: layer_norm(config.hidden_size, FINAL_NORM_EPS, device),
        }
    }

    /// Tokens `[n, t, C]`, image `[n, g * g, C]` and its positions `[1, g * g, C]` to tokens and image of the same shapes.
    ///
    /// The tokens serve as their own positional encoding, throughout.
    pub(crate) fn forward(
        &self,
        tokens: Tensor<B, 3>,
        image: Tensor<B, 3>,
        image_position: Tensor<B, 3>,
        precision: Precision,
    ) -> (Tensor<B, 3>, Tensor<B, 3>)
    where
        B: DecoderBackend,
    {
        let token_position = tokens.clone();
        let (mut queries, mut keys) = (tokens, image);
        for layer in &self.layers {
            (queries, keys) =
                layer.forward(queries, keys, token_position.clone(), image_position.clone(), precision);
        }
        let attended = self.final_attn_token_to_image.forward(
            queries.clone() + token_position,
            keys.clone() + image_position,
            keys.clone(),
            precision,
        );
        (norm(&self.layer_norm_final_attn, FINAL_NORM_EPS, queries + attended), keys)
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
    /// Of its norms.
    epsilon: f64,
    /// The first block's tokens are still their own positions: its self-attention adds none, and replaces its input.
    first: bool,
}

impl<B: Backend> TwoWayBlock<B> {
    fn new(config: &DecoderConfig, first: bool, device: &B::Device) -> Self {
        let norm = || layer_norm(config.hidden_size, config.layer_norm_eps, device);
        Self {
            self_attn: Attention::new(config, 1, device),
            layer_norm1: norm(),
            cross_attn_token_to_image: Attention::new(config, BLOCK_DOWNSAMPLE_RATE, device),
            layer_norm2: norm(),
            mlp: Mlp::new(config.hidden_size, config.mlp_dim, config.hidden_act, device),
            layer_norm3: norm(),
            layer_norm4: norm(),
            cross_attn_image_to_token: Attention::new(config, BLOCK_DOWNSAMPLE_RATE, device),
            epsilon: config.layer_norm_eps,
            first,
        }
    }

    fn forward(
        &self,
        queries: Tensor<B, 3>,
        keys: Tensor<B, 3>,
        query_position: Tensor<B, 3>,
        key_position: Tensor<B, 3>,
        precision: Precision,
    ) -> (Tensor<B, 3>, Tensor<B, 3>)
    where
        B: DecoderBackend,
    {
        let queries = if self.first {
            self.self_attn.forward(queries.clone(), queries.clone(), queries, precision)
        } else {
            let placed = queries.clone() + query_position.clone();
            queries.clone() + self.self_attn.forward(placed.clone(), placed, queries, precision)
        };
        let queries = norm(&self.layer_norm1, self.epsilon, queries);

        // Positions tell where to look, so they are added to queries and keys and never to values.
        let placed_keys = keys.clone() + key_position;
        let attended = self.cross_attn_token_to_image.forward(
            queries.clone() + query_position.clone(),
            placed_keys.clone(),
            keys.clone(),
            precision,
        );
        let queries = norm(&self.layer_norm2, self.epsilon, queries + attended);

        let queries =
            norm(&self.layer_norm3, self.epsilon, queries.clone() + self.mlp.forward(queries, precision));

        let attended = self.cross_attn_image_to_token.forward(
            placed_keys,
            queries.clone() + query_position,
            queries.clone(),
            precision,
        );
        (queries, norm(&self.layer_norm4, self.epsilon, keys + attended))
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
        let projection = |from, to| LinearConfig::new(from, to).init(device);
        Self {
            q_proj: projection(outer, inner),
            k_proj: projection(outer, inner),
            v_proj: projection(outer, inner),
            out_proj: projection(inner, outer),
            heads: config.num_attention_heads,
        }
    }

    /// Queries `[n, q, C]`, keys and values `[n, k, C]` to `[n, q, C]`.
    fn forward(
        &self,
        queries: Tensor<B, 3>,
        keys: Tensor<B, 3>,
        values: Tensor<B, 3>,
        precision: Precision,
    ) -> Tensor<B, 3>
    where
        B: DecoderBackend,
    {
        let project = |layer, x| linear(layer, x, None, precision);
        let (q, k) = (project(&self.q_proj, queries), project(&self.k_proj, keys));
        let attended = B::attention_layer(q, k, project(&self.v_proj, values), self.heads, precision);
        project(&self.out_proj, attended)
    }
}
