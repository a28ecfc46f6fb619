//! Random choices for one scene.

use rand_chacha::rand_core::Rng;
use resect_seed::ChaCha8Rng;

use crate::maths::{Point, direction};

/// A stream of random choices. Only the generator's raw words are used: how a library turns them into floats may
/// change between its versions, and every image would change with it.
pub struct Draw(ChaCha8Rng);

impl Draw {
    /// The stream of image `index`.
    pub fn new(seed: u64, index: usize) -> Self {
        Self(resect_seed::stream("phantom scene", seed, &[&(index as u64).to_le_bytes()]))
    }

    /// A seed for a noise field.
    pub fn word(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// Uniform in `[0, 1)`.
    pub fn unit(&mut self) -> f32 {
        (self.word() >> 8) as f32 / 16_777_216.0
    }

    /// Uniform in `[low, high)`.
    pub fn range(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// A whole number in `low..=high`.
    pub fn whole(&mut self, low: u32, high: u32) -> u32 {
        low + ((u64::from(self.word()) * u64::from(high - low + 1)) >> 32) as u32
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f32) -> bool {
        self.unit() < p
    }

    /// 1 or -1.
    pub fn sign(&mut self) -> f32 {
        if self.chance(0.5) { 1.0 } else { -1.0 }
    }

    /// A unit vector in any direction.
    pub fn heading(&mut self) -> Point {
        direction(self.unit())
    }

    /// An index into `weights`, with a probability in proportion to its weight.
    pub fn weighted(&mut self, weights: &[f32]) -> usize {
        let mut left = self.unit() * weights.iter().sum::<f32>();
        for (i, weight) in weights.iter().enumerate() {
            left -= weight;
            if left < 0.0 {
                return i;
            }
        }
        weights.len().saturating_sub(1)
    }
}
