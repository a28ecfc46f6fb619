//! AdamW on a device, on one vector, without a word to the host: whether a step can be taken is decided there, too.

use crate::loss_scale::{GROWTH_INTERVAL, LossScale};
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, ElementConversion, Int, Tensor, TensorData};
use resect_params::TrainParams;

/// Numbers that are summed in one go: the sum of some million squares in single precision loses digits otherwise.
const SUMMED: usize = 64;

/// AdamW with its moments, the average of the weights and the scale of the loss. (`torch.optim.AdamW`; [`crate::AdamW`] has the
/// same on the host)
pub(crate) struct FlatAdamW<B: Backend> {
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    weight_decay: f64,
    clip_norm: f64,
    ema: f64,
    weights: Tensor<B, 1>,
    /// Running means of the gradients and of their squares.
    moments: [Tensor<B, 1>; 2],
    average: Option<Tensor<B, 1>>,
    /// By the steps taken: what the mean and the root of the squares are multiplied by, because both began at 0.
    corrections: Tensor<B, 2>,
    /// Steps taken, as far as corrections go.
    taken: Tensor<B, 1, Int>,
    /// 1, or 0 once a number was none: then nothing changes any more.
    sound: Tensor<B, 1>,
    scale: Option<Scale<B>>,
}

/// The scale of the loss. ([`LossScale`] has the same on the host.)
struct Scale<B: Backend> {
    scale: Tensor<B, 1>,
    good_steps: Tensor<B, 1>,
}

/// What a step came to, `[1]` each.
pub(crate) struct Taken<B: Backend> {
    /// Euclidean norm of the gradient.
    pub norm: Tensor<B, 1>,
    /// Of the loss, from now on; 1 where it has none.
    pub scale: Tensor<B, 1>,
}

impl<B: Backend> FlatAdamW<B> {
    /// AdamW before its first step.
    pub(crate) fn new(params: &TrainParams, weights: Tensor<B, 1>) -> Self {
        let TrainParams { beta1, beta2, epsilon, weight_decay, clip_norm, ema, .. } = *params;
        let device = weights.device();
        let one = || Tensor::ones([1], &device);
        let scale = LossScale::new(params.precision).map(|scale| Scale::new(&scale, &device));
        Self {
            beta1,
            beta2,
            epsilon,
            weight_decay,
            clip_norm,
            ema,
            moments: [weights.zeros_like(), weights.zeros_like()],
            average: (ema > 0.0).then(|| weights.clone()),
            weights,
            corrections: corrections(beta1, beta2, &device),
            taken: Tensor::zeros([1], &device),
            sound: one(),
            scale,
        }
    }

    /// Goes on where another left off, after so many steps that were taken.
    pub(crate) fn restore(
        &mut self,
        moments: [Tensor<B, 1>; 2],
        average: Option<Tensor<B, 1>>,
        scale: Option<LossScale>,
        steps: u32,
    ) {
        let device = self.weights.device();
        self.moments = moments;
        self.average = average.or(self.average.take());
        self.scale = scale.map(|scale| Scale::new(&scale, &device));
        let last = self.corrections.dims()[0] - 1;
        self.taken = Tensor::from_data([i64::from(steps).min(last as i64)], &device);
    }

    pub(crate) fn weights(&self) -> Tensor<B, 1> {
        self.weights.clone()
    }

    pub(crate) fn moments(&self) -> [Tensor<B, 1>; 2] {
        self.moments.clone()
    }

    /// The average of the weights, where one is taken and a step was.
    pub(crate) fn average(&self) -> Option<Tensor<B, 1>> {
        let begun = |_: &Tensor<B, 1>| self.taken.clone().into_scalar().elem::<i64>() > 0;
        self.average.clone().filter(begun)
    }

    /// What the loss is multiplied by before it is passed back, `[1]`.
    pub(crate) fn loss_scale(&self) -> Option<Tensor<B, 1>> {
        Some(self.scale.as_ref()?.scale.clone())
    }

    /// The same for the host, with what decides when it grows.
    pub(crate) fn saved_loss_scale(&self) -> Option<LossScale> {
        let number = |tensor: &Tensor<B, 1>| tensor.clone().into_scalar().elem::<f64>();
        let scale = self.scale.as_ref()?;
        Some(LossScale::of(number(&scale.scale), number(&scale.good_steps) as u32))
    }

    /// Takes a step with the gradient of a loss that was multiplied by its scale, or skips it; `loss` is any number that is finite
    /// if and only if the loss is, `[1]`.
    ///
    /// Where the loss is not finite, or the norm is not and there is no scale to blame, nothing changes, now and after.
    pub(crate) fn step(
        &mut self,
        learning_rate: f64,
        gradient: Tensor<B, 1>,
        loss: Tensor<B, 1>,
    ) -> Taken<B> {
        let gradient = match &self.scale {
            Some(scale) => gradient / scale.scale.clone(),
            None => gradient,
        };
        let norm = norm(gradient.clone());
        let finite = norm.clone().is_finite().float();
        let cause = if self.scale.is_some() { loss } else { loss + norm.clone() };
        self.sound = self.sound.clone() * cause.is_finite().float();
        let take = self.sound.clone() * finite.clone();
        if let Some(scale) = &mut self.scale {
            scale.update(finite);
        }
        self.update(learning_rate, gradient, norm.clone(), take);
        let scale = self.loss_scale().unwrap_or_else(|| Tensor::ones([1], &norm.device()));
        Taken { norm, scale }
    }

    /// Changes everything that a step changes, if `take` is 1.
    fn update(&mut self, learning_rate: f64, gradient: Tensor<B, 1>, norm: Tensor<B, 1>, take: Tensor<B, 1>) {
        let length = gradient.dims()[0];
        let taking = take.clone().greater_elem(0.5).expand([length]);
        let gradient = match self.clip_norm > 0.0 {
            true => gradient * ((norm + 1e-6).recip() * self.clip_norm).clamp_max(1.0),
            false => gradient,
        };
        let correction = self.corrections.clone().select(0, self.taken.clone());
        let [rate, spread] = [0, 1].map(|i| correction.clone().slice_dim(1, i..i + 1).reshape([1]));
        let [first, second] = self.moments.clone();
        let first = first * self.beta1 + gradient.clone() * (1.0 - self.beta1);
        let second = second * self.beta2 + gradient.clone() * gradient * (1.0 - self.beta2);
        let step = first.clone() * (rate * learning_rate) / (second.clone().sqrt() * spread + self.epsilon);
        let weights = self.weights.clone() * (1.0 - learning_rate * self.weight_decay) - step;
        let put = |into: &mut Tensor<B, 1>, changed: Tensor<B, 1>, taking: &Tensor<B, 1, Bool>| {
            *into = into.clone().mask_where(taking.clone(), changed);
        };
        if let Some(average) = &mut self.average {
            // The first step's weights are the average whole.
            let begun = self.taken.clone().greater_elem(0).float();
            let share = begun * -self.ema + 1.0;
            put(average, average.clone() + (weights.clone() - average.clone()) * share, &taking);
        }
        put(&mut self.weights, weights, &taking);
        let [of_first, of_second] = &mut self.moments;
        put(of_first, first, &taking);
        put(of_second, second, &taking);
        let last = self.corrections.dims()[0] as i64 - 1;
        self.taken = (self.taken.clone() + take.int()).clamp_max(last);
    }
}

impl<B: Backend> Scale<B> {
    fn new(scale: &LossScale, device: &B::Device) -> Self {
        let number = |x: f64| Tensor::from_data([x as f32], device);
        Self { scale: number(scale.scale()), good_steps: number(f64::from(scale.good_steps())) }
    }

    /// Notes a step that was taken, where `finite` is 1, or one that was skipped.
    fn update(&mut self, finite: Tensor<B, 1>) {
        let good = (self.good_steps.clone() + 1.0) * finite.clone();
        let grown = good.clone().equal_elem(f64::from(GROWTH_INTERVAL)).float();
        self.good_steps = good * (grown.clone().neg() + 1.0);
        // 1 for a good step, 2 for the last of many, a half for a bad one.
        let factor = finite * 0.5 + 0.5 + grown;
        // The largest power of two that a single holds.
        self.scale = (self.scale.clone() * factor).clamp_max(f64::from(2f32.powi(127)));
    }
}

/// Euclidean norm, `[1]`; in the same order each time.
fn norm<B: Backend>(gradient: Tensor<B, 1>) -> Tensor<B, 1> {
    let rows = gradient.dims()[0] / SUMMED;
    let squares = gradient.reshape([rows, SUMMED]).square().sum_dim(1);
    let (whole, rest) = (rows / SUMMED * SUMMED, rows % SUMMED);
    let mut sum = squares.clone().slice_dim(0, whole..rows);
    sum = if rest > 0 { sum.sum_dim(0) } else { Tensor::zeros([1, 1], &squares.device()) };
    if whole > 0 {
        let squares = squares.slice_dim(0, 0..whole).reshape([whole / SUMMED, SUMMED]);
        sum = sum + squares.sum_dim(1).sum_dim(0);
    }
    sum.sqrt().reshape([1])
}

/// `[steps, 2]`, from before the first step to where both have become 1: `1 / (1 - beta1^t)` and `1 / sqrt(1 - beta2^t)`.
fn corrections<B: Backend>(beta1: f64, beta2: f64, device: &B::Device) -> Tensor<B, 2> {
    /// With betas so near to 1 that they never do, the last ones are off by a share of this at most.
    const MOST: i32 = 1 << 18;
    let of = |step: i32| [1.0 / (1.0 - beta1.powi(step)), 1.0 / (1.0 - beta2.powi(step)).sqrt()];
    let mut rows: Vec<f32> = Vec::new();
    for step in 1..=MOST {
        let row = of(step).map(|x| x as f32);
        rows.extend(row);
        if row == [1.0, 1.0] {
            break;
        }
    }
    let steps = rows.len() / 2;
    Tensor::from_data(TensorData::new(rows, [steps, 2]), device)
}
