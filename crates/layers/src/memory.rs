//! How much of a GPU's memory tensors take, roughly: enough to refuse at once what cannot fit.
//!
//! Counted are the weights, the activations that live at the same time, and what the backend's pools take beyond that. Held against
//! what programs asked of a driver that computes nothing (docs/cuda.md), estimates are between four fifths and one and a half times
//! that for ViT-B. What passes here may still fail later.

/// Bytes of a single-precision number.
pub const NUMBER: u64 = 4;

/// The backend keeps pages for tensors of like sizes, so that activations take so many times what lives of them.
const POOLED: u64 = 2;

/// And so many bytes whatever there is.
const POOLS: u64 = 300 << 20;

/// Bytes of some numbers in single precision.
pub fn bytes(numbers: usize) -> u64 {
    numbers as u64 * NUMBER
}

/// Bytes that a backend takes for weights and for activations of so many bytes.
pub fn allocated(weights: u64, activations: u64) -> u64 {
    weights + POOLED * activations + POOLS
}
