//! Text in the bitmap fonts of `embedded-graphics` (X11's, public domain): printable Latin-1; other characters show as `?`.

use std::convert::Infallible;

use embedded_graphics::Pixel;
use embedded_graphics::draw_target::DrawTarget;
use embedded_graphics::geometry::{OriginDimensions, Point, Size};
use embedded_graphics::mono_font::iso_8859_1::{FONT_9X18, FONT_9X18_BOLD};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::BinaryColor;
use embedded_graphics::text::renderer::TextRenderer;
use embedded_graphics::text::{Baseline, Text};
use image::{Rgb, RgbImage};

use crate::put;

/// How heavy the strokes of a text are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// For lines of text.
    Regular,
    /// For a number on its own.
    Bold,
}

impl Weight {
    fn font(self) -> &'static MonoFont<'static> {
        match self {
            Self::Regular => &FONT_9X18,
            Self::Bold => &FONT_9X18_BOLD,
        }
    }
}

/// Height of a line of text in pixels.
pub const fn text_height() -> u32 {
    FONT_9X18.character_size.height
}

/// Width of a text in pixels.
pub fn text_width(text: &str) -> u32 {
    text.chars().count() as u32 * (FONT_9X18.character_size.width + FONT_9X18.character_spacing)
}

/// Writes a line of text with its top left corner at (`x`, `y`); what does not fit the canvas is cut off.
pub fn write_text(canvas: &mut RgbImage, (x, y): (i64, i64), text: &str, weight: Weight, colour: Rgb<u8>) {
    let style = MonoTextStyle::new(weight.font(), BinaryColor::On);
    let at = Point::new(x as i32, y as i32);
    let text = Text::with_baseline(text, at, style, Baseline::Top);
    // Drawing on pixels in memory cannot fail.
    let Ok(_) = draw(&text, &mut Ink { canvas, colour });
}

fn draw<S: TextRenderer<Color = BinaryColor>>(
    text: &Text<'_, S>,
    ink: &mut Ink<'_>,
) -> Result<Point, Infallible> {
    embedded_graphics::Drawable::draw(text, ink)
}

/// A canvas on which every dot of a glyph gets one colour.
struct Ink<'a> {
    canvas: &'a mut RgbImage,
    colour: Rgb<u8>,
}

impl OriginDimensions for Ink<'_> {
    fn size(&self) -> Size {
        Size::new(self.canvas.width(), self.canvas.height())
    }
}

impl DrawTarget for Ink<'_> {
    type Color = BinaryColor;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<BinaryColor>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(at, colour) in pixels {
            if colour.is_on() {
                put(self.canvas, at.x.into(), at.y.into(), self.colour);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
