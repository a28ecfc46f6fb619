//! How much of a GPU's memory encoding takes; see [`resect_layers::memory`].

use resect_checkpoint::{SamConfig, parameter_counts};
use resect_layers::memory::{NUMBER, allocated, bytes};
use resect_layers::reference::SCORES_AT_ONCE;
use resect_numeric::Precision;

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

#[cfg(test)]
mod tests;
