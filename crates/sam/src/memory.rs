//! How much of a GPU's memory decoding and training take; see [`resect_layers::memory`].

use resect_checkpoint::{SamConfig, parameter_counts};
use resect_layers::memory::{allocated, bytes};

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

#[cfg(test)]
mod tests;
