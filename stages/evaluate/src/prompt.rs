//! What a target is prompted with: its tight box, and what else the sweep tries.

use resect_data::evaluation::PromptKind;
use resect_data::targets::Target;
use resect_geometry::{Mask, PixelBox, Size};
use resect_params::EvaluateParams;

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
mod tests {
    use super::*;

    const IMAGE: Size = Size::new(100, 200);
    const TIGHT: PixelBox = PixelBox { x0: 50, y0: 20, x1: 89, y1: 59 };

    #[test]
    fn noise_moves_each_side_either_way_within_the_image() {
        let moved = noisy(TIGHT, IMAGE, [10.0; 4], [-1.0, 0.5, 0.26, -0.5]);
        assert_eq!(moved, PixelBox { x0: 40, y0: 25, x1: 92, y1: 54 });
        assert_eq!(noisy(TIGHT, IMAGE, [0.0; 4], [-1.0, 0.5, 0.3, -0.5]), TIGHT);
        let clipped = noisy(TIGHT, IMAGE, [500.0; 4], [-1.0, -1.0, 1.0, 1.0]);
        assert_eq!(clipped, PixelBox { x0: 0, y0: 0, x1: 199, y1: 99 });
        // A left side that went past the right one is the right one.
        let passed = noisy(TIGHT, IMAGE, [50.0; 4], [1.0, 0.0, -0.5, 0.0]);
        assert_eq!(passed, PixelBox { x0: 64, y0: 20, x1: 100, y1: 59 });
    }

    #[test]
    fn percent_are_of_the_boxs_own_sides() {
        let tall = PixelBox { x0: 10, y0: 0, x1: 19, y1: 79 };
        assert_eq!(reach(PromptKind::BoxNoisePercent, 50, tall), [5.0, 40.0, 5.0, 40.0]);
        assert_eq!(reach(PromptKind::BoxNoisePixels, 50, tall), [50.0; 4]);
    }

    #[test]
    fn draws_lie_on_both_sides_and_belong_to_the_target() {
        assert_eq!(draws("a", 1), draws("a", 1));
        assert_ne!(draws("a", 1), draws("b", 1));
        assert_ne!(draws("a", 1), draws("a", 2));
        let all: Vec<f64> = (0..500).flat_map(|i| draws(&i.to_string(), 0)).collect();
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        assert!(mean.abs() < 0.05 && all.iter().all(|d| d.abs() <= 1.0), "{mean}");
        assert!(all.iter().any(|d| *d < -0.99) && all.iter().any(|d| *d > 0.99));
    }

    #[test]
    fn the_wrong_box_lies_where_the_target_is_not() {
        let truth = Mask::from_fn(IMAGE, |x, y| TIGHT.contains(x, y));
        assert_eq!(wrong(TIGHT, &truth), PixelBox { x0: 0, y0: 0, x1: 39, y1: 39 });
        let left = PixelBox { x0: 0, y0: 0, x1: 109, y1: 49 };
        let truth = Mask::from_fn(IMAGE, |x, y| left.contains(x, y));
        assert_eq!(wrong(left, &truth), PixelBox { x0: 0, y0: 50, x1: 109, y1: 99 });
        let whole = Mask::from_fn(IMAGE, |_, _| true);
        let everything = PixelBox { x0: 0, y0: 0, x1: 199, y1: 99 };
        assert_eq!(wrong(everything, &whole), everything);
    }

    #[test]
    fn every_form_has_its_parts() {
        let kinds = Form::all(&EvaluateParams::default());
        assert_eq!(kinds.len(), 15);
        let truth = Mask::from_fn(IMAGE, |x, y| TIGHT.contains(x, y));
        let target = crate::samples::tests::target(IMAGE, TIGHT);
        for form in kinds {
            let prompt = form.prompt(&target, || truth.clone(), 0).unwrap();
            let expected = match form.kind {
                PromptKind::Point => (false, true),
                PromptKind::BoxAndPoint => (true, true),
                _ => (true, false),
            };
            assert_eq!((prompt.bounds.is_some(), prompt.point.is_some()), expected, "{form:?}");
        }
        let point = Form { kind: PromptKind::Point, amount: None };
        assert_eq!(point.prompt(&target, || Mask::empty(IMAGE), 0), None);
    }
}
