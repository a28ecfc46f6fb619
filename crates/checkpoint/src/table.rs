//! The one table of every tensor in a SAM: its Hugging Face name, its shape, its part and how it starts at random.

use crate::config::SamConfig;

/// The matrix of frequencies that encodes positions, `[2, num_pos_feats]`.
pub const POSITIONAL_EMBEDDING: &str = "shared_image_embedding.positional_embedding";

/// The name under which many checkpoints hold [`POSITIONAL_EMBEDDING`] a second time, or only.
pub const POSITIONAL_EMBEDDING_ALIAS: &str = "prompt_encoder.shared_embedding.positional_embedding";

/// The part of the model a tensor belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// `vision_encoder.*`
    VisionEncoder,
    /// `prompt_encoder.*`
    PromptEncoder,
    /// `mask_decoder.*`
    MaskDecoder,
    /// The positional frequencies, which the prompt encoder and the image-wide encoding share.
    Shared,
}

/// One tensor of the model.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorSpec {
    /// Its name in the checkpoint.
    pub name: String,
    /// Another name under which a checkpoint may hold the same tensor.
    pub alias: Option<&'static str>,
    /// Its shape in the checkpoint: linear weights `[out, in]`, convolutions `[out, in, kh, kw]`, transposed ones
    /// `[in, out, kh, kw]`.
    pub shape: Vec<usize>,
    /// The part it belongs to.
    pub part: Part,
    pub(crate) init: Init,
}

impl TensorSpec {
    /// How many numbers it holds.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// How a tensor starts when no pretrained weights exist.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Init {
    /// Every element the same.
    Constant(f32),
    /// Uniform with this standard deviation.
    Uniform { std: f64 },
    /// Bell-shaped with this standard deviation.
    Bell { std: f64 },
    /// Filters `[out, in, side, side]` that answer to contrast: derivatives of uniform noise along both axes, plus `brightness`
    /// times such noise itself, all of it times `scale`.
    ///
    /// A derivative grows with spatial frequency as the amplitudes of natural images fall with it (Field, 1987), so that fine
    /// texture and coarse shading come out about equally strong. Plain noise answers to little but mean brightness.
    Contrast { scale: f64, brightness: f64 },
}

/// How many parameters each part has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParameterCounts {
    /// Parameters of the image encoder.
    pub vision_encoder: usize,
    /// Parameters of the prompt encoder, without the shared positional frequencies.
    pub prompt_encoder: usize,
    /// Parameters of the mask decoder.
    pub mask_decoder: usize,
    /// The shared positional frequencies.
    pub shared: usize,
}

impl ParameterCounts {
    /// Parameters of the whole model.
    pub fn total(&self) -> usize {
        self.vision_encoder + self.prompt_encoder + self.mask_decoder + self.shared
    }
}

/// Counts the parameters of a valid configuration.
pub fn parameter_counts(config: &SamConfig) -> ParameterCounts {
    let specs = tensors(config);
    let count = |part| specs.iter().filter(|s| s.part == part).map(TensorSpec::elements).sum();
    ParameterCounts {
        vision_encoder: count(Part::VisionEncoder),
        prompt_encoder: count(Part::PromptEncoder),
        mask_decoder: count(Part::MaskDecoder),
        shared: count(Part::Shared),
    }
}

/// The tensors of one part, in the order of [`tensors`].
pub fn part_tensors(config: &SamConfig, part: Part) -> Vec<TensorSpec> {
    tensors(config).into_iter().filter(|s| s.part == part).collect()
}

/// Every tensor of a valid configuration, each once, in the order in which data flows through the model.
pub fn tensors(config: &SamConfig) -> Vec<TensorSpec> {
    let mut table = Table { specs: Vec::new(), part: Part::Shared };
    table.add(POSITIONAL_EMBEDDING, vec![2, config.vision.num_pos_feats], Init::Bell { std: FREQUENCY });
    table.specs[0].alias = Some(POSITIONAL_EMBEDDING_ALIAS);
    vision_encoder(&mut table, config);
    prompt_encoder(&mut table, config);
    mask_decoder(&mut table, config);
    table.specs
}

/// Lower frequencies than a pretrained model has: a decoder that starts from nothing learns sooner from them where a
/// pixel lies beside a corner of a box.
const FREQUENCY: f64 = 0.3;

/// The frozen embedding and the frozen parts of prompts, beside positions of about 0.7: what a place looks like must
/// not drown where it is, or a decoder that starts from nothing does not find the box.
const FROZEN_SCALE: f64 = 0.5;

/// Filters of patches see this much of plain brightness beside contrast.
const BRIGHTNESS: f64 = 0.2;

/// Brings what such filters answer to an image of the size it is shown at to a variance of about 1.
const CONTRAST_GAIN: f64 = 5.0;

/// What a random MLP adds to what passes by it: its nonlinearity tells textures apart, but more of it drowns the patch.
const MLP_GAIN: f64 = 0.5;

/// What random attention adds: hardly anything, because to look at random places only blurs.
const ATTENTION_GAIN: f64 = 0.1;

fn vision_encoder(table: &mut Table, config: &SamConfig) {
    let (v, grid) = (&config.vision, config.grid());
    let (hidden, head) = (v.hidden_size, v.hidden_size / v.num_attention_heads);
    table.part = Part::VisionEncoder;
    if v.use_abs_pos {
        table.add("vision_encoder.pos_embed", vec![1, grid, grid, hidden], Init::Bell { std: 0.05 });
    }
    let patch = vec![hidden, v.num_channels, v.patch_size, v.patch_size];
    let scale = CONTRAST_GAIN / (patch[1..].iter().product::<usize>() as f64).sqrt();
    let init = Init::Contrast { scale, brightness: BRIGHTNESS };
    table.add("vision_encoder.patch_embed.projection.weight", patch, init);
    table.add("vision_encoder.patch_embed.projection.bias", vec![hidden], Init::Constant(0.0));
    for layer in 0..v.num_hidden_layers {
        let name = |rest: &str| format!("vision_encoder.layers.{layer}.{rest}");
        table.norm(&name("layer_norm1"), hidden);
        table.frozen(&name("attn.qkv"), vec![3 * hidden, hidden], v.qkv_bias, 1.0);
        if v.use_rel_pos {
            let distances = 2 * config.window(layer).unwrap_or(grid) - 1;
            for axis in ["attn.rel_pos_h", "attn.rel_pos_w"] {
                table.add(&name(axis), vec![distances, head], Init::Bell { std: 0.02 });
            }
        }
        table.frozen(&name("attn.proj"), vec![hidden, hidden], true, ATTENTION_GAIN);
        table.norm(&name("layer_norm2"), hidden);
        table.frozen(&name("mlp.lin1"), vec![v.mlp_dim, hidden], true, 1.0);
        table.frozen(&name("mlp.lin2"), vec![hidden, v.mlp_dim], true, MLP_GAIN);
    }
    let out = v.output_channels;
    table.frozen("vision_encoder.neck.conv1", vec![out, hidden, 1, 1], false, 1.0);
    table.norm("vision_encoder.neck.layer_norm1", out);
    table.frozen("vision_encoder.neck.conv2", vec![out, out, 3, 3], false, 1.0);
    let norm = "vision_encoder.neck.layer_norm2";
    table.add(&format!("{norm}.weight"), vec![out], Init::Constant(FROZEN_SCALE as f32));
    table.add(&format!("{norm}.bias"), vec![out], Init::Constant(0.0));
}

fn prompt_encoder(table: &mut Table, config: &SamConfig) {
    let p = &config.prompt;
    let (hidden, channels) = (p.hidden_size, p.mask_input_channels);
    table.part = Part::PromptEncoder;
    for corner in 0..p.num_point_embeddings {
        table.embedding(&format!("prompt_encoder.point_embed.{corner}"), 1, hidden, FROZEN_SCALE);
    }
    table.embedding("prompt_encoder.not_a_point_embed", 1, hidden, FROZEN_SCALE);
    table.embedding("prompt_encoder.no_mask_embed", 1, hidden, FROZEN_SCALE);
    table.layer("prompt_encoder.mask_embed.conv1", vec![channels / 4, 1, 2, 2], channels / 4);
    table.norm("prompt_encoder.mask_embed.layer_norm1", channels / 4);
    table.layer("prompt_encoder.mask_embed.conv2", vec![channels, channels / 4, 2, 2], channels);
    table.norm("prompt_encoder.mask_embed.layer_norm2", channels);
    table.layer("prompt_encoder.mask_embed.conv3", vec![hidden, channels, 1, 1], hidden);
}

fn mask_decoder(table: &mut Table, config: &SamConfig) {
    let d = &config.decoder;
    let (hidden, masks) = (d.hidden_size, d.num_multimask_outputs + 1);
    table.part = Part::MaskDecoder;
    table.embedding("mask_decoder.iou_token", 1, hidden, 1.0);
    table.embedding("mask_decoder.mask_tokens", masks, hidden, 1.0);
    for layer in 0..d.num_hidden_layers {
        let name = |rest: &str| format!("mask_decoder.transformer.layers.{layer}.{rest}");
        table.attention(&name("self_attn"), hidden, hidden);
        table.norm(&name("layer_norm1"), hidden);
        table.attention(&name("cross_attn_token_to_image"), hidden, hidden / 2);
        table.norm(&name("layer_norm2"), hidden);
        table.layer(&name("mlp.lin1"), vec![d.mlp_dim, hidden], d.mlp_dim);
        table.layer(&name("mlp.lin2"), vec![hidden, d.mlp_dim], hidden);
        table.norm(&name("layer_norm3"), hidden);
        table.norm(&name("layer_norm4"), hidden);
        table.attention(&name("cross_attn_image_to_token"), hidden, hidden / 2);
    }
    let inner = hidden / d.attention_downsample_rate;
    table.attention("mask_decoder.transformer.final_attn_token_to_image", hidden, inner);
    table.norm("mask_decoder.transformer.layer_norm_final_attn", hidden);
    table.layer("mask_decoder.upscale_conv1", vec![hidden, hidden / 4, 2, 2], hidden / 4);
    table.norm("mask_decoder.upscale_layer_norm", hidden / 4);
    table.layer("mask_decoder.upscale_conv2", vec![hidden / 4, hidden / 8, 2, 2], hidden / 8);
    for mask in 0..masks {
        let name = format!("mask_decoder.output_hypernetworks_mlps.{mask}");
        table.feed_forward(&name, hidden, hidden, hidden / 8, 3);
    }
    table.feed_forward(
        "mask_decoder.iou_prediction_head",
        hidden,
        d.iou_head_hidden_dim,
        masks,
        d.iou_head_depth,
    );
}

struct Table {
    specs: Vec<TensorSpec>,
    part: Part,
}

impl Table {
    fn add(&mut self, name: &str, shape: Vec<usize>, init: Init) {
        self.specs.push(TensorSpec { name: name.into(), alias: None, shape, part: self.part, init });
    }

    fn norm(&mut self, name: &str, size: usize) {
        self.add(&format!("{name}.weight"), vec![size], Init::Constant(1.0));
        self.add(&format!("{name}.bias"), vec![size], Init::Constant(0.0));
    }

    /// A linear layer or convolution of the frozen encoder: keeps the variance of its input, times the square of `gain`.
    fn frozen(&mut self, name: &str, weight: Vec<usize>, bias: bool, gain: f64) {
        let (out, fan_in) = (weight[0], weight[1..].iter().product::<usize>());
        self.add(&format!("{name}.weight"), weight, Init::Uniform { std: gain / (fan_in as f64).sqrt() });
        if bias {
            self.add(&format!("{name}.bias"), vec![out], Init::Constant(0.0));
        }
    }

    /// A layer that trains, with a bias of `bias` elements: PyTorch's default, uniform within `1 / sqrt(fan_in)`.
    ///
    /// PyTorch takes the fan-in from the second axis on, for transposed convolutions too.
    fn layer(&mut self, name: &str, weight: Vec<usize>, bias: usize) {
        let fan_in = weight[1..].iter().product::<usize>() as f64;
        let init = Init::Uniform { std: 1.0 / (3.0 * fan_in).sqrt() };
        self.add(&format!("{name}.weight"), weight, init);
        self.add(&format!("{name}.bias"), vec![bias], init);
    }

    fn embedding(&mut self, name: &str, rows: usize, channels: usize, std: f64) {
        self.add(&format!("{name}.weight"), vec![rows, channels], Init::Bell { std });
    }

    fn attention(&mut self, name: &str, hidden: usize, inner: usize) {
        for projection in ["q_proj", "k_proj", "v_proj"] {
            self.layer(&format!("{name}.{projection}"), vec![inner, hidden], inner);
        }
        self.layer(&format!("{name}.out_proj"), vec![hidden, inner], hidden);
    }

    fn feed_forward(&mut self, name: &str, input: usize, hidden: usize, output: usize, depth: usize) {
        self.layer(&format!("{name}.proj_in"), vec![hidden, input], hidden);
        for layer in 0..depth.saturating_sub(2) {
            self.layer(&format!("{name}.layers.{layer}"), vec![hidden, hidden], hidden);
        }
        self.layer(&format!("{name}.proj_out"), vec![output, hidden], output);
    }
}

#[cfg(test)]
mod tests;
