//! How much of a GPU's memory some work takes, roughly: enough to refuse at once what cannot fit.
//!
//! Counted are the weights, the activations that live at the same time, and what the backend's pools take beyond that. Held against
//! what programs asked of a driver that computes nothing (docs/cuda.md), the estimates are between four fifths and one and a half
//! times that for ViT-B. What passes here may still fail later.

use resect_checkpoint::{SamConfig, parameter_counts};
use resect_numeric::Precision;

use crate::encoder_backend::SCORES_AT_ONCE;

/// Bytes of a single-precision number.
const NUMBER: u64 = 4;

/// The backend keeps pages for tensors of like sizes, so that activations take so many times what lives of them.
const POOLED: u64 = 2;

/// And so many bytes whatever there is.
const POOLS: u64 = 300 << 20;

/// Encoding so many images together, while those that come next are on their way.
pub fn encoding(config: &SamConfig, precision: Precision, images: usize) -> u64 {
    let v = &config.vision;
    let tokens = config.grid().pow(2);
    // At the widest place of a block, of global attention: what queries, keys and values come from, queries and keys with their
    // positions, values, and what is attended. Or of the MLP: its hidden layer twice.
    let placed = 2 * (v.hidden_size + 2 * v.num_attention_heads * config.grid());
    let mlp = v.hidden_size + 2 * v.mlp_dim;
    // In single precision attention is by products, of operands that are copied in their order, and of blocks of scores: in each
    // step of a softmax another.
    let (operand, attention, scores) = match precision {
        Precision::F32 => (4, 10 * v.hidden_size + placed, 8 * SCORES_AT_ONCE),
        Precision::Bf16 | Precision::F16 => (2, 5 * v.hidden_size + placed, 0),
    };
    let block = tokens as u64 * (operand * attention.max(mlp) as u64 + NUMBER * v.hidden_size as u64);
    let ends = 2 * v.num_channels * config.image_size().pow(2) + config.embedding_channels() * tokens;
    let activations = bytes(scores) + images as u64 * (block + bytes(ends));
    allocated(bytes(parameter_counts(config).vision_encoder), activations)
}

/// Decoding so many prompts together, with two decoders loaded.
pub fn decoding(config: &SamConfig, prompts: usize) -> u64 {
    allocated(bytes(2 * parameter_counts(config).mask_decoder), bytes(prompts * activations(config)))
}

/// A training step on so many samples: weights, gradients summed and new, both moments, and what gradients come from.
pub fn training(config: &SamConfig, samples: usize) -> u64 {
    // What a prompt has alive at once, and as much again that is kept for the way back.
    const KEPT: usize = 2;
    allocated(bytes(5 * parameter_counts(config).mask_decoder), bytes(samples * KEPT * activations(config)))
}

/// Numbers of one prompt that live at the same time: a few tensors of the embedding's size, and the upscaled image twice.
fn activations(config: &SamConfig) -> usize {
    let (channels, places) = (config.embedding_channels(), config.grid().pow(2));
    places * (6 * channels + 2 * 16 * channels / 8)
}

fn bytes(numbers: usize) -> u64 {
    numbers as u64 * NUMBER
}

fn allocated(weights: u64, activations: u64) -> u64 {
    weights + POOLED * activations + POOLS
}

#[cfg(test)]
mod tests;
