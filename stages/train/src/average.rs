//! The exponential moving average of the weights, as a vector of all parameters.

use crate::TrainingBackend;
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Tensor};

/// `torch.optim.swa_utils.AveragedModel` with `get_ema_multi_avg_fn(decay)`: the first update copies the weights, each later one moves
/// the average towards them. A weight that never changes keeps its bits.
pub struct Average<B: Backend> {
    decay: f64,
    /// `[length]`; any numbers before the first step that is taken.
    average: Tensor<B, 1>,
    /// Whether a step was taken, `[1]`.
    began: Tensor<B, 1, Bool>,
}

impl<B: TrainingBackend> Average<B> {
    /// An average of nothing; its first update copies the weights.
    pub fn new(decay: f64, zeros: Tensor<B, 1>) -> Self {
        let began = Tensor::from_data([false], &zeros.device());
        Self { decay, average: zeros, began }
    }

    /// Goes on from an average.
    pub fn restore(&mut self, average: Tensor<B, 1>) {
        self.began = Tensor::from_data([true], &average.device());
        self.average = average;
    }

    /// Takes the weights after a step, `[1]`, where it was taken.
    pub fn update(&mut self, weights: &Tensor<B, 1>, taken: &Tensor<B, 1, Bool>) {
        let average = std::mem::replace(&mut self.average, Tensor::empty([0], &weights.device()));
        self.average = B::average(self.decay, average, weights, [&self.began, taken]);
        self.began = self.began.clone().bool_or(taken.clone());
    }

    /// The averaged weights, once a step was taken.
    pub fn average(&self) -> &Tensor<B, 1> {
        &self.average
    }
}

/// [`TrainingBackend::average`] in tensors.
pub(crate) fn averaged<B: Backend>(
    decay: f64,
    average: Tensor<B, 1>,
    weights: &Tensor<B, 1>,
    [began, taken]: [&Tensor<B, 1, Bool>; 2],
) -> Tensor<B, 1> {
    let (from, to, weight) = (average, weights.clone(), 1.0 - decay);
    let apart = to.clone() - from.clone();
    // From whichever end is nearer. (`torch.lerp`)
    let moved = match weight < 0.5 {
        true => from.clone() + apart.mul_scalar(weight),
        false => to.clone() - apart.mul_scalar(1.0 - weight),
    };
    let length = weights.dims();
    let updated = to.mask_where(began.clone().expand(length), moved);
    from.mask_where(taken.clone().expand(length), updated)
}

/// `torch.lerp`: from whichever end is nearer, so that both ends are met to the bit.
pub(crate) fn lerp(from: f32, to: f32, weight: f32) -> f32 {
    if weight < 0.5 { from + weight * (to - from) } else { to - (to - from) * (1.0 - weight) }
}

#[cfg(test)]
mod tests;
