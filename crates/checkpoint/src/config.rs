//! The sizes of a SAM, as `config.json` states them.

use resect_numeric::Activation;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

use crate::error::ConfigError;

/// The configurations [`SamConfig::named`] knows.
///
/// `vit-b`, `vit-l` and `vit-h` are the published sizes; `tiny` and `small` are for demonstrations and tests on a CPU.
pub const NAMED_CONFIGS: [&str; 5] = ["tiny", "small", "vit-b", "vit-l", "vit-h"];

/// No size in a configuration may exceed this; it keeps every product of sizes far from overflow.
const LARGEST_SIZE: usize = 1 << 16;

/// The sizes of a whole SAM. All other sizes are derived from these.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SamConfig {
    /// The image encoder.
    #[serde(rename = "vision_config")]
    pub vision: VisionConfig,
    /// The prompt encoder.
    #[serde(rename = "prompt_encoder_config")]
    pub prompt: PromptConfig,
    /// The mask decoder.
    #[serde(rename = "mask_decoder_config")]
    pub decoder: DecoderConfig,
}

/// The image encoder's sizes (`vision_config`). Defaults are those of `transformers`, that is ViT-B.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VisionConfig {
    /// Channels of a token.
    pub hidden_size: usize,
    /// Channels of the image embedding.
    pub output_channels: usize,
    /// Transformer blocks.
    pub num_hidden_layers: usize,
    /// Attention heads of a block.
    pub num_attention_heads: usize,
    /// Channels of the image; only 3 is supported.
    pub num_channels: usize,
    /// Side of the square model input, in pixels.
    #[serde(deserialize_with = "side")]
    pub image_size: usize,
    /// Side of a square patch, in pixels.
    #[serde(deserialize_with = "side")]
    pub patch_size: usize,
    /// Activation of the blocks' MLP.
    pub hidden_act: Activation,
    /// Epsilon of the blocks' layer norms (the neck's is fixed at 1e-6).
    pub layer_norm_eps: f64,
    /// Whether queries, keys and values have a bias.
    pub qkv_bias: bool,
    /// Whether an absolute position embedding is added to the patches.
    pub use_abs_pos: bool,
    /// Whether attention has decomposed relative positions.
    pub use_rel_pos: bool,
    /// Side of an attention window, in tokens; 0 makes every block global.
    pub window_size: usize,
    /// The blocks whose attention is global.
    pub global_attn_indexes: Vec<usize>,
    /// Half the channels of a positional encoding.
    pub num_pos_feats: usize,
    /// Hidden channels of the blocks' MLP.
    pub mlp_dim: usize,
}

/// The prompt encoder's sizes (`prompt_encoder_config`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PromptConfig {
    /// Channels of an embedding.
    pub hidden_size: usize,
    /// Side of the square model input, in pixels.
    #[serde(deserialize_with = "side")]
    pub image_size: usize,
    /// Side of a square patch, in pixels.
    #[serde(deserialize_with = "side")]
    pub patch_size: usize,
    /// Channels after the second convolution of a mask prompt; the first has a quarter of them.
    pub mask_input_channels: usize,
    /// Learned point embeddings: background, foreground and a box's two corners; only 4 is supported.
    pub num_point_embeddings: usize,
    /// Activation of the mask prompt's convolutions.
    pub hidden_act: Activation,
    /// Epsilon of the mask prompt's layer norms.
    pub layer_norm_eps: f64,
}

/// The mask decoder's sizes (`mask_decoder_config`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DecoderConfig {
    /// Channels of a token.
    pub hidden_size: usize,
    /// Activation of the two-way blocks' MLP.
    pub hidden_act: Activation,
    /// Hidden channels of the two-way blocks' MLP.
    pub mlp_dim: usize,
    /// Two-way blocks.
    pub num_hidden_layers: usize,
    /// Attention heads.
    pub num_attention_heads: usize,
    /// By how much the last attention reduces its channels.
    ///
    /// The attentions inside the blocks always halve theirs: `transformers` does not pass this value on to them.
    pub attention_downsample_rate: usize,
    /// Masks beside the single one.
    pub num_multimask_outputs: usize,
    /// Linear layers of the IoU head.
    pub iou_head_depth: usize,
    /// Hidden channels of the IoU head.
    pub iou_head_hidden_dim: usize,
    /// Epsilon of the two-way blocks' layer norms. The final attention's is fixed at 1e-5, the upscaling's at 1e-6.
    pub layer_norm_eps: f64,
}

impl Default for VisionConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            output_channels: 256,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            num_channels: 3,
            image_size: 1024,
            patch_size: 16,
            hidden_act: Activation::Gelu,
            layer_norm_eps: 1e-6,
            qkv_bias: true,
            use_abs_pos: true,
            use_rel_pos: true,
            window_size: 14,
            global_attn_indexes: vec![2, 5, 8, 11],
            num_pos_feats: 128,
            mlp_dim: 3072,
        }
    }
}

impl Default for PromptConfig {
    fn default() -> Self {
        Self {
            hidden_size: 256,
            image_size: 1024,
            patch_size: 16,
            mask_input_channels: 16,
            num_point_embeddings: 4,
            hidden_act: Activation::Gelu,
            layer_norm_eps: 1e-6,
        }
    }
}

impl Default for DecoderConfig {
    fn default() -> Self {
        Self {
            hidden_size: 256,
            hidden_act: Activation::Relu,
            mlp_dim: 2048,
            num_hidden_layers: 2,
            num_attention_heads: 8,
            attention_downsample_rate: 2,
            num_multimask_outputs: 3,
            iou_head_depth: 3,
            iou_head_hidden_dim: 256,
            layer_norm_eps: 1e-6,
        }
    }
}

impl SamConfig {
    /// One of [`NAMED_CONFIGS`], or `None`.
    pub fn named(name: &str) -> Option<Self> {
        let vit = |hidden_size, depth, heads, global: [usize; 4]| {
            let vision = VisionConfig {
                hidden_size,
                num_hidden_layers: depth,
                num_attention_heads: heads,
                global_attn_indexes: global.to_vec(),
                mlp_dim: 4 * hidden_size,
                ..VisionConfig::default()
            };
            Self { vision, prompt: PromptConfig::default(), decoder: DecoderConfig::default() }
        };
        let reduced = |vision: VisionConfig, heads, mlp_dim| {
            let channels = vision.output_channels;
            Self {
                prompt: PromptConfig {
                    hidden_size: channels,
                    image_size: vision.image_size,
                    patch_size: vision.patch_size,
                    ..PromptConfig::default()
                },
                decoder: DecoderConfig {
                    hidden_size: channels,
                    mlp_dim,
                    num_attention_heads: heads,
                    iou_head_hidden_dim: channels,
                    ..DecoderConfig::default()
                },
                vision: VisionConfig { num_pos_feats: channels / 2, ..vision },
            }
        };
        match name {
            // A window of 11 on a grid of 32 pads by one token, so that the demonstration runs the padded path too.
            "tiny" => Some(reduced(
                VisionConfig {
                    hidden_size: 384,
                    output_channels: 128,
                    num_hidden_layers: 2,
                    num_attention_heads: 6,
                    image_size: 256,
                    patch_size: 16,
                    window_size: 7,
                    global_attn_indexes: vec![1],
                    mlp_dim: 768,
                    ..VisionConfig::default()
                },
                8,
                512,
            )),
            "small" => Some(reduced(
                VisionConfig {
                    hidden_size: 192,
                    output_channels: 128,
                    num_hidden_layers: 6,
                    num_attention_heads: 6,
                    image_size: 512,
                    patch_size: 16,
                    window_size: 11,
                    global_attn_indexes: vec![2, 5],
                    mlp_dim: 768,
                    ..VisionConfig::default()
                },
                8,
                512,
            )),
            "vit-b" => Some(vit(768, 12, 12, [2, 5, 8, 11])),
            "vit-l" => Some(vit(1024, 24, 16, [5, 11, 17, 23])),
            "vit-h" => Some(vit(1280, 32, 16, [7, 15, 23, 31])),
            _ => None,
        }
    }

    /// Reads a `config.json` as `transformers` does: missing and null fields take its defaults, unknown ones are ignored.
    ///
    /// The sizes are not yet checked; see [`SamConfig::validate`].
    ///
    /// # Errors
    /// Text that is no JSON object, or a field of another type; the message names the field.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(text).map_err(|e| format!("not JSON: {e}"))?;
        let Value::Object(mut top) = value else {
            return Err("not a JSON object".into());
        };
        if let Some(kind) = top.get("model_type").filter(|kind| *kind != "sam" && !kind.is_null()) {
            let kind = kind.as_str().map_or_else(|| kind.to_string(), str::to_owned);
            return Err(format!("model_type: `{kind}` is another model, `sam` is expected"));
        }
        let mut vision = section(&mut top, "vision_config")?;
        if let (false, Some(hidden)) = (vision.contains_key("mlp_dim"), hidden_size(&vision)) {
            // Old files state a ratio instead of a size.
            let ratio = match vision.get("mlp_ratio") {
                None => 4.0,
                Some(ratio) => ratio.as_f64().ok_or("vision_config.mlp_ratio: not a number")?,
            };
            vision.insert("mlp_dim".into(), json!((hidden as f64 * ratio) as u64));
        }
        Ok(Self {
            vision: typed("vision_config", vision)?,
            prompt: typed("prompt_encoder_config", section(&mut top, "prompt_encoder_config")?)?,
            decoder: typed("mask_decoder_config", section(&mut top, "mask_decoder_config")?)?,
        })
    }

    /// The `config.json` that `SamConfig.from_pretrained` of `transformers` opens, pretty-printed, deterministic.
    pub fn to_json(&self) -> String {
        let mut decoder = json!(self.decoder);
        let mut prompt = json!(self.prompt);
        let mut vision = json!(self.vision);
        prompt["model_type"] = json!("sam_prompt_encoder");
        prompt["image_embedding_size"] = json!(self.grid());
        decoder["model_type"] = json!("sam_mask_decoder");
        vision["model_type"] = json!("sam_vision_model");
        pretty(&json!({
            "architectures": ["SamModel"],
            "model_type": "sam",
            "torch_dtype": "float32",
            "vision_config": vision,
            "prompt_encoder_config": prompt,
            "mask_decoder_config": decoder,
        }))
    }

    /// The `preprocessor_config.json` from which `SamProcessor.from_pretrained` prepares images as this model wants them.
    pub fn to_preprocessor_json(&self) -> String {
        let (image, mask) = (self.image_size(), self.low_res());
        pretty(&json!({
            "do_convert_rgb": true,
            "do_normalize": true,
            "do_pad": true,
            "do_rescale": true,
            "do_resize": true,
            "image_mean": [0.485, 0.456, 0.406],
            "image_processor_type": "SamImageProcessor",
            "image_std": [0.229, 0.224, 0.225],
            "mask_pad_size": { "height": mask, "width": mask },
            "mask_size": { "longest_edge": mask },
            "pad_size": { "height": image, "width": image },
            "processor_class": "SamProcessor",
            "resample": 2,
            "rescale_factor": 1.0 / 255.0,
            "size": { "longest_edge": image },
        }))
    }

    /// Side of the square model input, in pixels.
    pub fn image_size(&self) -> usize {
        self.vision.image_size
    }

    /// Side of the image embedding, in tokens.
    pub fn grid(&self) -> usize {
        self.vision.image_size / self.vision.patch_size
    }

    /// Side of the mask logits, in logits: four times [`SamConfig::grid`].
    pub fn low_res(&self) -> usize {
        4 * self.grid()
    }

    /// Channels of the image embedding and of every prompt embedding.
    pub fn embedding_channels(&self) -> usize {
        self.vision.output_channels
    }

    /// Whether the attention of block `layer` is global, and if not, the side of its windows.
    pub fn window(&self, layer: usize) -> Option<usize> {
        let windowed = self.vision.window_size > 0 && !self.vision.global_attn_indexes.contains(&layer);
        windowed.then_some(self.vision.window_size)
    }

    /// Checks that a model of these sizes can be built.
    ///
    /// # Errors
    /// The first field, in the order of the file, that is impossible or not supported.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let (v, p, d) = (&self.vision, &self.prompt, &self.decoder);
        for (field, size) in [
            ("vision_config.hidden_size", v.hidden_size),
            ("vision_config.output_channels", v.output_channels),
            ("vision_config.num_hidden_layers", v.num_hidden_layers),
            ("vision_config.num_attention_heads", v.num_attention_heads),
            ("vision_config.image_size", v.image_size),
            ("vision_config.patch_size", v.patch_size),
            ("vision_config.num_pos_feats", v.num_pos_feats),
            ("vision_config.mlp_dim", v.mlp_dim),
            ("prompt_encoder_config.hidden_size", p.hidden_size),
            ("prompt_encoder_config.mask_input_channels", p.mask_input_channels),
            ("mask_decoder_config.hidden_size", d.hidden_size),
            ("mask_decoder_config.mlp_dim", d.mlp_dim),
            ("mask_decoder_config.num_hidden_layers", d.num_hidden_layers),
            ("mask_decoder_config.num_attention_heads", d.num_attention_heads),
            ("mask_decoder_config.attention_downsample_rate", d.attention_downsample_rate),
            ("mask_decoder_config.num_multimask_outputs", d.num_multimask_outputs),
            ("mask_decoder_config.iou_head_hidden_dim", d.iou_head_hidden_dim),
        ] {
            require(field, size > 0, || "must be at least 1, is 0".into())?;
            require(field, size <= LARGEST_SIZE, || {
                format!("is {size}, the largest supported is {LARGEST_SIZE}")
            })?;
        }
        for (field, size, largest) in [
            ("vision_config.num_hidden_layers", v.num_hidden_layers, 1024),
            ("mask_decoder_config.num_hidden_layers", d.num_hidden_layers, 1024),
            ("mask_decoder_config.num_multimask_outputs", d.num_multimask_outputs, 1024),
            ("mask_decoder_config.iou_head_depth", d.iou_head_depth, 1024),
            ("vision_config.window_size", v.window_size, LARGEST_SIZE),
        ] {
            require(field, size <= largest, || format!("is {size}, the largest supported is {largest}"))?;
        }
        for (field, eps) in [
            ("vision_config.layer_norm_eps", v.layer_norm_eps),
            ("prompt_encoder_config.layer_norm_eps", p.layer_norm_eps),
            ("mask_decoder_config.layer_norm_eps", d.layer_norm_eps),
        ] {
            require(field, eps.is_finite() && eps > 0.0, || format!("must be a positive number, is {eps}"))?;
        }

        require("vision_config.num_channels", v.num_channels == 3, || {
            format!("is {}, only RGB images (3) are supported", v.num_channels)
        })?;
        divides(
            "vision_config.image_size",
            v.image_size,
            "vision_config.patch_size",
            v.patch_size,
            "an image is cut into whole patches",
        )?;
        divides(
            "vision_config.hidden_size",
            v.hidden_size,
            "vision_config.num_attention_heads",
            v.num_attention_heads,
            "every head takes an equal share of the channels",
        )?;
        if let Some(index) = v.global_attn_indexes.iter().find(|&&i| i >= v.num_hidden_layers) {
            return Err(ConfigError {
                field: "vision_config.global_attn_indexes",
                message: format!("names layer {index}, but layers are 0 to {}", v.num_hidden_layers - 1),
            });
        }
        for (field, size, other, expected) in [
            ("prompt_encoder_config.image_size", p.image_size, "vision_config.image_size", v.image_size),
            ("prompt_encoder_config.patch_size", p.patch_size, "vision_config.patch_size", v.patch_size),
            (
                "prompt_encoder_config.hidden_size",
                p.hidden_size,
                "vision_config.output_channels",
                v.output_channels,
            ),
            (
                "mask_decoder_config.hidden_size",
                d.hidden_size,
                "vision_config.output_channels",
                v.output_channels,
            ),
            (
                "prompt_encoder_config.hidden_size",
                p.hidden_size,
                "2 * vision_config.num_pos_feats",
                2 * v.num_pos_feats,
            ),
        ] {
            require(field, size == expected, || {
                format!("is {size}, but must equal {other}, which is {expected}")
            })?;
        }
        require("prompt_encoder_config.num_point_embeddings", p.num_point_embeddings == 4, || {
            format!(
                "is {}, only 4 (background, foreground, two corners) is supported",
                p.num_point_embeddings
            )
        })?;
        require(
            "prompt_encoder_config.mask_input_channels",
            p.mask_input_channels.is_multiple_of(4),
            || format!("is {}, but must be divisible by 4", p.mask_input_channels),
        )?;
        require("mask_decoder_config.hidden_size", d.hidden_size.is_multiple_of(8), || {
            format!(
                "is {}, but must be divisible by 8: upscaling divides the channels by 4 and by 2",
                d.hidden_size
            )
        })?;
        let heads = d.num_attention_heads;
        for rate in [1, 2, d.attention_downsample_rate] {
            let fits = d.hidden_size.is_multiple_of(rate) && (d.hidden_size / rate).is_multiple_of(heads);
            require("mask_decoder_config.num_attention_heads", fits, || {
                format!("is {heads}, but must divide hidden_size / {rate}; hidden_size is {}", d.hidden_size)
            })?;
        }
        require("mask_decoder_config.iou_head_depth", d.iou_head_depth >= 2, || {
            format!("is {}, but must be at least 2: an input and an output layer", d.iou_head_depth)
        })
    }
}

fn require(field: &'static str, holds: bool, message: impl FnOnce() -> String) -> Result<(), ConfigError> {
    if holds { Ok(()) } else { Err(ConfigError { field, message: message() }) }
}

fn divides(
    field: &'static str,
    size: usize,
    by_field: &'static str,
    by: usize,
    why: &str,
) -> Result<(), ConfigError> {
    require(field, size.is_multiple_of(by), || {
        format!("is {size}, but must be divisible by {by_field} ({by}): {why}")
    })
}

/// Takes one of the three sections out of the file; absent and null mean "all defaults", and null fields are dropped.
fn section(top: &mut Map<String, Value>, name: &str) -> Result<Map<String, Value>, String> {
    match top.remove(name) {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(mut map)) => {
            map.retain(|_, value| !value.is_null());
            Ok(map)
        }
        Some(_) => Err(format!("{name}: not an object")),
    }
}

fn typed<T: for<'de> Deserialize<'de>>(name: &str, section: Map<String, Value>) -> Result<T, String> {
    serde_path_to_error::deserialize(Value::Object(section))
        .map_err(|e| format!("{name}.{}: {}", e.path(), e.inner()))
}

fn hidden_size(vision: &Map<String, Value>) -> Option<u64> {
    match vision.get("hidden_size") {
        None => Some(VisionConfig::default().hidden_size as u64),
        Some(value) => value.as_u64(),
    }
}

fn pretty(value: &Value) -> String {
    // Alternate formatting of a `Value` cannot fail, where `to_string_pretty` returns a `Result`.
    format!("{value:#}\n")
}

/// A side, given as a number or as a list of two equal numbers.
fn side<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a side in pixels, or a list of two sides")]
    enum Side {
        Square(usize),
        Both(usize, usize),
    }
    match Side::deserialize(deserializer)? {
        Side::Square(side) => Ok(side),
        Side::Both(height, width) if height == width => Ok(height),
        Side::Both(height, width) => {
            Err(serde::de::Error::custom(format!("{height} x {width} is not square, which SAM needs")))
        }
    }
}

#[cfg(test)]
mod tests;
