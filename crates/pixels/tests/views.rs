//! How far turning a resized image is from resizing a turned one. `embed` does the former: `ingest` keeps the resized image alone.

use image::{Rgb, RgbImage};
use resect_geometry::{Size, View};
use resect_pixels::resized;

/// Gradients, edges and noise.
fn scene(size: Size) -> RgbImage {
    let mut state = 7u32;
    RgbImage::from_fn(size.width, size.height, |x, y| {
        let disc = (x as i32 - 40).pow(2) + (y as i32 - 30).pow(2) < 400;
        Rgb([0, 1, 2].map(|channel| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let base = if disc { 180 } else { (x + 2 * y + 40 * channel) % 200 };
            (base + (state >> 27)) as u8
        }))
    })
}

fn seen(image: &RgbImage, view: View) -> RgbImage {
    let size = Size::new(image.height(), image.width());
    let pixels: Vec<[u8; 3]> = image.pixels().map(|pixel| pixel.0).collect();
    let to = view.size(size);
    RgbImage::from_raw(to.width, to.height, view.grid(&pixels, size).concat()).unwrap()
}

#[test]
fn turning_and_resizing_commute_but_for_rounding() {
    // Of views that keep the sides, and of those that swap them: bytes, those that differ, and the largest difference.
    let mut found = [(0usize, 0usize, 0u8); 2];
    for (height, width) in [(97, 131), (131, 97), (200, 90), (61, 61), (150, 113)] {
        let size = Size::new(height, width);
        let image = scene(size);
        for longest in [64, 88, 256] {
            let small = size.with_longest_side(longest);
            let planes = resized(&image, small);
            for view in View::ALL {
                let turned_last = view.planes(&planes, small);
                let turned_first = resized(&seen(&image, view), view.size(small));
                assert_eq!(turned_last.len(), turned_first.len());
                let (bytes, differ, largest) = &mut found[usize::from(!View::FLIPS.contains(&view))];
                for (a, b) in turned_last.iter().zip(&turned_first) {
                    *bytes += 1;
                    *differ += usize::from(a != b);
                    *largest = (*largest).max(a.abs_diff(*b));
                }
            }
        }
    }
    let [flips, swaps] = found;
    // Pillow's weights are symmetric.
    assert_eq!((flips.1, flips.2), (0, 0), "of {} bytes", flips.0);
    // It resizes one axis after the other and rounds to bytes in between; swapped, the other axis comes first: a fifth
    // of the bytes differ, by one.
    assert!(swaps.2 == 1 && swaps.1 * 4 < swaps.0, "{swaps:?}");
}
