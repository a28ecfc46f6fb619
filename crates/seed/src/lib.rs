//! Random numbers that depend on what they are for, never on the order of work.
//!
//! Every random decision in the pipeline (a box's jitter, an epoch's order, a split) draws from a stream of its
//! own, named by its purpose, the user's seed and whatever identifies the decision, such as (epoch, sample id).
//! So a decision is the same whichever thread takes it, after a resumed run, and when other samples come or go.

use rand::RngExt;
pub use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// The stream for one decision: `purpose` separates uses, `parts` identify the decision within it.
///
/// Each part's length enters the hash, so `["ab", "c"]` and `["a", "bc"]` are different streams.
pub fn stream(purpose: &str, seed: u64, parts: &[&[u8]]) -> ChaCha8Rng {
    let mut hasher = blake3::Hasher::new_derive_key("resect 1.0 random stream");
    let seed = seed.to_le_bytes();
    for part in [purpose.as_bytes(), &seed].iter().chain(parts) {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    ChaCha8Rng::from_seed(*hasher.finalize().as_bytes())
}

/// A uniform integer in `0..n`; 0 when `n` is 0.
pub fn below(rng: &mut ChaCha8Rng, n: u32) -> u32 {
    if n == 0 { 0 } else { rng.random_range(0..n) }
}

/// A uniform number from 0 up to 1 (exclusive).
pub fn unit(rng: &mut ChaCha8Rng) -> f64 {
    rng.random()
}

/// Shuffles in place (Fisher–Yates, from the end).
pub fn shuffle<T>(rng: &mut ChaCha8Rng, items: &mut [T]) {
    for i in (1..items.len()).rev() {
        let j = rng.random_range(0..=i as u64) as usize;
        items.swap(i, j);
    }
}

#[cfg(test)]
mod tests;
