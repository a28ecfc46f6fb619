//! The overlay: the image with what was asked and what was found.
//!
//! Each prompt has a colour. Its mask is outlined in it between dark lines, its box is dashed, its points are discs with a plus
//! or a minus; a number beside the mask is that of its files. A legend below gives area and predicted IoU.

use ::image::{Rgb, RgbImage};
use resect_geometry::{Mask, Size};
use resect_overlay::{Badges, Line, PALETTE, Sign, canvas, length, point, rectangle, stroke, with_legend};
use resect_prompts::{Label, WrittenPrompt};

/// Longest side of the canvas in pixels: smaller images are enlarged, so that lines do not hide them, larger ones reduced.
const CANVAS: (u32, u32) = (768, 1600);
/// A mask whose outline is more than this many times as long as the canvas's own is scattered all over the image: outlined, it
/// would cover what it is to show.
const LONGEST_OUTLINE: usize = 6;

/// A mask to be drawn.
pub(crate) struct Outlined {
    mask: Mask,
    area: usize,
    prompt: WrittenPrompt,
    score: f32,
    /// Out of how many masks it was chosen.
    masks: usize,
    original: Size,
}

impl Outlined {
    /// Keeps what drawing needs of a mask, which is reduced to the canvas.
    pub(crate) fn new(mask: &Mask, prompt: &WrittenPrompt, score: f32, masks: usize) -> Self {
        let original = mask.size();
        let longest = original.height.max(original.width).clamp(CANVAS.0, CANVAS.1);
        let size = if longest == original.height.max(original.width) {
            original
        } else {
            original.with_longest_side(longest)
        };
        let area = mask.area();
        Self { mask: mask.resized_nearest(size), area, prompt: prompt.clone(), score, masks, original }
    }

    fn is_scattered(&self) -> bool {
        let Size { height, width } = self.mask.size();
        length(&self.mask) > LONGEST_OUTLINE * 2 * (height as usize + width as usize)
    }

    /// A place of the original image on the canvas.
    fn place(&self, x: f64, y: f64) -> (i64, i64) {
        let to = self.mask.size();
        let at = |at: f64, to: u32, from: u32| (at * f64::from(to) / f64::from(from)).floor() as i64;
        (at(x, to.width, self.original.width), at(y, to.height, self.original.height))
    }

    /// The box's outermost pixels on the canvas; its maxima are those of the last pixel inside.
    fn frame(&self) -> Option<[i64; 4]> {
        let bounds = self.prompt.bounds?;
        let last = |at: f64, side: u32| (at + 1.0).min(f64::from(side));
        let (left, top) = self.place(bounds.x0, bounds.y0);
        let (right, bottom) =
            self.place(last(bounds.x1, self.original.width), last(bounds.y1, self.original.height));
        Some([left, top, (right - 1).max(left), (bottom - 1).max(top)])
    }

    /// What the legend says of it.
    fn says(&self, number: Option<usize>) -> String {
        let name = number.map(|number| format!("{number}: ")).unwrap_or_default();
        let chosen = if self.masks > 1 { format!(", best of {}", self.masks) } else { String::new() };
        let score = format!("predicted IoU {:.2}", self.score);
        if self.area == 0 {
            return format!("{name}nothing found, {score}{chosen}");
        }
        let share = 100.0 * self.area as f64 / self.original.pixels() as f64;
        let scattered = if self.is_scattered() { ", scattered: not outlined" } else { "" };
        format!("{name}{} px ({share:.1} %), {score}{chosen}{scattered}", grouped(self.area))
    }
}

/// Draws all prompts of an image.
pub(crate) fn overlay(picture: &RgbImage, outlined: &[Outlined], heads_trained: bool) -> RgbImage {
    let mut drawn = canvas(picture, CANVAS.0, CANVAS.1);
    let coloured = || outlined.iter().enumerate().map(|(number, one)| (number, one, colour(number)));
    for (_, one, colour) in coloured() {
        if let Some(frame) = one.frame() {
            rectangle(&mut drawn, frame, Line::Dashed, colour);
        }
    }
    for (_, one, colour) in coloured().filter(|(_, one, _)| !one.is_scattered()) {
        stroke(&mut drawn, &one.mask, colour);
    }
    for (_, one, colour) in coloured() {
        for at in &one.prompt.points {
            let sign = match at.label {
                Label::Foreground => Sign::Plus,
                Label::Background => Sign::Minus,
                Label::NotAPoint | Label::Padding => continue,
            };
            point(&mut drawn, one.place(at.x, at.y), sign, colour);
        }
    }
    let several = outlined.len() > 1;
    if several {
        let mut badges = Badges::default();
        for (number, one, colour) in coloured() {
            let corner = one.frame().map(|[left, top, ..]| (left, top));
            let first = one.prompt.points.first().map(|point| one.place(point.x, point.y));
            let prompt = corner.or(first).unwrap_or((0, 0));
            // Beside what is drawn: a mask that is not outlined has no place.
            let outlined = if one.is_scattered() { &Mask::empty(one.mask.size()) } else { &one.mask };
            badges.add(&mut drawn, outlined, prompt, &number.to_string(), colour);
        }
    }
    let mut legend: Vec<(Option<Rgb<u8>>, String)> =
        coloured().map(|(number, one, colour)| (Some(colour), one.says(several.then_some(number)))).collect();
    if !heads_trained {
        legend.push((None, "The predicted IoU comes from a head that tuning did not train.".into()));
    }
    with_legend(&drawn, &legend)
}

fn colour(number: usize) -> Rgb<u8> {
    PALETTE[number % PALETTE.len()]
}

/// A number with its digits in groups of three.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests;
