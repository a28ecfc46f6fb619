//! What samples are prompted with: boxes and points in pixels of the original image.

use crate::TrainError;
use rayon::prelude::*;
use resect_geometry::{PixelBox, Size, View};
use resect_prompt::{ModelPrompt, PointPrompt, Prompt, PromptError};
use resect_seed::ChaCha8Rng;
use resect_target_records::Target;
use resect_targets::Targets;
use resect_train_params::{JitterUnit, Prompts as Kind, TrainParams};

/// A box or points in the model's frame, for the target's image under a view. `low_res` is the side of the low-res grid.
///
/// # Errors
/// A prompt that does not lie in the target's image.
pub fn to_model(
    prompt: &Prompt,
    target: &Target,
    view: View,
    low_res: u32,
) -> Result<ModelPrompt, PromptError> {
    let upright = target.original();
    let seen = Prompt {
        bounds: prompt.bounds.map(|bounds| bounds.seen(view, upright)),
        points: prompt.points.iter().map(|point| point.seen(view, upright)).collect(),
        mask: None,
    };
    seen.to_model(view.size(upright), view.size(target.resized()), low_res)
}

/// Pixels of the object as a prompt.
fn of_pixels(pixels: &[[u32; 2]]) -> Prompt {
    let points = pixels.iter().map(|pixel| PointPrompt::foreground(pixel.map(f64::from)));
    Prompt::of_points(points.collect::<Vec<_>>())
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
            Ok(Prompt::of_box(jittered(tight, image, params, &mut stream("jitter"))))
        } else {
            let count = params.points as usize;
            let points = some_of(foreground(targets, i)?, count, &mut stream("points"));
            Ok(of_pixels(&points))
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
    let boxes = chosen.iter().map(|&i| Ok((i, Prompt::of_box(targets.rows()[i].bounding_box()))));
    let points = chosen.iter().map(|&i| {
        let point = targets.mask(i).most_interior().ok_or_else(|| no_pixel(targets, i))?;
        Ok((i, of_pixels(&[point])))
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
mod tests;
