//! What samples are prompted with: boxes and points in pixels of the original image.

use crate::TrainError;
use rayon::prelude::*;
use resect_data::targets::{Target, Targets};
use resect_geometry::{PixelBox, Size, View, point_to_model};
use resect_params::{JitterUnit, Prompts as Kind, TrainParams};
use resect_sam::{Cpu, Point, PointLabel, Prompts};
use resect_seed::ChaCha8Rng;

/// A prompt in pixels of the original image.
#[derive(Clone, Debug, PartialEq)]
pub enum Prompt {
    /// A box.
    Box(PixelBox),
    /// Pixels `[x, y]` of the object, at least one.
    Points(Vec<[u32; 2]>),
}

impl Prompt {
    /// The prompt in the model input's pixels, as `SamProcessor` scales it for the target's image under a view.
    pub fn to_model(&self, target: &Target, view: View) -> Result<Prompts<Cpu>, resect_sam::Error> {
        let upright = target.original();
        let (original, resized) = (view.size(upright), view.size(target.resized()));
        match self {
            Self::Box(bounds) => {
                let turned = view.pixel_box(*bounds, upright);
                Prompts::boxes(&[turned.to_model(original, resized)], &Default::default())
            }
            Self::Points(points) => {
                let point = |point: &[u32; 2]| {
                    let turned = view.pixel(*point, upright);
                    let [x, y] = point_to_model(turned.map(f64::from), original, resized);
                    Point { x, y, label: PointLabel::Foreground }
                };
                Prompts::points(&[points.iter().map(point).collect()], &Default::default())
            }
        }
    }
}

/// The prompts of an epoch. Each target's are drawn from the seed, the epoch and its name alone.
///
/// # Errors
/// A target without a pixel that is to have points.
pub fn drawn(
    targets: &Targets,
    chosen: &[usize],
    params: &TrainParams,
    epoch: u32,
) -> Result<Vec<Prompt>, TrainError> {
    let one = |&i: &usize| {
        let target = &targets.rows()[i];
        let stream = |purpose| {
            resect_seed::stream(purpose, params.seed, &[&epoch.to_le_bytes(), target.id.as_bytes()])
        };
        let boxed = match params.prompts {
            Kind::Box => true,
            Kind::Point => false,
            Kind::Mixed => resect_seed::unit(&mut stream("prompt")) < params.box_share,
        };
        if boxed {
            let (tight, image) = (target.bounding_box(), target.original());
            Ok(Prompt::Box(jittered(tight, image, params, &mut stream("jitter"))))
        } else {
            let count = params.points as usize;
            let points = some_of(foreground(targets, i)?, count, &mut stream("points"));
            Ok(Prompt::Points(points))
        }
    };
    chosen.par_iter().map(one).collect()
}

/// The prompts of validation, each beside the place of its target: tight boxes, most interior points, or both.
///
/// # Errors
/// As [`drawn`].
pub fn fixed(
    targets: &Targets,
    chosen: &[usize],
    params: &TrainParams,
) -> Result<Vec<(usize, Prompt)>, TrainError> {
    let boxes = chosen.iter().map(|&i| Ok((i, Prompt::Box(targets.rows()[i].bounding_box()))));
    let points = chosen.iter().map(|&i| {
        let point = targets.mask(i).most_interior().ok_or_else(|| no_pixel(targets, i))?;
        Ok((i, Prompt::Points(vec![point])))
    });
    match params.prompts {
        Kind::Box => boxes.collect(),
        Kind::Point => points.collect(),
        Kind::Mixed => boxes.chain(points).collect(),
    }
}

/// A box, each side moved outward by a draw below the jitter, clipped to the image.
fn jittered(tight: PixelBox, image: Size, params: &TrainParams, rng: &mut ChaCha8Rng) -> PixelBox {
    // Left, top, right, bottom.
    let by = match params.jitter_unit {
        JitterUnit::Pixels => [(); 4].map(|()| resect_seed::below(rng, params.jitter)),
        JitterUnit::Percent => {
            let most = f64::from(params.jitter) / 100.0;
            let sides = [tight.width(), tight.height(), tight.width(), tight.height()];
            sides.map(|side| (resect_seed::unit(rng) * most * f64::from(side)).round() as u32)
        }
    };
    tight.grown(by, image)
}

/// The pixels of a target in row order.
fn foreground(targets: &Targets, i: usize) -> Result<Vec<[u32; 2]>, TrainError> {
    let mask = targets.mask(i);
    let width = mask.size().width as usize;
    let places = mask.pixels().iter().enumerate().filter(|(_, object)| **object);
    let pixels: Vec<_> = places.map(|(place, _)| [(place % width) as u32, (place / width) as u32]).collect();
    if pixels.is_empty() { Err(no_pixel(targets, i)) } else { Ok(pixels) }
}

/// So many of the pixels, or all, in the order drawn: the beginning of a Fisher–Yates shuffle.
fn some_of(mut pixels: Vec<[u32; 2]>, count: usize, rng: &mut ChaCha8Rng) -> Vec<[u32; 2]> {
    let count = count.min(pixels.len());
    for i in 0..count {
        let rest = (pixels.len() - i) as u32;
        pixels.swap(i, i + resect_seed::below(rng, rest) as usize);
    }
    pixels.truncate(count);
    pixels
}

fn no_pixel(targets: &Targets, i: usize) -> TrainError {
    TrainError::NoPoint(targets.rows()[i].id.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rng(i: u32) -> ChaCha8Rng {
        resect_seed::stream("test", 0, &[&i.to_le_bytes()])
    }

    #[test]
    fn each_side_moves_by_up_to_a_share_of_its_own_dimension() {
        let params = TrainParams { jitter: 25, jitter_unit: JitterUnit::Percent, ..Default::default() };
        let (tight, image) = (PixelBox { x0: 500, y0: 500, x1: 899, y1: 599 }, Size::new(2000, 2000));
        let moved: Vec<[u32; 4]> = (0..4000)
            .map(|i| {
                let found = jittered(tight, image, &params, &mut rng(i));
                [tight.x0 - found.x0, tight.y0 - found.y0, found.x1 - tight.x1, found.y1 - tight.y1]
            })
            .collect();
        // 400 pixels wide, 100 high.
        for (side, most) in [100u32, 25, 100, 25].into_iter().enumerate() {
            let draws: Vec<u32> = moved.iter().map(|by| by[side]).collect();
            assert_eq!((draws.iter().min(), draws.iter().max()), (Some(&0), Some(&most)), "side {side}");
            let mean = draws.iter().map(|&by| f64::from(by)).sum::<f64>() / draws.len() as f64;
            assert!((mean / f64::from(most) - 0.5).abs() < 0.02, "side {side}: {mean}");
        }
        assert!(moved.iter().any(|by| by[0] != by[2] && by[1] != by[3]), "sides have draws of their own");

        let corner = PixelBox { x0: 1, y0: 0, x1: 1999, y1: 1999 };
        let whole = jittered(corner, image, &TrainParams { jitter: 100, ..params.clone() }, &mut rng(0));
        assert_eq!(whole, PixelBox { x0: 0, y0: 0, x1: 1999, y1: 1999 }, "clipped to the image");
        let none = TrainParams { jitter: 0, ..params };
        assert_eq!(jittered(tight, image, &none, &mut rng(0)), tight);
    }

    #[test]
    fn points_are_pixels_of_the_object_each_drawn_once_and_equally_often() {
        let pixels: Vec<[u32; 2]> = (0..10).map(|i| [i, 2 * i]).collect();
        let mut drawn = [0; 10];
        for i in 0..10_000 {
            let points = some_of(pixels.clone(), 3, &mut rng(i));
            let mut places: Vec<u32> = points.iter().map(|[x, _]| *x).collect();
            places.iter().for_each(|&place| drawn[place as usize] += 1);
            places.sort_unstable();
            places.dedup();
            assert_eq!(places.len(), 3, "{points:?}");
            assert!(points.iter().all(|point| pixels.contains(point)), "{points:?}");
        }
        assert!(drawn.iter().all(|&times| (2800..3200).contains(&times)), "{drawn:?}");
        let mut all = some_of(pixels.clone(), 30, &mut rng(0));
        all.sort_unstable();
        assert_eq!(all, pixels);
    }
}
