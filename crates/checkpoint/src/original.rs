//! The key layout of the original code (`segment-anything`), and which names in it are which of ours.
//!
//! Both layouts hold the same tensors in the same shapes; only names differ. `transformers` renamed the layers of PyTorch's
//! `Sequential` from their position to what they are, which is why positions of activations (2 and 5 of `mask_downscaling`, 2
//! and 4 of `output_upscaling`) are left out on the right.
//!
//! Files of the original code carry no sizes: those are built into its `build_sam`. [`config`] reads them off the shapes.

use std::collections::BTreeMap;

use crate::config::{DecoderConfig, PromptConfig, SamConfig, VisionConfig};
use crate::file::TensorFile;
use crate::table::{POSITIONAL_EMBEDDING, TensorSpec, tensors};

/// The beginnings of names: ours and the original one. `*` stands for a number, which both have; the first that fits is taken.
const RENAMED: [(&str, &str); 20] = [
    // The encoder's layers are "blocks", and what normalises layers is a "norm".
    ("vision_encoder.layers.*.layer_norm*", "image_encoder.blocks.*.norm*"),
    ("vision_encoder.layers", "image_encoder.blocks"),
    ("vision_encoder.patch_embed.projection", "image_encoder.patch_embed.proj"),
    ("vision_encoder.neck.conv1", "image_encoder.neck.0"),
    ("vision_encoder.neck.layer_norm1", "image_encoder.neck.1"),
    ("vision_encoder.neck.conv2", "image_encoder.neck.2"),
    ("vision_encoder.neck.layer_norm2", "image_encoder.neck.3"),
    ("vision_encoder", "image_encoder"),
    // The original prompt encoder owns the frequencies, and lends them to the image-wide encoding.
    (POSITIONAL_EMBEDDING, "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"),
    ("prompt_encoder.point_embed", "prompt_encoder.point_embeddings"),
    ("prompt_encoder.mask_embed.conv1", "prompt_encoder.mask_downscaling.0"),
    ("prompt_encoder.mask_embed.layer_norm1", "prompt_encoder.mask_downscaling.1"),
    ("prompt_encoder.mask_embed.conv2", "prompt_encoder.mask_downscaling.3"),
    ("prompt_encoder.mask_embed.layer_norm2", "prompt_encoder.mask_downscaling.4"),
    ("prompt_encoder.mask_embed.conv3", "prompt_encoder.mask_downscaling.6"),
    ("mask_decoder.transformer.layers.*.layer_norm*", "mask_decoder.transformer.layers.*.norm*"),
    ("mask_decoder.transformer.layer_norm_final_attn", "mask_decoder.transformer.norm_final_attn"),
    ("mask_decoder.upscale_conv1", "mask_decoder.output_upscaling.0"),
    ("mask_decoder.upscale_layer_norm", "mask_decoder.output_upscaling.1"),
    ("mask_decoder.upscale_conv2", "mask_decoder.output_upscaling.3"),
];

/// Feed-forward networks: the original code numbers all their linear layers from 0; ours are `proj_in`, `layers.0` and so on,
/// `proj_out`.
const FEED_FORWARD: [&str; 2] = ["mask_decoder.output_hypernetworks_mlps.*", IOU_HEAD];
const IOU_HEAD: &str = "mask_decoder.iou_prediction_head";
/// Linear layers of a hypernetwork, in both codes.
const HYPERNETWORK_DEPTH: usize = 3;

/// A name that only files of the original layout hold.
const TELLTALE: &str = "image_encoder.patch_embed.proj.weight";

/// Heads of the decoder's attention. Shapes do not tell; the original `build_sam` knows this number alone.
const DECODER_HEADS: usize = 8;

/// PyTorch's default, which the original two-way blocks take. (The encoder's blocks are built with 1e-6, and the norms over
/// channels have 1e-6 as their own default, as in `transformers`.)
const DECODER_EPS: f64 = 1e-5;

/// Whether a file has the original names.
pub(crate) fn is_original(file: &TensorFile) -> bool {
    file.shape(TELLTALE).is_some()
}

/// The original name of each tensor of a model, by ours.
pub fn original_names(config: &SamConfig) -> BTreeMap<String, String> {
    let depth = config.decoder.iou_head_depth;
    tensors(config).into_iter().map(|spec| (spec.name.clone(), original_name(&spec.name, depth))).collect()
}

/// The model's tensors under their original names.
pub(crate) fn original_tensors(config: &SamConfig) -> Vec<TensorSpec> {
    let depth = config.decoder.iou_head_depth;
    let renamed = |spec: TensorSpec| TensorSpec {
        name: original_name(&spec.name, depth),
        // The original code holds the frequencies once.
        alias: None,
        ..spec
    };
    tensors(config).into_iter().map(renamed).collect()
}

fn original_name(name: &str, iou_head_depth: usize) -> String {
    for network in FEED_FORWARD {
        let Some((start, rest)) = fit(network, network, name) else { continue };
        let depth = if network == IOU_HEAD { iou_head_depth } else { HYPERNETWORK_DEPTH };
        let (layer, parameter) = rest.rsplit_once('.').unwrap_or((rest, ""));
        let number = match layer.trim_start_matches('.') {
            "proj_in" => Some(0),
            "proj_out" => depth.checked_sub(1),
            hidden => {
                hidden.strip_prefix("layers.").and_then(|number| number.parse().ok()).map(|n: usize| 1 + n)
            }
        };
        // Another name is no layer of such a network, and is the same in both.
        let Some(number) = number else { continue };
        return format!("{start}.layers.{number}.{parameter}");
    }
    let renamed = RENAMED.iter().find_map(|(ours, original)| fit(ours, original, name));
    // Names in no row of the table are the same in both.
    renamed.map_or_else(|| name.to_owned(), |(start, rest)| format!("{start}{rest}"))
}

/// Whether `name` begins with the segments of `pattern`: then what `target` is for it, and the rest of the name.
fn fit<'a>(pattern: &str, target: &str, name: &'a str) -> Option<(String, &'a str)> {
    let (mut rest, mut numbers) = (name, Vec::new());
    for (index, segment) in pattern.split('.').enumerate() {
        if index > 0 {
            rest = rest.strip_prefix('.')?;
        }
        let (found, after) = rest.split_at(rest.find('.').unwrap_or(rest.len()));
        match segment.strip_suffix('*') {
            Some(prefix) => {
                let number = found.strip_prefix(prefix)?;
                if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
                    return None;
                }
                numbers.push(number);
            }
            None if segment == found => {}
            None => return None,
        }
        rest = after;
    }
    let mut numbers = numbers.into_iter();
    let mut start = String::new();
    for c in target.chars() {
        match c {
            '*' => start.push_str(numbers.next()?),
            c => start.push(c),
        }
    }
    Some((start, rest))
}

/// The sizes of the model in a file of the original layout, as its shapes tell them. Not validated.
///
/// # Errors
/// Which tensor is missing or has a shape that tells nothing.
pub(crate) fn config(file: &TensorFile) -> Result<SamConfig, String> {
    let shapes = Shapes(file);
    let [hidden, num_channels, patch, patch_width] = shapes.of(TELLTALE)?;
    if patch != patch_width {
        return Err(format!("`{TELLTALE}` has patches of {patch} x {patch_width}, which are not square"));
    }
    let position = "image_encoder.pos_embed";
    let [_, grid, grid_width, _] = shapes.of(position)?;
    if grid != grid_width {
        return Err(format!("`{position}` has a grid of {grid} x {grid_width}, which is not square"));
    }
    let image_size = grid.checked_mul(patch).ok_or("the image side is out of range")?;
    let layers = shapes.layers("image_encoder.blocks.")?;
    let (heads, window_size, global_attn_indexes) = shapes.attention(layers, hidden, grid)?;
    let [output_channels, ..] = shapes.of::<4>("image_encoder.neck.0.weight")?;
    let [_, num_pos_feats] = shapes.of("prompt_encoder.pe_layer.positional_encoding_gaussian_matrix")?;
    let [mlp_dim, _] = shapes.of("image_encoder.blocks.0.mlp.lin1.weight")?;
    let vision = VisionConfig {
        hidden_size: hidden,
        output_channels,
        num_hidden_layers: layers,
        num_attention_heads: heads,
        num_channels,
        image_size,
        patch_size: patch,
        qkv_bias: file.shape("image_encoder.blocks.0.attn.qkv.bias").is_some(),
        window_size,
        global_attn_indexes,
        num_pos_feats,
        mlp_dim,
        ..VisionConfig::default()
    };

    let [mask_input_channels, ..] = shapes.of::<4>("prompt_encoder.mask_downscaling.3.weight")?;
    let prompt = PromptConfig {
        hidden_size: output_channels,
        image_size,
        patch_size: patch,
        mask_input_channels,
        ..PromptConfig::default()
    };

    let [masks, hidden_size] = shapes.of("mask_decoder.mask_tokens.weight")?;
    let [mlp_dim, _] = shapes.of("mask_decoder.transformer.layers.0.mlp.lin1.weight")?;
    let last = "mask_decoder.transformer.final_attn_token_to_image.q_proj.weight";
    let [inner, _] = shapes.of(last)?;
    if inner == 0 || !hidden_size.is_multiple_of(inner) {
        return Err(format!(
            "`{last}` has {inner} channels, which do not divide the decoder's {hidden_size}"
        ));
    }
    let [iou_head_hidden_dim, _] = shapes.of(&format!("{IOU_HEAD}.layers.0.weight"))?;
    let decoder = DecoderConfig {
        hidden_size,
        mlp_dim,
        num_hidden_layers: shapes.layers("mask_decoder.transformer.layers.")?,
        num_attention_heads: DECODER_HEADS,
        attention_downsample_rate: hidden_size / inner,
        num_multimask_outputs: masks.saturating_sub(1),
        iou_head_depth: shapes.layers(&format!("{IOU_HEAD}.layers."))?,
        iou_head_hidden_dim,
        layer_norm_eps: DECODER_EPS,
        ..DecoderConfig::default()
    };
    Ok(SamConfig { vision, prompt, decoder })
}

struct Shapes<'a>(&'a TensorFile);

impl Shapes<'_> {
    fn of<const D: usize>(&self, name: &str) -> Result<[usize; D], String> {
        let shape = self.0.shape(name).ok_or_else(|| format!("`{name}` is missing"))?;
        shape.try_into().map_err(|_| format!("`{name}` has the shape {shape:?}, {D} axes are expected"))
    }

    /// How many numbered layers begin with `prefix`: one more than the largest number.
    fn layers(&self, prefix: &str) -> Result<usize, String> {
        let numbers =
            self.0.names().filter_map(|name| name.strip_prefix(prefix)?.split('.').next()?.parse().ok());
        let last: Option<usize> = numbers.max();
        last.and_then(|last| last.checked_add(1)).ok_or_else(|| format!("there is no `{prefix}0`"))
    }

    /// Heads, side of the windows and the global blocks, from the tables of relative positions: `[2 * side - 1, head]` each.
    fn attention(
        &self,
        layers: usize,
        hidden: usize,
        grid: usize,
    ) -> Result<(usize, usize, Vec<usize>), String> {
        let (mut heads, mut window, mut global) = (None, None, Vec::new());
        for layer in 0..layers {
            let name = format!("image_encoder.blocks.{layer}.attn.rel_pos_h");
            let [distances, head] = self.of(&name)?;
            let side = distances.div_ceil(2);
            if head == 0 || !hidden.is_multiple_of(head) || heads.is_some_and(|heads| heads != hidden / head)
            {
                return Err(format!("`{name}` has {head} channels a head, which do not fit {hidden} in all"));
            }
            heads = Some(hidden / head);
            if side == grid {
                // A window as large as the grid is the grid.
                global.push(layer);
            } else if window.is_some_and(|window| window != side) {
                return Err(format!("`{name}` is for windows of {side}, others are of another side"));
            } else {
                window = Some(side);
            }
        }
        let heads = heads.ok_or("there are no encoder blocks")?;
        // Where all blocks are global there are no windows, which a side of 0 says.
        Ok((heads, window.unwrap_or(0), global))
    }
}

#[cfg(test)]
mod tests;
