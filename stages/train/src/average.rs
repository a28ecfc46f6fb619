//! The exponential moving average of the weights.

use rayon::prelude::*;
use resect_checkpoint::NamedTensor;

/// `torch.optim.swa_utils.AveragedModel` with `get_ema_multi_avg_fn(decay)`: the first update copies the weights, each later one
/// moves the average towards them. A weight that never changes keeps its bits.
#[derive(Debug)]
pub struct Average {
    decay: f64,
    tensors: Vec<NamedTensor>,
}

impl Average {
    /// The average after its first update, or one that was saved.
    pub fn new(decay: f64, tensors: Vec<NamedTensor>) -> Self {
        Self { decay, tensors: by_name(tensors) }
    }

    /// Takes the weights after a further step.
    pub fn update(&mut self, weights: Vec<NamedTensor>) {
        let weight = (1.0 - self.decay) as f32;
        self.tensors.par_iter_mut().zip(by_name(weights)).with_max_len(1).for_each(|(average, now)| {
            for (a, w) in average.data.iter_mut().zip(&now.data) {
                *a = lerp(*a, *w, weight);
            }
        });
    }

    /// The averaged weights.
    pub fn tensors(&self) -> &[NamedTensor] {
        &self.tensors
    }
}

/// In one order, whatever that of a trainer or of a file is.
fn by_name(mut tensors: Vec<NamedTensor>) -> Vec<NamedTensor> {
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    tensors
}

/// `torch.lerp`: from whichever end is nearer, so that both ends are met to the bit.
fn lerp(from: f32, to: f32, weight: f32) -> f32 {
    if weight < 0.5 { from + weight * (to - from) } else { to - (to - from) * (1.0 - weight) }
}

#[cfg(test)]
mod tests;
