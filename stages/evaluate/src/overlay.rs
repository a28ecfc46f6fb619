//! Outlines over an image, to see what a figure means.
//!
//! | outline | what | lies |
//! |---|---|---|
//! | green | the truth | just outside the truth |
//! | orange | the untuned prediction | just inside it |
//! | cyan | the tuned prediction | just inside it, over the orange one |
//! | white, thin | the box prompt | on its outermost pixels |
//!
//! Truth and predictions are drawn on either side of their edges, so that a perfect prediction shows as a double line and does
//! not hide the truth. Masks are those at original resolution, the ones that are scored. A legend below gives the Dice.

use image::{Rgb, RgbImage};
use resect_geometry::{Mask, PixelBox, Size};
use resect_overlay::{Line, Side, canvas, from_planes, length, outline, rectangle, with_legend};

use crate::samples::Sample;

const TRUTH: Rgb<u8> = Rgb([60, 230, 60]);
const UNTUNED: Rgb<u8> = Rgb([255, 150, 0]);
const TUNED: Rgb<u8> = Rgb([0, 220, 255]);
const PROMPT: Rgb<u8> = Rgb([255, 255, 255]);

/// Smaller images are enlarged to this longest side, in pixels: an outline of two pixels would hide them.
const SMALLEST_LONGEST_SIDE: u32 = 512;
/// An untuned mask whose outline is more than this many times as long as the truth's is speckle, and its outline would cover
/// the picture: it is left out. The box filled, and blobs that miss the truth, stay well below.
const LONGEST_OUTLINE: usize = 4;

/// A predicted mask at original resolution and its Dice there.
pub(crate) struct Prediction {
    pub mask: Mask,
    pub dice: Option<f64>,
}

/// Draws one target.
pub(crate) fn draw(sample: &Sample<'_>, untuned: &Prediction, tuned: &Prediction) -> RgbImage {
    let mut canvas =
        canvas(&from_planes(sample.image.pixels, sample.image.resized), SMALLEST_LONGEST_SIDE, u32::MAX);
    let size = Size::new(canvas.height(), canvas.width());
    draw_box(&mut canvas, sample.target.bounding_box(), sample.target.original());
    let truth = sample.truth().resized_nearest(size);
    outline(&mut canvas, &truth, Side::Outside, TRUTH);
    let figure = |dice: Option<f64>| dice.map_or_else(|| "-".into(), |dice| format!("{dice:.3}"));
    let mut untuned_says = format!("untuned {}", figure(untuned.dice));
    let untuned_mask = untuned.mask.resized_nearest(size);
    if is_speckle(&untuned_mask, &truth) {
        untuned_says += ": no clear outline";
    } else {
        outline(&mut canvas, &untuned_mask, Side::Inside, UNTUNED);
    }
    outline(&mut canvas, &tuned.mask.resized_nearest(size), Side::Inside, TUNED);
    with_legend(
        &canvas,
        &[
            (Some(TRUTH), "truth".into()),
            (Some(UNTUNED), untuned_says),
            (Some(TUNED), format!("tuned {}", figure(tuned.dice))),
            (Some(PROMPT), "box".into()),
        ],
    )
}

/// `NN-<id>.png`: the rank from 1, and the id in characters that every file system takes.
pub(crate) fn file_name(rank: usize, id: &str) -> String {
    const LONGEST: usize = 80;
    let safe = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let name: String = id.chars().take(LONGEST).map(safe).collect();
    format!("{rank:02}-{name}.png")
}

fn draw_box(canvas: &mut RgbImage, prompt: PixelBox, original: Size) {
    let scale = |at: u32, canvas: u32, original: u32| {
        (u64::from(at) * u64::from(canvas) / u64::from(original)).min(u64::from(canvas)) as i64
    };
    let (width, height) = canvas.dimensions();
    let (left, right) =
        (scale(prompt.x0, width, original.width), scale(prompt.x1 + 1, width, original.width).max(1) - 1);
    let (top, bottom) =
        (scale(prompt.y0, height, original.height), scale(prompt.y1 + 1, height, original.height).max(1) - 1);
    // A box thinner than a pixel of the canvas is drawn as one.
    rectangle(canvas, [left, top, right.max(left), bottom.max(top)], Line::Solid, PROMPT);
}

/// Whether the outline of a mask is too long to be drawn.
fn is_speckle(mask: &Mask, truth: &Mask) -> bool {
    length(mask) > LONGEST_OUTLINE * length(truth)
}

#[cfg(test)]
mod tests;
