use image::{Rgb, RgbImage};

use crate::text::{Weight, text_height, text_width, write_text};
use crate::{DARK, put};

const TEXT: Rgb<u8> = Rgb([235, 235, 235]);
const MARGIN: u32 = 8;
/// Between two entries of a line.
const GAP: u32 = 14;
const SWATCH: u32 = text_height() - 4;
/// Between a swatch and its text.
const SPACE: u32 = 5;
const LINE: u32 = text_height() + 5;

/// The image with a strip below it that says what each colour is; entries that do not fit a line begin the next, and so do those
/// without a colour, which are notes. An image narrower than an entry gets a dark margin on its right.
pub fn with_legend(image: &RgbImage, entries: &[(Option<Rgb<u8>>, String)]) -> RgbImage {
    let length =
        |colour: &Option<Rgb<u8>>, text: &str| text_width(text) + colour.map_or(0, |_| SWATCH + SPACE);
    let widest = entries.iter().map(|(colour, text)| length(colour, text)).max().unwrap_or(0);
    let width = image.width().max(widest + 2 * MARGIN);
    let (mut x, mut y) = (MARGIN, MARGIN);
    let mut places = Vec::new();
    for (colour, text) in entries {
        let length = length(colour, text);
        if x > MARGIN && (x + length + MARGIN > width || colour.is_none()) {
            (x, y) = (MARGIN, y + LINE);
        }
        places.push((x, y, *colour, text));
        x += length + GAP;
    }
    let mut canvas = RgbImage::from_pixel(width, image.height() + y + LINE + 2, DARK);
    image::imageops::replace(&mut canvas, image, 0, 0);
    for (x, y, colour, text) in places {
        let (mut x, y) = (i64::from(x), i64::from(image.height() + y));
        if let Some(colour) = colour {
            let side = i64::from(SWATCH);
            for (dx, dy) in (0..side).flat_map(|dy| (0..side).map(move |dx| (dx, dy))) {
                put(&mut canvas, x + dx, y + 2 + dy, colour);
            }
            x += i64::from(SWATCH + SPACE);
        }
        write_text(&mut canvas, (x, y), text, Weight::Regular, TEXT);
    }
    canvas
}

#[cfg(test)]
mod tests;
