//! AdamW and the clipping of gradients, as PyTorch has them, on slices.

use rayon::prelude::*;
use resect_kernels::vectorised;
use resect_train_params::TrainParams;

/// AdamW with its moments. (`torch.optim.AdamW`)
pub struct AdamW {
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    weight_decay: f64,
    clip_norm: f64,
    steps: u32,
    /// Running means of the gradients and of their squares.
    moments: [Vec<Vec<f32>>; 2],
}

impl AdamW {
    /// AdamW before its first step, with moments of zero.
    pub fn new(params: &TrainParams, moments: [Vec<Vec<f32>>; 2]) -> Self {
        let TrainParams { beta1, beta2, epsilon, weight_decay, clip_norm, .. } = *params;
        Self { beta1, beta2, epsilon, weight_decay, clip_norm, steps: 0, moments }
    }

    /// Running means of the gradients and of their squares, for each parameter.
    pub fn moments(&self) -> &[Vec<Vec<f32>>; 2] {
        &self.moments
    }

    /// Goes on where another left off.
    pub fn restore(&mut self, moments: [Vec<Vec<f32>>; 2], steps: u32) {
        (self.moments, self.steps) = (moments, steps);
    }

    /// Changes the parameters, sets the gradients to zero and tells their Euclidean norm, that before clipping. Where that is not
    /// finite, nothing is changed.
    pub fn step(
        &mut self,
        learning_rate: f64,
        parameters: &mut [Vec<f32>],
        gradients: &mut [Vec<f32>],
    ) -> f64 {
        let norm = norm(gradients);
        if !norm.is_finite() {
            return norm;
        }
        self.steps += 1;
        let corrected = |beta: f64| 1.0 - beta.powi(self.steps as i32);
        let (beta1, beta2) = (self.beta1 as f32, self.beta2 as f32);
        let (rest1, rest2) = ((1.0 - self.beta1) as f32, (1.0 - self.beta2) as f32);
        let kept = self.kept(learning_rate);
        let rate = (learning_rate / corrected(self.beta1)) as f32;
        let spread = (1.0 / corrected(self.beta2).sqrt()) as f32;
        let epsilon = self.epsilon as f32;
        let scale = clip_factor(self.clip_norm, norm) as f32;
        let [first, second] = &mut self.moments;
        let moments = first.par_iter_mut().zip(second);
        parameters.par_iter_mut().zip(gradients).zip(moments).with_max_len(1).for_each(
            |((parameter, gradient), (first, second))| {
                vectorised(
                    #[inline(always)]
                    || {
                        let moments = first.iter_mut().zip(second);
                        for ((p, g), (m, v)) in parameter.iter_mut().zip(gradient).zip(moments) {
                            let clipped = *g * scale;
                            *m = beta1 * *m + rest1 * clipped;
                            *v = beta2 * *v + rest2 * (clipped * clipped);
                            *p = kept * *p - rate * *m / (v.sqrt() * spread + epsilon);
                            *g = 0.0;
                        }
                    },
                )
            },
        );
        norm
    }

    /// What [`AdamW::step`] does to a parameter whose gradients have all been zero.
    pub fn decay(&self, learning_rate: f64, parameter: &mut [f32]) {
        let kept = self.kept(learning_rate);
        parameter.iter_mut().for_each(|p| *p *= kept);
    }

    /// What weight decay leaves of a parameter.
    fn kept(&self, learning_rate: f64) -> f32 {
        (1.0 - learning_rate * self.weight_decay) as f32
    }
}

/// What gradients of this Euclidean norm are multiplied by. (`torch.nn.utils.clip_grad_norm_`; its norm is that of all
/// gradients together.)
pub(crate) fn clip_factor(clip_norm: f64, norm: f64) -> f64 {
    if clip_norm > 0.0 { (clip_norm / (norm + 1e-6)).min(1.0) } else { 1.0 }
}

/// The Euclidean norm of all gradients together.
fn norm(gradients: &[Vec<f32>]) -> f64 {
    let squares: Vec<f64> = gradients
        .par_iter()
        .with_max_len(1)
        .map(|gradient| {
            vectorised(
                #[inline(always)]
                || squares(gradient),
            )
        })
        .collect();
    squares.iter().sum::<f64>().sqrt()
}

/// The sum of squares, in a fixed order.
#[inline(always)]
fn squares(x: &[f32]) -> f64 {
    /// Sums that run beside one another, as the processor likes it.
    const LANES: usize = 16;
    let mut lanes = [0f64; LANES];
    for chunk in x.chunks(LANES) {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += f64::from(*x) * f64::from(*x);
        }
    }
    lanes.iter().sum()
}

#[cfg(test)]
mod tests;
