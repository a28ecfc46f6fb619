//! How much of a GPU's memory some work takes, roughly: enough to refuse at once what cannot fit.
//!
//! Counted are the weights and the activations that live at the same time, not what an allocator adds. What passes here may still
//! fail later; what does not pass would.

use resect_checkpoint::{SamConfig, parameter_counts};
use resect_params::Precision;

use crate::encoder_backend::SCORES_AT_ONCE;

/// Bytes of a single-precision number.
const NUMBER: u64 = 4;

/// Encoding so many images together, while those that come next are on their way.
pub fn encoding(config: &SamConfig, precision: Precision, images: usize) -> u64 {
    let v = &config.vision;
    let tokens = config.grid().pow(2);
    let operand = if precision == Precision::F32 { 4 } else { 2 };
    // At the widest place of a block, of global attention: what queries, keys and values come from, queries and keys with their
    // positions, values, and what is attended. Or of the MLP: its hidden layer twice.
    let attention = 5 * v.hidden_size + 2 * (v.hidden_size + 2 * v.num_attention_heads * config.grid());
    let mlp = v.hidden_size + 2 * v.mlp_dim;
    let block = tokens as u64 * (operand * attention.max(mlp) as u64 + NUMBER * v.hidden_size as u64);
    let ends = 2 * v.num_channels * config.image_size().pow(2) + config.embedding_channels() * tokens;
    let scores = if precision == Precision::F32 { 2 * SCORES_AT_ONCE } else { 0 };
    bytes(parameter_counts(config).vision_encoder + scores) + images as u64 * (block + bytes(ends))
}

/// Decoding so many prompts together, with two decoders loaded.
pub fn decoding(config: &SamConfig, prompts: usize) -> u64 {
    bytes(2 * parameter_counts(config).mask_decoder + prompts * activations(config))
}

/// A training step on so many samples: weights, gradients summed and new, both moments, and every activation with its gradient.
pub fn training(config: &SamConfig, samples: usize) -> u64 {
    // The two-way transformer has two layers, each with some ten tensors of the image's size, and a last attention.
    const KEPT: usize = 8;
    bytes(5 * parameter_counts(config).mask_decoder + samples * KEPT * activations(config))
}

/// Numbers of one prompt that live at the same time: a few tensors of the embedding's size, and the upscaled image twice.
fn activations(config: &SamConfig) -> usize {
    let (channels, places) = (config.embedding_channels(), config.grid().pow(2));
    places * (6 * channels + 2 * 16 * channels / 8)
}

fn bytes(numbers: usize) -> u64 {
    numbers as u64 * NUMBER
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_sizes_need_what_one_expects() {
        let of = |name: &str| SamConfig::named(name).unwrap();
        let gigabytes = |bytes: u64| bytes as f64 / 1e9;
        // The weights alone are 0.36, 1.2 and 2.5 GB.
        let needs =
            |precision| ["vit-b", "vit-l", "vit-h"].map(|name| gigabytes(encoding(&of(name), precision, 2)));
        let (single, half) = (needs(Precision::F32), needs(Precision::Bf16));
        for (i, (least, most)) in [(0.5, 1.1), (1.4, 2.1), (2.7, 3.6)].into_iter().enumerate() {
            assert!(single[i] > least && single[i] < most, "{single:?}");
            assert!(half[i] > least && half[i] < single[i], "{half:?}");
        }
        let embedding = |config: &SamConfig, images| encoding(config, Precision::Bf16, images);
        for need in [embedding, decoding, training] {
            assert!(need(&of("vit-b"), 9) > need(&of("vit-b"), 8));
        }
        assert!(training(&of("vit-b"), 2) > 5 * 4 * 4_058_340);
    }
}
