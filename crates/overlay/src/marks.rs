use image::{Rgb, RgbImage};
use resect_geometry::Mask;

use crate::text::{Weight, text_height, text_width, write_text};
use crate::{DARK, disc, put};

/// How a line is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// One pixel, without a gap.
    Solid,
    /// Dashes of two pixels with dark ones between them: visible on anything, and no outline of a mask.
    Dashed,
}

/// Draws a rectangle through the pixels `left`, `top`, `right` and `bottom`; parts outside the canvas are left out.
pub fn rectangle(canvas: &mut RgbImage, [left, top, right, bottom]: [i64; 4], line: Line, colour: Rgb<u8>) {
    const DASH: i64 = 9;
    const GAP: i64 = 6;
    let colour_at = |step: i64| match line {
        Line::Solid => colour,
        Line::Dashed if step % (DASH + GAP) < DASH => colour,
        Line::Dashed => DARK,
    };
    let inward = match line {
        Line::Solid => 1,
        // A box thinner than its line is drawn as one line.
        Line::Dashed => 2.min(right - left + 1).min(bottom - top + 1),
    };
    for depth in 0..inward {
        for x in left..=right {
            put(canvas, x, top + depth, colour_at(x - left));
            put(canvas, x, bottom - depth, colour_at(x - left));
        }
        for y in top..=bottom {
            put(canvas, left + depth, y, colour_at(y - top));
            put(canvas, right - depth, y, colour_at(y - top));
        }
    }
}

/// What stands in a point's disc.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// The object is here.
    Plus,
    /// The object is not here.
    Minus,
}

/// Draws a point prompt: a disc with a dark rim, and a plus or minus in it.
pub fn point(canvas: &mut RgbImage, (x, y): (i64, i64), sign: Sign, colour: Rgb<u8>) {
    for (radius, colour) in [(9, DARK), (7, colour)] {
        disc(radius).into_iter().for_each(|(dx, dy)| put(canvas, x + dx, y + dy, colour));
    }
    for (along, across) in (-4..=4).flat_map(|along| (-1..=0).map(move |across| (along, across))) {
        put(canvas, x + along, y + across, DARK);
        if sign == Sign::Plus {
            put(canvas, x + across, y + along, DARK);
        }
    }
}

/// Numbers beside masks that keep clear of one another.
#[derive(Debug, Default)]
pub struct Badges {
    /// Left, top, right and bottom of those drawn.
    taken: Vec<[i64; 4]>,
}

impl Badges {
    /// Writes a short text on a dark plate just outside the mask: above its topmost pixel, else below, left or right of its
    /// extremes, at the first of these places that is free and on the canvas. Without foreground, at `otherwise`.
    ///
    /// The mask has the canvas's size.
    pub fn add(
        &mut self,
        canvas: &mut RgbImage,
        mask: &Mask,
        otherwise: (i64, i64),
        text: &str,
        colour: Rgb<u8>,
    ) {
        const PAD: i64 = 3;
        const AWAY: i64 = 5;
        let (width, height) = (i64::from(text_width(text)) + 2 * PAD, i64::from(text_height()));
        let [top, bottom, left, right] = extremes(mask).unwrap_or([otherwise; 4]);
        let places = [
            (top.0 - width / 2, top.1 - AWAY - height),
            (bottom.0 - width / 2, bottom.1 + AWAY),
            (left.0 - AWAY - width, left.1 - height / 2),
            (right.0 + AWAY, right.1 - height / 2),
            // Inside, where the mask fills the canvas.
            (top.0 - width / 2, top.1 + AWAY),
        ];
        let (limit_x, limit_y) = (i64::from(canvas.width()), i64::from(canvas.height()));
        let frames = places.map(|(x, y)| [x, y, x + width - 1, y + height - 1]);
        let on_canvas = |f: &[i64; 4]| f[0] >= 0 && f[1] >= 0 && f[2] < limit_x && f[3] < limit_y;
        let free = |f: &[i64; 4]| {
            self.taken.iter().all(|t| f[2] < t[0] || t[2] < f[0] || f[3] < t[1] || t[3] < f[1])
        };
        let best = frames.iter().find(|f| on_canvas(f) && free(f));
        let frame = best.or_else(|| frames.iter().find(|f| on_canvas(f))).unwrap_or(&frames[0]);
        let x = frame[0].min(limit_x - width).max(0);
        let y = frame[1].min(limit_y - height).max(0);
        for (dx, dy) in (0..height).flat_map(|dy| (0..width).map(move |dx| (dx, dy))) {
            put(canvas, x + dx, y + dy, DARK);
        }
        write_text(canvas, (x + PAD, y), text, Weight::Bold, colour);
        self.taken.push([x, y, x + width - 1, y + height - 1]);
    }
}

/// The middle of the mask's topmost, bottommost, leftmost and rightmost pixels.
fn extremes(mask: &Mask) -> Option<[(i64, i64); 4]> {
    let tight = mask.bounding_box()?;
    let middle = |mut on: Vec<u32>| {
        on.sort_unstable();
        on.get(on.len() / 2).copied().map(i64::from)
    };
    let row = |y: u32| middle((tight.x0..=tight.x1).filter(|x| mask.get(*x, y)).collect());
    let column = |x: u32| middle((tight.y0..=tight.y1).filter(|y| mask.get(x, *y)).collect());
    Some([
        (row(tight.y0)?, tight.y0.into()),
        (row(tight.y1)?, tight.y1.into()),
        (tight.x0.into(), column(tight.x0)?),
        (tight.x1.into(), column(tight.x1)?),
    ])
}

#[cfg(test)]
mod tests;
