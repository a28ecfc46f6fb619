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

use std::io::Cursor;
use std::path::Path;

use image::imageops::{FilterType, resize};
use image::{ImageFormat, Rgb, RgbImage};
use resect_geometry::{Mask, PixelBox, Size};

use crate::font;
use crate::samples::Sample;

const TRUTH: Rgb<u8> = Rgb([60, 230, 60]);
const UNTUNED: Rgb<u8> = Rgb([255, 150, 0]);
const TUNED: Rgb<u8> = Rgb([0, 220, 255]);
const PROMPT: Rgb<u8> = Rgb([255, 255, 255]);
const TEXT: Rgb<u8> = Rgb([235, 235, 235]);
const LEGEND: Rgb<u8> = Rgb([24, 24, 28]);

/// Smaller images are enlarged to this longest side, in pixels: an outline of two pixels would hide them.
const SMALLEST_LONGEST_SIDE: u32 = 512;
/// Thickness of an outline, in pixels.
const THICKNESS: i64 = 2;
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
    let mut canvas = enlarged(sample);
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
            (TRUTH, "truth".into()),
            (UNTUNED, untuned_says),
            (TUNED, format!("tuned {}", figure(tuned.dice))),
            (PROMPT, "box".into()),
        ],
    )
}

/// Writes an image as PNG.
pub(crate) fn save(image: &RgbImage, path: &Path) -> std::io::Result<()> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png).map_err(std::io::Error::other)?;
    std::fs::write(path, bytes.into_inner())
}

/// `NN-<id>.png`: the rank from 1, and the id in characters that every file system takes.
pub(crate) fn file_name(rank: usize, id: &str) -> String {
    const LONGEST: usize = 80;
    let safe = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let name: String = id.chars().take(LONGEST).map(safe).collect();
    format!("{rank:02}-{name}.png")
}

/// The resized image, large enough to draw on.
fn enlarged(sample: &Sample<'_>) -> RgbImage {
    let from = sample.image.resized;
    let plane = from.pixels();
    let image = RgbImage::from_fn(from.width, from.height, |x, y| {
        let index = y as usize * from.width as usize + x as usize;
        Rgb([0, 1, 2].map(|channel| sample.image.pixels[channel * plane + index]))
    });
    let longest = from.height.max(from.width);
    if longest >= SMALLEST_LONGEST_SIDE {
        return image;
    }
    let to = from.with_longest_side(SMALLEST_LONGEST_SIDE);
    resize(&image, to.width, to.height, FilterType::CatmullRom)
}

fn draw_box(canvas: &mut RgbImage, prompt: PixelBox, original: Size) {
    let scale = |at: u32, canvas: u32, original: u32| {
        (u64::from(at) * u64::from(canvas) / u64::from(original)).min(u64::from(canvas)) as u32
    };
    let (width, height) = canvas.dimensions();
    let (left, right) =
        (scale(prompt.x0, width, original.width), scale(prompt.x1 + 1, width, original.width).max(1) - 1);
    let (top, bottom) =
        (scale(prompt.y0, height, original.height), scale(prompt.y1 + 1, height, original.height).max(1) - 1);
    // A box thinner than a pixel of the canvas is drawn as one.
    let (right, bottom) = (right.max(left), bottom.max(top));
    for x in left..=right {
        canvas.put_pixel(x, top, PROMPT);
        canvas.put_pixel(x, bottom, PROMPT);
    }
    for y in top..=bottom {
        canvas.put_pixel(left, y, PROMPT);
        canvas.put_pixel(right, y, PROMPT);
    }
}

/// On which side of a mask's edge its outline lies.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    Inside,
    Outside,
}

/// Whether the outline of a mask is too long to be drawn.
fn is_speckle(mask: &Mask, truth: &Mask) -> bool {
    length(mask) > LONGEST_OUTLINE * length(truth)
}

/// The length of a mask's outline: sides that a foreground pixel shares with background, or with the image's border.
fn length(mask: &Mask) -> usize {
    let Size { height, width } = mask.size();
    let at = |x: Option<u32>, y: Option<u32>| {
        x.zip(y).is_some_and(|(x, y)| x < width && y < height && mask.get(x, y))
    };
    // The sides to the left of and above each pixel, of those beyond the border too.
    let places = (0..=height).flat_map(|y| (0..=width).map(move |x| (x, y)));
    let sides = places.map(|(x, y)| {
        let own = at(Some(x), Some(y));
        let (left, above) = (at(x.checked_sub(1), Some(y)), at(Some(x), y.checked_sub(1)));
        usize::from(own != left) + usize::from(own != above)
    });
    sides.sum()
}

/// Colours the pixels on one side of the mask's edge that lie within [`THICKNESS`] of the other. The image's border is an edge.
fn outline(canvas: &mut RgbImage, mask: &Mask, side: Side, colour: Rgb<u8>) {
    let Size { height, width } = mask.size();
    let at = |x: i64, y: i64| {
        let inside = (0..i64::from(width)).contains(&x) && (0..i64::from(height)).contains(&y);
        inside && mask.get(x as u32, y as u32)
    };
    let reach = || (-THICKNESS..=THICKNESS).flat_map(|dy| (-THICKNESS..=THICKNESS).map(move |dx| (dx, dy)));
    let disc: Vec<(i64, i64)> =
        reach().filter(|(dx, dy)| dx * dx + dy * dy <= THICKNESS * THICKNESS).collect();
    for (x, y, pixel) in canvas.enumerate_pixels_mut() {
        let (x, y) = (i64::from(x), i64::from(y));
        let own = at(x, y);
        if own == (side == Side::Inside) && disc.iter().any(|(dx, dy)| at(x + dx, y + dy) != own) {
            *pixel = colour;
        }
    }
}

/// The image with a strip below that says what each colour is; entries that do not fit a line begin the next.
fn with_legend(image: &RgbImage, entries: &[(Rgb<u8>, String)]) -> RgbImage {
    const MARGIN: u32 = 8;
    // Narrow enough for all four entries to fit one line of the smallest landscape image.
    const GAP: u32 = 10;
    const SWATCH: u32 = font::HEIGHT;
    const LINE: u32 = font::HEIGHT + MARGIN;
    let (width, height) = image.dimensions();
    let (mut x, mut y) = (MARGIN, MARGIN);
    let mut places = Vec::new();
    for (colour, text) in entries {
        let length = SWATCH + font::ADVANCE / 2 + font::width(text);
        if x > MARGIN && x + length + MARGIN > width {
            (x, y) = (MARGIN, y + LINE);
        }
        places.push((x, y, *colour, text));
        x += length + GAP;
    }
    let mut canvas = RgbImage::from_pixel(width, height + y + LINE, LEGEND);
    image::imageops::replace(&mut canvas, image, 0, 0);
    for (x, y, colour, text) in places {
        let y = height + y;
        for (dx, dy) in (0..SWATCH).flat_map(|dy| (0..SWATCH).map(move |dx| (dx, dy))) {
            put(&mut canvas, x + dx, y + dy, colour);
        }
        font::write(text, |dx, dy| put(&mut canvas, x + SWATCH + font::ADVANCE / 2 + dx, y + dy, TEXT));
    }
    canvas
}

/// Colours a pixel, if the canvas has it: a legend may be wider than a very narrow image.
fn put(canvas: &mut RgbImage, x: u32, y: u32, colour: Rgb<u8>) {
    if let Some(pixel) = canvas.get_pixel_mut_checked(x, y) {
        *pixel = colour;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coloured(canvas: &RgbImage) -> Vec<String> {
        let rows = canvas.rows();
        rows.map(|row| row.map(|p| if *p == TUNED { '#' } else { '.' }).collect()).collect()
    }

    #[test]
    fn outlines_lie_on_their_side_of_the_edge() {
        let mask = Mask::from_fn(Size::new(9, 9), |x, y| (2..=6).contains(&x) && (2..=6).contains(&y));
        let mut inside = RgbImage::new(9, 9);
        outline(&mut inside, &mask, Side::Inside, TUNED);
        let ring = ["#####", "#####", "##.##", "#####", "#####"].map(|row| format!("..{row}.."));
        assert_eq!(coloured(&inside)[2..7], ring);
        let mut outside = RgbImage::new(9, 9);
        outline(&mut outside, &mask, Side::Outside, TUNED);
        let rows = coloured(&outside);
        assert_eq!((rows[0].as_str(), rows[1].as_str()), ("..#####..", ".#######."));
        assert!(rows[2..7].iter().all(|row| row == "##.....##"));
    }

    #[test]
    fn a_mask_at_the_border_has_a_closed_outline_and_an_empty_one_none() {
        let full = Mask::from_fn(Size::new(6, 6), |_, _| true);
        let mut canvas = RgbImage::new(6, 6);
        outline(&mut canvas, &full, Side::Inside, TUNED);
        assert_eq!(coloured(&canvas), ["######", "######", "##..##", "##..##", "######", "######"]);
        let mut canvas = RgbImage::new(6, 6);
        outline(&mut canvas, &Mask::empty(full.size()), Side::Inside, TUNED);
        outline(&mut canvas, &full, Side::Outside, TUNED);
        assert_eq!(canvas, RgbImage::new(6, 6));
    }

    #[test]
    fn an_outline_is_as_long_as_its_sides() {
        let size = Size::new(9, 12);
        assert_eq!(length(&Mask::empty(size)), 0);
        assert_eq!(length(&Mask::from_fn(size, |_, _| true)), 2 * (9 + 12));
        assert_eq!(length(&Mask::from_fn(size, |x, y| (2..6).contains(&x) && (3..5).contains(&y))), 12);
        // Single pixels, each with four sides.
        let speckle = Mask::from_fn(size, |x, y| (x + y) % 2 == 0);
        assert_eq!(length(&speckle), 4 * 54);
        let truth = Mask::from_fn(size, |x, y| (2..6).contains(&x) && (3..8).contains(&y));
        assert!(is_speckle(&speckle, &truth) && !is_speckle(&Mask::from_fn(size, |_, _| true), &truth));
    }

    #[test]
    fn file_names_hold_nothing_a_file_system_minds() {
        assert_eq!(file_name(3, "seq 1/frame:2#1"), "03-seq_1_frame_2_1.png");
        assert_eq!(file_name(100, "../é"), "100-..__.png");
        assert_eq!(file_name(1, &"x".repeat(300)).len(), 87);
    }

    #[test]
    fn a_box_at_the_far_corner_stays_on_the_canvas() {
        for (canvas, original) in [((512, 300), Size::new(30, 51)), ((3, 2), Size::new(1000, 1500))] {
            let mut canvas = RgbImage::new(canvas.0, canvas.1);
            let (x1, y1) = (original.width - 1, original.height - 1);
            draw_box(&mut canvas, PixelBox { x0: x1, y0: y1, x1, y1 }, original);
            let (x, y) = (canvas.width() - 1, canvas.height() - 1);
            assert_eq!(*canvas.get_pixel(x, y), PROMPT);
        }
    }
}
