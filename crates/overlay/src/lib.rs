//! Drawing on an image, so that a person sees what a mask covers: outlines, boxes, points, numbers and a legend.
//!
//! Everything is drawn in pixels of a canvas; [`canvas`] makes one that is large enough. What a colour means is the caller's.

#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod legend;
mod marks;
mod outline;
mod text;

use std::io::Cursor;

use image::imageops::{FilterType, resize};
use image::{ImageFormat, RgbImage};
use resect_geometry::Size;

pub use image::Rgb;
pub use legend::with_legend;
pub use marks::{Badges, Line, Sign, point, rectangle};
pub use outline::{Side, length, outline, stroke};
pub use text::{Weight, text_height, text_width, write_text};

/// Eight colours that people with the common kinds of colour blindness tell apart (Okabe and Ito), ordered so that the first few
/// stand out from pink and dark tissue alike.
pub const PALETTE: [Rgb<u8>; 8] = [
    Rgb([240, 228, 66]),
    Rgb([86, 180, 233]),
    Rgb([230, 159, 0]),
    Rgb([255, 255, 255]),
    Rgb([204, 121, 167]),
    Rgb([0, 158, 115]),
    Rgb([213, 94, 0]),
    Rgb([0, 114, 178]),
];

/// What lies behind lines and text, so that they can be read on bright tissue.
pub const DARK: Rgb<u8> = Rgb([16, 16, 20]);

/// An image to draw on: enlarged where its longest side is below `smallest` pixels, since lines of a few pixels would hide it,
/// and reduced where it is above `largest`.
pub fn canvas(image: &RgbImage, smallest: u32, largest: u32) -> RgbImage {
    let from = Size::new(image.height(), image.width());
    let longest = from.height.max(from.width);
    let wanted = longest.clamp(smallest, largest.max(smallest));
    if wanted == longest {
        return image.clone();
    }
    let to = from.with_longest_side(wanted);
    let filter = if wanted > longest { FilterType::CatmullRom } else { FilterType::Triangle };
    resize(image, to.width, to.height, filter)
}

/// An image from its planes of red, green and blue, `[3, h, w]`, as artifacts have it.
pub fn from_planes(pixels: &[u8], size: Size) -> RgbImage {
    let plane = size.pixels();
    RgbImage::from_fn(size.width, size.height, |x, y| {
        let index = y as usize * size.width as usize + x as usize;
        Rgb([0, 1, 2].map(|channel| pixels[channel * plane + index]))
    })
}

/// An image as the bytes of a PNG file.
///
/// # Errors
/// When the encoder refuses it: never, for an image with pixels.
pub fn png(image: &RgbImage) -> std::io::Result<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png).map_err(std::io::Error::other)?;
    Ok(bytes.into_inner())
}

/// Colours a pixel, if the canvas has it.
fn put(canvas: &mut RgbImage, x: i64, y: i64, colour: Rgb<u8>) {
    if let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y))
        && let Some(pixel) = canvas.get_pixel_mut_checked(x, y)
    {
        *pixel = colour;
    }
}

/// The places within `radius` of the origin.
fn disc(radius: i64) -> Vec<(i64, i64)> {
    let reach = || (-radius..=radius).flat_map(|dy| (-radius..=radius).map(move |dx| (dx, dy)));
    reach().filter(|(dx, dy)| dx * dx + dy * dy <= radius * radius).collect()
}

#[cfg(test)]
mod tests;
