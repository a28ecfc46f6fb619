//! How much of a GPU's memory some work takes, roughly: enough to refuse at once what cannot fit.
//!
//! Counted are the weights and the activations that live at the same time, not what an allocator adds. What passes here may still
//! fail later; what does not pass would.

use resect_checkpoint::{SamConfig, parameter_counts};

use crate::encoder_backend::SCORES_AT_ONCE;

/// Bytes of a single-precision number.
const NUMBER: u64 = 4;

/// Encoding so many images that are handed over together. They run one after the other, so only pixels and embeddings add up.
pub fn encoding(config: &SamConfig, images: usize) -> u64 {
    let v = &config.vision;
    let tokens = config.grid().pow(2);
    // At the widest place of a block: tokens in and out, their norm, the MLP's hidden layer twice; less than queries, keys with
    // positions, values and what is attended take together.
    let attention = tokens * (6 * v.hidden_size + 4 * v.num_attention_heads * config.grid());
    let block = tokens * (3 * v.hidden_size + 2 * v.mlp_dim);
    let scores = 2 * SCORES_AT_ONCE;
    let image = v.num_channels * config.image_size().pow(2) + config.embedding_channels() * tokens;
    bytes(parameter_counts(config).vision_encoder + attention.max(block) + scores + images * image)
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
        let needs = ["vit-b", "vit-l", "vit-h"].map(|name| gigabytes(encoding(&of(name), 2)));
        assert!(needs[0] > 0.45 && needs[0] < 0.8, "{needs:?}");
        assert!(needs[1] > 1.3 && needs[1] < 1.8, "{needs:?}");
        assert!(needs[2] > 2.6 && needs[2] < 3.2, "{needs:?}");
        for need in [encoding, decoding, training] {
            assert!(need(&of("vit-b"), 9) > need(&of("vit-b"), 8));
        }
        assert!(training(&of("vit-b"), 2) > 5 * 4 * 4_058_340);
    }
}
