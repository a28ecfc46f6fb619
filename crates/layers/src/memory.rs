//! How much of a GPU's memory tensors take, roughly: enough to refuse at once what cannot fit.
//!
//! The estimate counts the weights, the activations that live at the same time, and what the backend's pools take beyond that. For ViT-B
//! it is between 0.8 and 1.5 times what the programs asked of a driver that computes nothing (docs/cuda.md). A program that passes this
//! check may still run out of memory later.

/// Bytes of a single-precision number.
pub const NUMBER: u64 = 4;

/// The backend keeps pages for tensors of similar sizes, so activations take this many times the memory of the live ones.
const POOLED: u64 = 2;

/// The backend takes this many bytes in any case.
const POOLS: u64 = 300 << 20;

/// The bytes of this many numbers in single precision.
pub fn bytes(numbers: usize) -> u64 {
    numbers as u64 * NUMBER
}

/// Bytes that a backend takes for weights and for activations of so many bytes.
pub fn allocated(weights: u64, activations: u64) -> u64 {
    weights + POOLED * activations + POOLS
}
