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
mod tests {
    use super::*;

    /// What this gives, beside a second weight that stays 0.3:
    ///
    /// ```python
    /// from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
    /// for decay in (0.9, 0.25):
    ///     model = torch.nn.Linear(2, 1, bias=False)
    ///     average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))
    ///     for w in ([1.0, 0.3], [2.0, 0.3], [-0.5, 0.3], [1e-3, 0.3]):
    ///         model.weight.data = torch.tensor([w]); average.update_parameters(model)
    ///         print([numpy.float32(x) for x in average.module.weight[0].tolist()])
    /// ```
    const EXPECTED: [(f64, [f32; 4]); 2] =
        [(0.9, [1.0, 1.1, 0.94, 0.8461]), (0.25, [1.0, 1.75, 0.0625, 0.016375])];

    #[test]
    fn averages_are_pytorchs() {
        let tensor =
            |first: f32| vec![NamedTensor { name: "w".into(), shape: vec![2], data: vec![first, 0.3] }];
        for (decay, expected) in EXPECTED {
            let mut average: Option<Average> = None;
            for (weight, expected) in [1.0, 2.0, -0.5, 1e-3].into_iter().zip(expected) {
                match &mut average {
                    Some(average) => average.update(tensor(weight)),
                    none => *none = Some(Average::new(decay, tensor(weight))),
                }
                assert_eq!(average.as_ref().unwrap().tensors(), tensor(expected), "decay {decay}");
            }
        }
    }
}
