//! AdamW, as PyTorch has it, on slices.

use rayon::prelude::*;
use resect_params::TrainParams;
use resect_tape::vectorised;

/// AdamW with its moments. (`torch.optim.AdamW`)
pub struct AdamW {
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    weight_decay: f64,
    steps: u32,
    /// Running means of the gradients and of their squares.
    moments: [Vec<Vec<f32>>; 2],
}

impl AdamW {
    /// AdamW before its first step, with moments of zero.
    pub fn new(params: &TrainParams, moments: [Vec<Vec<f32>>; 2]) -> Self {
        let TrainParams { beta1, beta2, epsilon, weight_decay, .. } = *params;
        Self { beta1, beta2, epsilon, weight_decay, steps: 0, moments }
    }

    /// Running means of the gradients and of their squares, for each parameter.
    pub fn moments(&self) -> &[Vec<Vec<f32>>; 2] {
        &self.moments
    }

    /// Goes on where another left off.
    pub fn restore(&mut self, moments: [Vec<Vec<f32>>; 2], steps: u32) {
        (self.moments, self.steps) = (moments, steps);
    }

    /// Changes the parameters, sets the gradients to zero and tells their Euclidean norm.
    pub fn step(
        &mut self,
        learning_rate: f64,
        parameters: &mut [Vec<f32>],
        gradients: &mut [Vec<f32>],
    ) -> f64 {
        self.steps += 1;
        let corrected = |beta: f64| 1.0 - beta.powi(self.steps as i32);
        let (beta1, beta2) = (self.beta1 as f32, self.beta2 as f32);
        let (rest1, rest2) = ((1.0 - self.beta1) as f32, (1.0 - self.beta2) as f32);
        let kept = (1.0 - learning_rate * self.weight_decay) as f32;
        let rate = (learning_rate / corrected(self.beta1)) as f32;
        let spread = (1.0 / corrected(self.beta2).sqrt()) as f32;
        let epsilon = self.epsilon as f32;
        let [first, second] = &mut self.moments;
        let moments = first.par_iter_mut().zip(second);
        let squares: Vec<f64> = parameters
            .par_iter_mut()
            .zip(gradients)
            .zip(moments)
            .with_max_len(1)
            .map(|((parameter, gradient), (first, second))| {
                vectorised(
                    #[inline(always)]
                    || {
                        let squares = squares(gradient);
                        let moments = first.iter_mut().zip(second);
                        for ((p, g), (m, v)) in parameter.iter_mut().zip(gradient).zip(moments) {
                            *m = beta1 * *m + rest1 * *g;
                            *v = beta2 * *v + rest2 * (*g * *g);
                            *p = kept * *p - rate * *m / (v.sqrt() * spread + epsilon);
                            *g = 0.0;
                        }
                        squares
                    },
                )
            })
            .collect();
        squares.iter().sum::<f64>().sqrt()
    }
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
mod tests {
    use super::*;

    #[test]
    fn steps_are_pytorchs() {
        // p = torch.nn.Parameter(torch.tensor([1.0, -2.0])); opt = torch.optim.AdamW([p], lr=0.1, weight_decay=0.5)
        // for g in ([0.5, -0.1], [0.25, 0.0]): p.grad = torch.tensor(g); opt.step(); print(p.tolist())
        let params = TrainParams { weight_decay: 0.5, ..TrainParams::default() };
        let mut adam = AdamW::new(&params, [vec![vec![0.0; 2]], vec![vec![0.0; 2]]]);
        let mut parameters = [vec![1.0f32, -2.0]];
        for (gradient, expected) in EXPECTED {
            let mut gradients = [gradient.to_vec()];
            let norm = adam.step(0.1, &mut parameters, &mut gradients);
            let wide = |x: f32| f64::from(x);
            assert!((norm - wide(gradient[0]).hypot(wide(gradient[1]))).abs() < 1e-9);
            assert_eq!(gradients, [vec![0.0; 2]]);
            for (found, expected) in parameters[0].iter().zip(expected) {
                assert!((found - expected).abs() < 1e-6, "{found} {expected}");
            }
        }
    }

    const EXPECTED: [([f32; 2], [f32; 2]); 2] =
        [([0.5, -0.1], [0.85, -1.8]), ([0.25, 0.0], [0.714_282_04, -1.642_994])];
}
