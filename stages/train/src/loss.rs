//! MONAI's `DiceCELoss(sigmoid=True, squared_pred=True, reduction="mean")` on one channel.

use burn::tensor::activation::{relu, sigmoid};
use burn::tensor::backend::Backend;
use burn::tensor::{ElementConversion, Tensor};

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
    pub dice: f64,
    pub ce: f64,
}

impl Values {
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

/// The loss of one sample on the host, in f64: what validation reports, whatever else was in its batch.
pub(crate) fn dice_ce_of(logits: &[f32], mask: &[u8]) -> Values {
    let (mut ce, mut overlap, mut sizes) = (0.0, 0.0, 0.0);
    for (&x, &g) in logits.iter().zip(mask) {
        let (x, g) = (f64::from(x), f64::from(g));
        ce += x.max(0.0) - x * g + (-x.abs()).exp().ln_1p();
        let p = 1.0 / (1.0 + (-x).exp());
        overlap += p * g;
        sizes += p * p + g * g;
    }
    Values { dice: 1.0 - (2.0 * overlap + SMOOTH) / (sizes + SMOOTH), ce: ce / logits.len().max(1) as f64 }
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
            let samples = case.logits.chunks(cells).zip(case.masks.chunks(cells));
            let total: f64 = samples.map(|(x, g)| dice_ce_of(x, g).total()).sum();
            let mean = total / case.shape[0] as f64;
            assert!(
                (mean - case.loss).abs() <= TOLERANCE * case.loss.abs().max(0.1),
                "{}: {mean} {}",
                case.name,
                case.loss
            );
        }
    }
}
