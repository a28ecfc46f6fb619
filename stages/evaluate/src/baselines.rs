//! What a box is worth without any model: it is made from the truth, so a figure means something only beside these.

use resect_geometry::{Mask, PixelBox, Size};
use resect_images::ImageRef;

/// The box, filled.
pub(crate) fn filled_box(prompt: PixelBox, image: Size) -> Mask {
    Mask::from_fn(image, |x, y| prompt.contains(x, y))
}

/// The ellipse inscribed in the box: every pixel whose centre lies in it.
pub(crate) fn ellipse(prompt: PixelBox, image: Size) -> Mask {
    Mask::from_fn(image, |x, y| prompt.contains(x, y) && in_ellipse(prompt, x, y))
}

/// Otsu's threshold on the grey values in the box. Foreground is the class, light or dark, that takes a larger share of the
/// inscribed ellipse than of the box's corners, which lie outside it; the light one when they are equal.
///
/// A box of one grey value has no threshold and is filled. A box too small to have corners has the class of the majority.
pub(crate) fn otsu(image: &ImageRef<'_>, prompt: PixelBox, original: Size) -> Mask {
    let grey = grey_in_box(image, prompt, original);
    let Some(threshold) = otsu_threshold(&grey) else { return filled_box(prompt, original) };
    let light = |x: u32, y: u32| {
        let index = (y - prompt.y0) as usize * prompt.width() as usize + (x - prompt.x0) as usize;
        grey[index] > threshold
    };
    let mut inside = Share::default();
    let mut corners = Share::default();
    for y in prompt.y0..=prompt.y1 {
        for x in prompt.x0..=prompt.x1 {
            let part = if in_ellipse(prompt, x, y) { &mut inside } else { &mut corners };
            part.add(light(x, y));
        }
    }
    let foreground_is_light = inside.is_at_least(&corners);
    Mask::from_fn(original, |x, y| prompt.contains(x, y) && light(x, y) == foreground_is_light)
}

/// How many of some pixels are light.
#[derive(Default)]
struct Share {
    light: u64,
    all: u64,
}

impl Share {
    fn add(&mut self, light: bool) {
        self.light += u64::from(light);
        self.all += 1;
    }

    /// Whether the light share is at least another's; without any other pixel, at least one half. In integers, exact.
    fn is_at_least(&self, other: &Self) -> bool {
        match other.all {
            0 => 2 * self.light >= self.all,
            _ => {
                u128::from(self.light) * u128::from(other.all)
                    >= u128::from(other.light) * u128::from(self.all)
            }
        }
    }
}

/// Whether the centre of pixel (x, y) lies in the ellipse that touches all four sides of the box. In integers, exact.
fn in_ellipse(prompt: PixelBox, x: u32, y: u32) -> bool {
    let (w, h) = (i128::from(prompt.width()), i128::from(prompt.height()));
    // Twice the distance from the box's centre: the centre of a pixel lies half a pixel into it.
    let dx = 2 * i128::from(x) - i128::from(prompt.x0) - i128::from(prompt.x1);
    let dy = 2 * i128::from(y) - i128::from(prompt.y0) - i128::from(prompt.y1);
    (dx * h).pow(2) + (dy * w).pow(2) <= (w * h).pow(2)
}

/// Grey values of the box's pixels in row order: luma of the resized image, sampled bilinearly at the pixels' centres.
fn grey_in_box(image: &ImageRef<'_>, prompt: PixelBox, original: Size) -> Vec<u8> {
    let luma = luma(image);
    let resized = image.resized;
    let columns = taps(prompt.x0..=prompt.x1, original.width, resized.width);
    let mut grey = Vec::with_capacity(columns.len() * prompt.height() as usize);
    for (top, bottom, down) in taps(prompt.y0..=prompt.y1, original.height, resized.height) {
        let row = |y: usize| &luma[y * resized.width as usize..][..resized.width as usize];
        let (upper, lower) = (row(top), row(bottom));
        for &(left, right, along) in &columns {
            let mix = |a: u8, b: u8, weight: f64| f64::from(a) * (1.0 - weight) + f64::from(b) * weight;
            let (above, below) =
                (mix(upper[left], upper[right], along), mix(lower[left], lower[right], along));
            grey.push((above * (1.0 - down) + below * down).round() as u8);
        }
    }
    grey
}

/// For each pixel of one axis of the original image: the two resized pixels around its centre, and the second's weight.
fn taps(pixels: std::ops::RangeInclusive<u32>, original: u32, resized: u32) -> Vec<(usize, usize, f64)> {
    let scale = f64::from(resized) / f64::from(original);
    let last = resized as usize - 1;
    pixels
        .map(|pixel| {
            let at = ((f64::from(pixel) + 0.5) * scale - 0.5).clamp(0.0, last as f64);
            let low = at as usize;
            (low, (low + 1).min(last), at - low as f64)
        })
        .collect()
}

/// ITU-R 601 luma with Pillow's weights: 0.299, 0.587 and 0.114 of 65536.
fn luma(image: &ImageRef<'_>) -> Vec<u8> {
    let plane = image.resized.pixels();
    let (red, rest) = image.pixels.split_at(plane);
    let (green, blue) = rest.split_at(plane);
    let channels = red.iter().zip(green).zip(blue);
    channels
        .map(|((&r, &g), &b)| {
            ((u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000) >> 16) as u8
        })
        .collect()
}

/// The grey value up to which pixels are dark: of all that divide the pixels in two classes, the lowest whose classes' means
/// differ most (largest variance between classes). `None` for pixels of one value.
fn otsu_threshold(grey: &[u8]) -> Option<u8> {
    let mut histogram = [0u64; 256];
    for &value in grey {
        histogram[usize::from(value)] += 1;
    }
    let all = grey.len() as f64;
    let total: u64 = grey.iter().map(|&value| u64::from(value)).sum();
    let (mut dark, mut dark_sum) = (0u64, 0u64);
    let mut best: Option<(f64, u8)> = None;
    for value in 0..=u8::MAX {
        dark += histogram[usize::from(value)];
        dark_sum += histogram[usize::from(value)] * u64::from(value);
        let light = grey.len() as u64 - dark;
        if dark == 0 || light == 0 {
            continue;
        }
        let (dark_count, light_count) = (dark as f64, light as f64);
        let difference = dark_sum as f64 / dark_count - (total - dark_sum) as f64 / light_count;
        let between = dark_count / all * (light_count / all) * difference * difference;
        if best.is_none_or(|(largest, _)| between > largest) {
            best = Some((between, value));
        }
    }
    best.map(|(_, threshold)| threshold)
}

#[cfg(test)]
mod tests;
