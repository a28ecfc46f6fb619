use image::{Rgb, RgbImage};
use resect_geometry::{Mask, Size};

use crate::{DARK, disc, put};

/// Thickness of an [`outline`], in pixels.
const THICKNESS: i64 = 2;

/// On which side of a mask's edge its outline lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// On the mask's own pixels.
    Inside,
    /// On those around it.
    Outside,
}

/// The length of a mask's outline: sides that a foreground pixel shares with background, or with the image's border.
pub fn length(mask: &Mask) -> usize {
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

/// Colours the pixels on one side of the mask's edge that lie within two pixels of the other. The image's border is an edge.
///
/// Two masks drawn on either side of their edges do not hide one another where they agree. The mask has the canvas's size.
pub fn outline(canvas: &mut RgbImage, mask: &Mask, side: Side, colour: Rgb<u8>) {
    let at = inside(mask);
    let disc = disc(THICKNESS);
    for (x, y, pixel) in canvas.enumerate_pixels_mut() {
        let (x, y) = (i64::from(x), i64::from(y));
        let own = at(x, y);
        if own == (side == Side::Inside) && disc.iter().any(|(dx, dy)| at(x + dx, y + dy) != own) {
            *pixel = colour;
        }
    }
}

/// Draws a line of three pixels along the mask's edge with a dark line on either side of it, so that it stands out from bright
/// and dark tissue. The mask has the canvas's size.
pub fn stroke(canvas: &mut RgbImage, mask: &Mask, colour: Rgb<u8>) {
    let at = inside(mask);
    let Size { height, width } = mask.size();
    let pixels = (0..i64::from(height)).flat_map(|y| (0..i64::from(width)).map(move |x| (x, y)));
    let edge: Vec<_> = pixels
        .filter(|&(x, y)| {
            at(x, y) && [(-1, 0), (1, 0), (0, -1), (0, 1)].iter().any(|(dx, dy)| !at(x + dx, y + dy))
        })
        .collect();
    for (radius, colour) in [(2, DARK), (1, colour)] {
        let disc = disc(radius);
        for (x, y) in &edge {
            disc.iter().for_each(|(dx, dy)| put(canvas, x + dx, y + dy, colour));
        }
    }
}

/// Whether a place is foreground; beyond the border nothing is.
fn inside(mask: &Mask) -> impl Fn(i64, i64) -> bool {
    let Size { height, width } = mask.size();
    move |x, y| {
        (0..i64::from(width)).contains(&x)
            && (0..i64::from(height)).contains(&y)
            && mask.get(x as u32, y as u32)
    }
}

#[cfg(test)]
mod tests;
