//! The cases of `tests/reference/loss_reference.py`: MONAI, torchvision and PyTorch.

use crate::TrainingBackend;
use crate::loss::*;
use burn::tensor::{ElementConversion, FloatDType, TensorData};
use burn_autodiff::Autodiff;
use resect_layers::Cpu;
use serde::Deserialize;

#[derive(Deserialize)]
pub struct Case {
    pub name: String,
    pub shape: [usize; 4],
    /// Height and width that each sample's image covers.
    images: Vec<[u32; 2]>,
    pub logits: Vec<f32>,
    pub masks: Vec<u8>,
    pub results: Vec<Expected>,
}

/// What a loss makes of a case: the means over its samples.
#[derive(Deserialize)]
pub struct Expected {
    settings: TrainParams,
    loss: f64,
    dice: f64,
    pixel: f64,
    gradient: Vec<f32>,
}

pub fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("../../../../../tests/fixtures/loss/losses.json")).unwrap()
}

/// Compares the CPU backend's loss, its terms and its gradient with every case. `loss` is [`TrainingBackend::loss`].
pub fn compare_backend(
    loss: impl Fn(
        Objective,
        Tensor<Autodiff<Cpu>, 4>,
        Tensor<Autodiff<Cpu>, 4>,
        &[Size],
        f64,
    ) -> (Tensor<Autodiff<Cpu>, 1>, Tensor<Autodiff<Cpu>, 2>),
) {
    /// The gradient is scaled, as in half precision.
    const SCALE: f64 = 8.0;
    for case in cases() {
        for expected in &case.results {
            let tensor = |data: Vec<f32>| {
                Tensor::<Autodiff<Cpu>, 4>::from_data(TensorData::new(data, case.shape), &Default::default())
            };
            let logits = tensor(case.logits.clone()).require_grad();
            let masks = tensor(case.masks.iter().map(|&mask| f32::from(mask)).collect());
            let (objective, n) = (expected.objective(), case.shape[0] as f64);
            let (total, terms) = loss(objective, logits.clone(), masks, &case.images(), 1.0 / n);
            let scaled = total.clone().mul_scalar(SCALE);
            let gradients = Cpu::within_step(|| scaled.backward());
            let gradient = logits.grad(&gradients).unwrap().div_scalar(SCALE).cast(FloatDType::F32);
            let terms: Vec<f64> = terms.into_data().iter::<f64>().collect();
            let sum: Values = terms.chunks(2).map(|term| objective.values(term[0], term[1])).sum();
            let total: f64 = total.into_scalar().elem();
            assert!((total - (sum / n).total()).abs() < 1e-6 * total.abs().max(1.0));
            expected.compare(&case, sum / n, &gradient.into_data().to_vec::<f32>().unwrap());
        }
    }
}

impl Case {
    pub fn images(&self) -> Vec<Size> {
        self.images.iter().map(|[height, width]| Size::new(*height, *width)).collect()
    }
}

impl Expected {
    pub fn objective(&self) -> Objective {
        Objective::new(&self.settings)
    }

    pub fn compare(&self, case: &Case, found: Values, gradient: &[f32]) {
        let (name, loss) = (&case.name, self.settings.loss);
        for (a, b) in [(found.total(), self.loss), (found.dice, self.dice), (found.ce, self.pixel)] {
            // Relative, and absolute near 0, where f32 has no digits left.
            assert!((a - b).abs() <= 1e-5 * b.abs().max(0.1), "{name}, {loss:?}: {a} {b}");
        }
        assert_eq!(gradient.len(), self.gradient.len());
        let largest = self.gradient.iter().fold(0f32, |m, g| m.max(g.abs()));
        for (a, b) in gradient.iter().zip(&self.gradient) {
            assert!((a - b).abs() <= 1e-4 * largest.max(1e-4), "{name}, {loss:?}: {a} {b}");
            assert!(*b != 0.0 || a.abs() < 1e-9, "{name}, {loss:?}: {a} where none is due");
        }
    }
}
