//! MONAI's `DiceCELoss(sigmoid=True, squared_pred=True, reduction="mean")` on one channel.

use burn::tensor::activation::{relu, sigmoid};
use burn::tensor::backend::Backend;
use burn::tensor::{ElementConversion, Tensor};
use resect_tape::{exp_negative, ln_1p_unit, vectorised};

/// MONAI's `smooth_nr` and `smooth_dr`.
const SMOOTH: f64 = 1e-5;

/// The two parts of the loss, each a scalar; their sum is the loss.
#[derive(Clone, Debug)]
pub struct DiceCe<B: Backend> {
    /// Dice part, 0 to 1.
    pub dice: Tensor<B, 1>,
    /// Cross-entropy part, 0 or more.
    pub ce: Tensor<B, 1>,
}

/// The same as numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Values {
    /// Dice part.
    pub dice: f64,
    /// Cross-entropy part.
    pub ce: f64,
}

impl Values {
    /// Their sum.
    pub fn total(self) -> f64 {
        self.dice + self.ce
    }
}

impl<B: Backend> DiceCe<B> {
    /// The two parts as numbers.
    pub(crate) fn values(&self) -> Values {
        Values {
            dice: self.dice.clone().into_scalar().elem::<f64>(),
            ce: self.ce.clone().into_scalar().elem::<f64>(),
        }
    }
}

/// Dice and cross-entropy of logits `[n, 1, h, w]` against masks of 0 and 1 of the same shape.
///
/// Dice per sample with squared predictions, `1 - (2 sum(p g) + s) / (sum(p^2) + sum(g^2) + s)`, mean over samples;
/// binary cross-entropy with logits, mean over all pixels, padding included. (`monai/losses/dice.py`, `DiceCELoss`)
pub fn dice_ce<B: Backend>(logits: Tensor<B, 4>, masks: Tensor<B, 4>) -> DiceCe<B> {
    let [n, c, h, w] = logits.dims();
    let x = logits.reshape([n, c * h * w]);
    let g = masks.reshape([n, c * h * w]);
    // The form that neither overflows nor loses digits: max(x, 0) - x g + log(1 + exp(-|x|)).
    let ce = (relu(x.clone()) - x.clone() * g.clone() + x.clone().abs().neg().exp().log1p()).mean();
    let p = sigmoid(x);
    let overlap = (p.clone() * g.clone()).sum_dim(1);
    let sizes = (p.clone() * p).sum_dim(1) + (g.clone() * g).sum_dim(1);
    let dice = ((overlap * 2.0 + SMOOTH) / (sizes + SMOOTH)).neg() + 1.0;
    DiceCe { dice: dice.mean(), ce }
}

/// The sums that the loss of one sample is made of, on the host: the same whatever else is in its batch.
#[derive(Clone, Copy, Debug, Default)]
pub struct SampleLoss {
    cells: usize,
    ce: f64,
    overlap: f64,
    sizes: f64,
}

impl SampleLoss {
    /// Of logits and a mask of 0 and 1; leaves the probabilities in `probabilities`, all three of one length.
    pub fn of(logits: &[f32], mask: &[u8], probabilities: &mut [f32]) -> Self {
        /// Cells summed in single precision before they go into double.
        const CHUNK: usize = 1024;
        /// Sums that run beside one another, as the processor likes it.
        const LANES: usize = 16;
        let mut loss = Self { cells: logits.len(), ..Self::default() };
        let parts = logits.chunks(CHUNK).zip(mask.chunks(CHUNK)).zip(probabilities.chunks_mut(CHUNK));
        vectorised(
            #[inline(always)]
            || {
                for ((logits, mask), probabilities) in parts {
                    let (mut ce, mut overlap, mut sizes) = ([0f32; LANES], [0f32; LANES], [0f32; LANES]);
                    let cells =
                        logits.chunks(LANES).zip(mask.chunks(LANES)).zip(probabilities.chunks_mut(LANES));
                    for ((logits, mask), probabilities) in cells {
                        for (i, ((&x, &g), p)) in logits.iter().zip(mask).zip(probabilities).enumerate() {
                            let g = f32::from(g);
                            let e = exp_negative(-x.abs());
                            // max(x, 0) - x g + log(1 + exp(-|x|)) neither overflows nor loses digits.
                            ce[i] += if x < 0.0 { -x * g } else { x - x * g } + ln_1p_unit(e);
                            let large = 1.0 / (1.0 + e);
                            *p = if x < 0.0 { e * large } else { large };
                            overlap[i] += *p * g;
                            sizes[i] += *p * *p + g * g;
                        }
                    }
                    let sum = |lanes: [f32; LANES]| lanes.iter().map(|&x| f64::from(x)).sum::<f64>();
                    loss.ce += sum(ce);
                    loss.overlap += sum(overlap);
                    loss.sizes += sum(sizes);
                }
            },
        );
        loss
    }

    /// The loss.
    pub fn values(self) -> Values {
        Values {
            dice: 1.0 - (2.0 * self.overlap + SMOOTH) / (self.sizes + SMOOTH),
            ce: self.ce / self.cells.max(1) as f64,
        }
    }

    /// Turns the probabilities into the gradient of `share` times the loss by the logits.
    pub fn gradient(self, mask: &[u8], share: f64, probabilities: &mut [f32]) {
        let ce = (share / self.cells.max(1) as f64) as f32;
        let union = self.sizes + SMOOTH;
        let inside = (-2.0 * share / union) as f32;
        let everywhere = (2.0 * share * (2.0 * self.overlap + SMOOTH) / (union * union)) as f32;
        vectorised(
            #[inline(always)]
            || {
                for (p, &g) in probabilities.iter_mut().zip(mask) {
                    let g = f32::from(g);
                    *p = ce * (*p - g) + (inside * g + everywhere * *p) * *p * (1.0 - *p);
                }
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::backend::Autodiff;
    use burn::tensor::TensorData;
    use resect_sam::Cpu;
    use serde::Deserialize;

    /// Made by `tests/reference/loss_reference.py` with MONAI and PyTorch.
    #[derive(Deserialize)]
    struct Case {
        name: String,
        shape: [usize; 4],
        logits: Vec<f32>,
        masks: Vec<u8>,
        loss: f64,
        gradient: Vec<f32>,
    }

    /// Relative, and absolute for losses near 0, where f32 has no digits left.
    const TOLERANCE: f64 = 1e-5;

    fn cases() -> Vec<Case> {
        serde_json::from_str(include_str!("../../../tests/fixtures/loss/dice_ce.json")).unwrap()
    }

    #[test]
    fn value_and_gradient_are_monais() {
        let device = Default::default();
        for case in cases() {
            let tensor = |data: Vec<f32>| {
                Tensor::<Autodiff<Cpu>, 4>::from_data(TensorData::new(data, case.shape), &device)
            };
            let logits = tensor(case.logits.clone()).require_grad();
            let masks = tensor(case.masks.iter().map(|&m| f32::from(m)).collect());
            let loss = dice_ce(logits.clone(), masks);
            let value = loss.values().total();
            assert!(
                (value - case.loss).abs() <= TOLERANCE * case.loss.abs().max(0.1),
                "{}: {value} {}",
                case.name,
                case.loss
            );
            let gradients = (loss.dice + loss.ce).backward();
            let gradient: Vec<f32> = logits.grad(&gradients).unwrap().into_data().to_vec().unwrap();
            let largest = case.gradient.iter().fold(0f32, |m, g| m.max(g.abs()));
            for (a, b) in gradient.iter().zip(&case.gradient) {
                assert!((a - b).abs() <= 1e-4 * largest.max(1e-4), "{}: {a} {b}", case.name);
            }
        }
    }

    #[test]
    fn the_host_agrees() {
        for case in cases() {
            let cells = case.shape[2] * case.shape[3];
            let share = 1.0 / case.shape[0] as f64;
            let largest = case.gradient.iter().fold(0f32, |m, g| m.max(g.abs()));
            let mut mean = 0.0;
            let samples = case.logits.chunks(cells).zip(case.masks.chunks(cells));
            for ((logits, mask), expected) in samples.zip(case.gradient.chunks(cells)) {
                let mut gradient = vec![0.0; cells];
                let loss = SampleLoss::of(logits, mask, &mut gradient);
                mean += share * loss.values().total();
                loss.gradient(mask, share, &mut gradient);
                for (a, b) in gradient.iter().zip(expected) {
                    assert!((a - b).abs() <= 1e-4 * largest.max(1e-4), "{}: {a} {b}", case.name);
                }
            }
            assert!(
                (mean - case.loss).abs() <= TOLERANCE * case.loss.abs().max(0.1),
                "{}: {mean} {}",
                case.name,
                case.loss
            );
        }
    }

    #[test]
    fn a_logit_that_is_no_number_is_a_loss_that_is_none() {
        for x in [f32::NAN, f32::INFINITY] {
            let loss = SampleLoss::of(&[0.0, x], &[1, 0], &mut [0.0; 2]).values().total();
            assert!(!loss.is_finite(), "{x}: {loss}");
        }
    }
}
