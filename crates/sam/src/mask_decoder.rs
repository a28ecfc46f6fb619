//! The mask decoder: image embedding and prompts to masks and their estimated quality. The part that is fine-tuned.
//!
//! Reference: `transformers`, `models/sam/modeling_sam.py`, `SamMaskDecoder`; `segment_anything/modeling/mask_decoder.py`.

use std::ops::Range;

use burn::module::Module;
use burn::tensor::{Tensor, backend::Backend};
use resect_checkpoint::SamConfig;
use resect_layers::{CHANNEL_NORM_EPS, Embedding, FeedForward, LayerNorm, Layers, Upscaling};
use resect_numeric::{Activation, Precision};

use crate::prompt_encoder::PromptEmbeddings;
use crate::transformer::TwoWayTransformer;

/// Linear layers of a hypernetwork.
const HYPERNETWORK_DEPTH: usize = 3;

/// What the decoder predicts.
#[derive(Debug, Clone)]
pub struct MaskOutput<B: Backend> {
    /// Mask logits `[n, m, 4g, 4g]`; the object is where they are positive. They cover the padded model input.
    pub low_res_logits: Tensor<B, 4>,
    /// Estimated intersection over union of each mask with the object, `[n, m]`; a regression, not bound to `[0, 1]`.
    pub iou_scores: Tensor<B, 2>,
}

/// Predicts masks. (`SamMaskDecoder`)
#[derive(Module, Debug)]
pub struct MaskDecoder<B: Backend> {
    iou_token: Embedding<B>,
    mask_tokens: Embedding<B>,
    transformer: TwoWayTransformer<B>,
    upscale_conv1: Upscaling<B>,
    upscale_layer_norm: LayerNorm<B>,
    upscale_conv2: Upscaling<B>,
    output_hypernetworks_mlps: Vec<FeedForward<B>>,
    iou_prediction_head: FeedForward<B>,
    /// To what operands of products are rounded.
    precision: Precision,
}

impl<B: Backend> MaskDecoder<B> {
    /// A decoder of the right shape whose parameters are not loaded yet.
    pub fn new(config: &SamConfig, device: &B::Device) -> Self {
        let d = &config.decoder;
        let (hidden, masks) = (d.hidden_size, d.num_multimask_outputs + 1);
        Self {
            iou_token: Embedding::new(1, hidden, device),
            mask_tokens: Embedding::new(masks, hidden, device),
            transformer: TwoWayTransformer::new(d, device),
            upscale_conv1: Upscaling::new([hidden, hidden / 4], device),
            upscale_layer_norm: LayerNorm::new(hidden / 4, CHANNEL_NORM_EPS, device),
            upscale_conv2: Upscaling::new([hidden / 4, hidden / 8], device),
            output_hypernetworks_mlps: (0..masks)
                .map(|_| FeedForward::new(hidden, hidden, hidden / 8, HYPERNETWORK_DEPTH, device))
                .collect(),
            iou_prediction_head: FeedForward::new(
                hidden,
                d.iou_head_hidden_dim,
                masks,
                d.iou_head_depth,
                device,
            ),
            precision: Precision::F32,
        }
    }

    /// The same decoder, with the operands of its products rounded to `precision`. As built it rounds nothing.
    pub fn with_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }
}

impl<B: Layers> MaskDecoder<B> {
    /// Predicts masks and their scores for `n` prompts.
    ///
    /// `image_embeddings` is `[n, C, g, g]`, one per prompt ([`crate::repeat_per_prompt`]); `image_position` is `[1, C, g, g]`
    /// ([`crate::PromptEncoder::image_positional_encoding`]). With `multimask` the output is the masks 1 to 3, the parts of an
    /// ambiguous object; without it mask 0, the best single one.
    ///
    /// # Panics
    /// Where burn does: shapes that do not fit the configuration or one another.
    pub fn forward(
        &self,
        image_embeddings: Tensor<B, 4>,
        image_position: Tensor<B, 4>,
        prompts: &PromptEmbeddings<B>,
        multimask: bool,
    ) -> MaskOutput<B> {
        let masks = if multimask { 1..self.output_hypernetworks_mlps.len() } else { 0..1 };
        let (tokens, image, grid) = self.transform(image_embeddings, image_position, prompts);
        let [n, _, channels] = tokens.dims();
        let iou_token = tokens.clone().slice_dim(1, 0..1).reshape([n, channels]);
        let iou_scores =
            self.iou_prediction_head.forward(iou_token, self.precision).slice_dim(1, masks.clone());
        MaskOutput { low_res_logits: self.masks(tokens, image, grid, masks), iou_scores }
    }

    /// The logits of [`MaskDecoder::forward`] without `multimask`, `[n, 1, 4g, 4g]`, and nothing else: what training needs.
    ///
    /// The hypernetworks of the other masks and the IoU head are not run, so they get no gradients; see [`is_idle`].
    ///
    /// # Panics
    /// As [`MaskDecoder::forward`].
    pub fn forward_single_mask(
        &self,
        image_embeddings: Tensor<B, 4>,
        image_position: Tensor<B, 4>,
        prompts: &PromptEmbeddings<B>,
    ) -> Tensor<B, 4> {
        let (tokens, image, grid) = self.transform(image_embeddings, image_position, prompts);
        self.masks(tokens, image, grid, 0..1)
    }

    /// Runs the transformer: tokens `[n, 1 + masks + t, C]`, image `[n, g * g, C]` and the grid `[g, g]`.
    fn transform(
        &self,
        image_embeddings: Tensor<B, 4>,
        image_position: Tensor<B, 4>,
        prompts: &PromptEmbeddings<B>,
    ) -> (Tensor<B, 3>, Tensor<B, 3>, [usize; 2]) {
        let [n, c, h, w] = image_embeddings.dims();
        let own = Tensor::cat(vec![self.iou_token.weight.val(), self.mask_tokens.weight.val()], 0);
        let [count, _] = own.dims();
        let own = own.reshape([1, count, c]).expand([n, count, c]);
        let tokens = match &prompts.sparse {
            Some(sparse) => Tensor::cat(vec![own, sparse.clone()], 1),
            None => own,
        };
        let image = B::to_rows(image_embeddings, Some(prompts.dense.clone()));
        let position = B::to_rows(image_position, None);
        let (tokens, image) = self.transformer.forward(tokens, image, position, self.precision);
        (tokens, image, [h, w])
    }

    /// The logits of some masks: the product of the upscaled image with what their hypernetworks make of their tokens.
    fn masks(
        &self,
        tokens: Tensor<B, 3>,
        image: Tensor<B, 3>,
        [h, w]: [usize; 2],
        masks: Range<usize>,
    ) -> Tensor<B, 4> {
        let [n, _, channels] = tokens.dims();
        let weights = masks.map(|mask| {
            let token = tokens.clone().slice_dim(1, 1 + mask..2 + mask).reshape([n, channels]);
            self.output_hypernetworks_mlps[mask].forward(token, self.precision)
        });
        let weights = Tensor::stack::<3>(weights.collect(), 1);

        // The two places within a quad that each upscaling adds stay behind the grid's until the logits, which are few, are put in
        // order.
        let x = self.upscale_conv1.forward(image, None, self.precision);
        let x = self.upscale_layer_norm.forward_activated(x, Activation::Gelu);
        let x = self.upscale_conv2.forward(x, Some(Activation::Gelu), self.precision);
        B::masks(weights, x, [h, w], self.precision)
    }
}

/// Whether a parameter, by its Hugging Face name, belongs to a hypernetwork that the single mask does not pass.
///
/// In PyTorch these get gradients of zero from that mask, because it is cut from all masks, and AdamW's weight decay shrinks what
/// has a gradient. The IoU head gets none at all, and stays as it came.
pub fn is_idle(name: &str) -> bool {
    let network = name.strip_prefix("mask_decoder.output_hypernetworks_mlps.");
    network.is_some_and(|network| !network.starts_with("0."))
}

/// Whether a parameter, by its Hugging Face name, is an operand of a product: the weights of linear layers and transposed
/// convolutions, but no bias, norm or token.
pub fn is_operand(name: &str) -> bool {
    let name = name.rsplit_once('.').and_then(|(layer, kind)| (kind == "weight").then_some(layer));
    name.is_some_and(|layer| {
        !layer.contains("layer_norm") && !layer.ends_with("_token") && !layer.ends_with("_tokens")
    })
}
