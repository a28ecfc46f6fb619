//! The cases of `tests/reference/loss_reference.py`: MONAI, torchvision and PyTorch.

use crate::loss::*;
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
