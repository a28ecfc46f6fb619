//! What a target is prompted with: its tight box, and what else the sweep tries.

use resect_evaluate_params::EvaluateParams;
use resect_evaluation_records::PromptKind;
use resect_geometry::{Mask, PixelBox, Size};
use resect_prompt::{BoxPrompt, PointPrompt, Prompt};
use resect_target_records::Target;

use crate::EvaluateError;

/// The tight box of a target.
pub(crate) fn tight(target: &Target) -> Prompt {
    Prompt::of_box(target.bounding_box())
}

/// A form of prompt, and how much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    pub kind: PromptKind,
    pub amount: Option<u32>,
}

impl Form {
    /// All that the sweep tries, in the order in which it reports them.
    pub fn all(params: &EvaluateParams) -> Vec<Self> {
        let noise = |kind, amounts: &[u32]| -> Vec<Self> {
            amounts.iter().map(|&amount| Self { kind, amount: Some(amount) }).collect()
        };
        let other = [
            PromptKind::Point,
            PromptKind::BoxAndPoint,
            PromptKind::WrongBox,
            PromptKind::Multimask,
            PromptKind::MultimaskOracle,
        ];
        [
            noise(PromptKind::BoxNoisePixels, &params.noise_pixels),
            noise(PromptKind::BoxNoisePercent, &params.noise_percent),
            other.map(|kind| Self { kind, amount: None }).into(),
        ]
        .concat()
    }

    /// What it makes of a target, whose truth is read where it is needed; `None` where the truth has no pixel to point at.
    ///
    /// # Errors
    /// Noise of no amount.
    pub fn prompt(
        self,
        target: &Target,
        truth: impl Fn() -> Mask,
        seed: u64,
    ) -> Result<Option<Prompt>, EvaluateError> {
        let (tight, image) = (target.bounding_box(), target.original());
        let bounds = match self.kind {
            PromptKind::BoxNoisePixels | PromptKind::BoxNoisePercent => {
                let amount = self.amount.ok_or_else(|| {
                    EvaluateError::Internal(format!("the noise {} has no amount", self.kind.name()))
                })?;
                Some(noisy(tight, image, reach(self.kind, amount, tight), draws(&target.id, seed)))
            }
            PromptKind::BoxAndPoint | PromptKind::Multimask | PromptKind::MultimaskOracle => Some(tight),
            PromptKind::WrongBox => Some(wrong(tight, &truth())),
            PromptKind::Point => None,
        };
        let points = match self.kind {
            PromptKind::Point | PromptKind::BoxAndPoint => match truth().most_interior() {
                Some(pixel) => vec![PointPrompt::foreground(pixel.map(f64::from))],
                None => return Ok(None),
            },
            _ => Vec::new(),
        };
        Ok(Some(Prompt { bounds: bounds.map(BoxPrompt::from), points, mask: None }))
    }
}

/// How far left, top, right and bottom of a box move at most, in pixels.
fn reach(kind: PromptKind, amount: u32, tight: PixelBox) -> [f64; 4] {
    let amount = f64::from(amount);
    match kind {
        PromptKind::BoxNoisePercent => {
            let [width, height] =
                [tight.width(), tight.height()].map(|side| f64::from(side) * amount / 100.0);
            [width, height, width, height]
        }
        _ => [amount; 4],
    }
}

/// Uniform draws from -1 to 1, the same for every amount: a curve over amounts then shows the amount, not other draws.
fn draws(id: &str, seed: u64) -> [f64; 4] {
    let mut rng = resect_seed::stream("sweep", seed, &[id.as_bytes()]);
    [(); 4].map(|()| 2.0 * resect_seed::unit(&mut rng) - 1.0)
}

/// A box whose left, top, right and bottom side moved, each within the image. Sides that passed each other change places.
fn noisy(tight: PixelBox, image: Size, reach: [f64; 4], draws: [f64; 4]) -> PixelBox {
    let moved = |at: u32, side: usize, length: u32| {
        (f64::from(at) + (reach[side] * draws[side]).round()).clamp(0.0, f64::from(length - 1)) as u32
    };
    let (left, top) = (moved(tight.x0, 0, image.width), moved(tight.y0, 1, image.height));
    let (right, bottom) = (moved(tight.x1, 2, image.width), moved(tight.y1, 3, image.height));
    PixelBox { x0: left.min(right), y0: top.min(bottom), x1: left.max(right), y1: top.max(bottom) }
}

/// A box of the same size in the corner of the image where it covers the fewest pixels of the truth, the first of equal ones.
fn wrong(tight: PixelBox, truth: &Mask) -> PixelBox {
    let (image, width, height) = (truth.size(), tight.width(), tight.height());
    let corner = |x: u32, y: u32| PixelBox { x0: x, y0: y, x1: x + width - 1, y1: y + height - 1 };
    let (right, bottom) = (image.width - width, image.height - height);
    let covered = |bounds: PixelBox| {
        let rows = bounds.y0..=bounds.y1;
        rows.map(|y| (bounds.x0..=bounds.x1).filter(|&x| truth.get(x, y)).count()).sum::<usize>()
    };
    let first = corner(0, 0);
    let mut best = (covered(first), first);
    for bounds in [corner(right, 0), corner(0, bottom), corner(right, bottom)] {
        let covered = covered(bounds);
        if covered < best.0 {
            best = (covered, bounds);
        }
    }
    best.1
}

#[cfg(test)]
mod tests;
