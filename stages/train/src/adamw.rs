//! AdamW and the clipping of gradients, as PyTorch has them, on vectors of all parameters: nothing waits for a number.

use crate::TrainingBackend;
use crate::layout::ALIGNMENT;
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Int, Tensor, TensorData};
use resect_train_params::TrainParams;

/// AdamW with its moments, and bias corrections from double precision. (`torch.optim.AdamW`)
///
/// How many steps were taken is known on the device alone until [`AdamW::taken`] is called: corrections are looked up there.
pub struct AdamW<B: Backend> {
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    weight_decay: f64,
    clip_norm: f64,
    /// Running means of the gradients and of their squares, `[length]`.
    moments: [Tensor<B, 1>; 2],
    /// Steps that were taken before those of the table.
    steps: u32,
    table: Table<B>,
}

/// Corrections of the steps to come.
struct Table<B: Backend> {
    /// What the learning rate is multiplied by, `[steps]`: 1 / (1 - beta1^t).
    rate: Tensor<B, 1>,
    /// What the root of the second moment is multiplied by, `[steps]`: 1 / sqrt(1 - beta2^t).
    spread: Tensor<B, 1>,
    /// Which of them is next, `[1]`.
    next: Tensor<B, 1, Int>,
}

/// A step of AdamW.
pub struct AdamWStep<B: Backend> {
    /// Of the running mean of gradients.
    pub beta1: f64,
    /// Of the running mean of their squares.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decay of weights, times the learning rate.
    pub weight_decay: f64,
    /// The norm that gradients are clipped to; 0 where they are not. (`torch.nn.utils.clip_grad_norm_`)
    pub clip_norm: f64,
    /// The learning rate.
    pub learning_rate: f64,
    /// The norm of the gradient, `[1]`.
    pub norm: Tensor<B, 1>,
    /// What the learning rate is multiplied by, `[1]`: 1 / (1 - beta1^t).
    pub rate: Tensor<B, 1>,
    /// What the root of the second moment is multiplied by, `[1]`: 1 / sqrt(1 - beta2^t).
    pub spread: Tensor<B, 1>,
    /// Whether the step is taken, `[1]`.
    pub taken: Tensor<B, 1, Bool>,
}

impl<B: TrainingBackend> AdamW<B> {
    /// AdamW before its first step, with moments of zero. At most `at_once` steps may pass between two calls of [`AdamW::taken`].
    pub fn new(params: &TrainParams, zeros: Tensor<B, 1>, at_once: usize) -> Self {
        let TrainParams { beta1, beta2, epsilon, weight_decay, clip_norm, .. } = *params;
        let table = Table::new([beta1, beta2], 0, at_once, &zeros.device());
        let moments = [zeros.clone(), zeros];
        Self { beta1, beta2, epsilon, weight_decay, clip_norm, moments, steps: 0, table }
    }

    /// Running means of the gradients and of their squares.
    pub fn moments(&self) -> &[Tensor<B, 1>; 2] {
        &self.moments
    }

    /// Steps that were taken, as far as they were told.
    pub fn steps(&self) -> u32 {
        self.steps
    }

    /// Goes on where another left off.
    pub fn restore(&mut self, moments: [Tensor<B, 1>; 2], steps: u32) {
        self.moments = moments;
        self.taken(steps);
    }

    /// Is told how many more steps were taken.
    pub fn taken(&mut self, steps: u32) {
        self.steps += steps;
        let at_once = self.table.rate.dims()[0];
        let betas = [self.beta1, self.beta2];
        self.table = Table::new(betas, self.steps, at_once, &self.table.rate.device());
    }

    /// The weights after a step with a gradient of Euclidean norm `norm`, `[1]`; the same weights, to the bit, where the step, `[1]`, is
    /// not taken, whatever the gradient is.
    pub fn step(
        &mut self,
        learning_rate: f64,
        weights: Tensor<B, 1>,
        gradient: Tensor<B, 1>,
        norm: Tensor<B, 1>,
        taken: &Tensor<B, 1, Bool>,
    ) -> Tensor<B, 1> {
        let (rate, spread) = self.table.look_up(taken);
        let step = AdamWStep {
            beta1: self.beta1,
            beta2: self.beta2,
            epsilon: self.epsilon,
            weight_decay: self.weight_decay,
            clip_norm: self.clip_norm,
            learning_rate,
            norm,
            rate,
            spread,
            taken: taken.clone(),
        };
        B::adamw(&step, weights, gradient, &mut self.moments)
    }
}

/// [`TrainingBackend::adamw`] in tensors.
pub(crate) fn stepped<B: Backend>(
    step: &AdamWStep<B>,
    weights: Tensor<B, 1>,
    gradient: Tensor<B, 1>,
    [first, second]: &mut [Tensor<B, 1>; 2],
) -> Tensor<B, 1> {
    let AdamWStep { beta1, beta2, epsilon, weight_decay, clip_norm, learning_rate, .. } = *step;
    let gradient = match clip_norm > 0.0 {
        true => {
            let norm = step.norm.clone().add_scalar(1e-6);
            gradient * norm.recip().mul_scalar(clip_norm).clamp_max(1.0)
        }
        false => gradient,
    };
    let square = gradient.clone() * gradient.clone();
    let m = first.clone().mul_scalar(beta1) + gradient.mul_scalar(1.0 - beta1);
    let v = second.clone().mul_scalar(beta2) + square.mul_scalar(1.0 - beta2);
    let scale = (v.clone().sqrt() * step.spread.clone()).add_scalar(epsilon);
    let moved = m.clone() * step.rate.clone().mul_scalar(learning_rate) / scale;
    let stepped = weights.clone().mul_scalar(1.0 - learning_rate * weight_decay) - moved;
    let taken = step.taken.clone().expand(weights.dims());
    *first = first.clone().mask_where(taken.clone(), m);
    *second = second.clone().mask_where(taken.clone(), v);
    weights.mask_where(taken, stepped)
}

impl<B: Backend> Table<B> {
    /// The corrections of so many steps after `taken`.
    fn new([beta1, beta2]: [f64; 2], taken: u32, steps: usize, device: &B::Device) -> Self {
        let steps = (1..=steps as i32).map(|i| taken as i32 + i);
        let vector = |numbers: Vec<f32>| {
            let shape = [numbers.len()];
            Tensor::from_data(TensorData::new(numbers, shape), device)
        };
        Self {
            rate: vector(steps.clone().map(|t| (1.0 / (1.0 - beta1.powi(t))) as f32).collect()),
            spread: vector(steps.map(|t| (1.0 / (1.0 - beta2.powi(t)).sqrt()) as f32).collect()),
            next: Tensor::zeros([1], device),
        }
    }

    /// The corrections of a step, `[1]` each. The next one's are those after them, if this step is taken.
    fn look_up(&mut self, taken: &Tensor<B, 1, Bool>) -> (Tensor<B, 1>, Tensor<B, 1>) {
        let next = self.next.clone();
        self.next = next.clone() + taken.clone().int();
        (self.rate.clone().select(0, next.clone()), self.spread.clone().select(0, next))
    }
}

/// The Euclidean norm of a vector of parameters, `[1]`.
///
/// On a GPU one thread adds up the numbers of a sum over an axis, so the vector is summed in steps, each with many short sums. What
/// sums all numbers at once there has threads add to one place in any order, and gives other bits each time.
pub(crate) fn norm<B: Backend>(vector: &Tensor<B, 1>) -> Tensor<B, 1> {
    let squares = vector.clone() * vector.clone();
    let rows = |x: Tensor<B, 1>| {
        let length = x.dims()[0] / ALIGNMENT;
        x.reshape([length, ALIGNMENT]).sum_dim(1).reshape([length])
    };
    rows(rows(squares)).sum_dim(0).sqrt()
}

/// Whether a number, `[1]`, is finite.
pub fn is_finite<B: Backend>(number: Tensor<B, 1>) -> Tensor<B, 1, Bool> {
    number.abs().lower_equal_elem(f32::MAX)
}

#[cfg(test)]
mod tests;
