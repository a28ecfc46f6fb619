//! What a target is prompted with: its tight box, and what else the sweep tries.

use resect_evaluate_params::EvaluateParams;
use resect_evaluation_records::PromptKind;
use resect_geometry::{Mask, PixelBox, Size};
use resect_target_records::Target;

/// A prompt in pixels of the original image: a box, a point of the object, or both.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Prompt {
    pub bounds: Option<PixelBox>,
    pub point: Option<[u32; 2]>,
}

impl Prompt {
    pub fn tight(target: &Target) -> Self {
        Self { bounds: Some(target.bounding_box()), point: None }
    }
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
    pub fn prompt(self, target: &Target, truth: impl Fn() -> Mask, seed: u64) -> Option<Prompt> {
        let (tight, image) = (target.bounding_box(), target.original());
        let bounds = match self.kind {
            PromptKind::BoxNoisePixels | PromptKind::BoxNoisePercent => {
                let amount = self.amount.unwrap_or_default();
                Some(noisy(tight, image, reach(self.kind, amount, tight), draws(&target.id, seed)))
            }
            PromptKind::BoxAndPoint | PromptKind::Multimask | PromptKind::MultimaskOracle => Some(tight),
            PromptKind::WrongBox => Some(wrong(tight, &truth())),
            PromptKind::Point => None,
        };
        let point = match self.kind {
            PromptKind::Point | PromptKind::BoxAndPoint => Some(truth().most_interior()?),
            _ => None,
        };
        Some(Prompt { bounds, point })
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
    let corners =
        [0, image.height - height].into_iter().flat_map(|y| [0, image.width - width].map(|x| (x, y)));
    let boxes = corners.map(|(x, y)| PixelBox { x0: x, y0: y, x1: x + width - 1, y1: y + height - 1 });
    let covered = |bounds: &PixelBox| {
        let rows = bounds.y0..=bounds.y1;
        rows.map(|y| (bounds.x0..=bounds.x1).filter(|&x| truth.get(x, y)).count()).sum::<usize>()
    };
    boxes.min_by_key(covered).unwrap_or(tight)
}

#[cfg(test)]
mod tests;
