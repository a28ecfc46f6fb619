//! What views, resizing and the low-res grid keep, for whatever sizes there may be; `round_trips.rs` has what comes back.

use proptest::prelude::*;
use resect_geometry::{Mask, PixelBox, Size, View};

fn size() -> impl Strategy<Value = Size> {
    (1u32..80, 1u32..80).prop_map(|(height, width)| Size::new(height, width))
}

/// A mask of one filled box, and the box.
fn boxed() -> impl Strategy<Value = (Mask, PixelBox)> {
    size().prop_flat_map(|size| {
        let span = |length: u32| (0..length).prop_flat_map(move |low| (Just(low), low..length));
        (span(size.width), span(size.height)).prop_map(move |((x0, x1), (y0, y1))| {
            let bounds = PixelBox { x0, y0, x1, y1 };
            (Mask::from_fn(size, |x, y| (x0..=x1).contains(&x) && (y0..=y1).contains(&y)), bounds)
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_view_moves_pixels_boxes_and_grids_alike((mask, bounds) in boxed(), at in any::<(prop::sample::Index, prop::sample::Index)>()) {
        let size = mask.size();
        let pixel = [at.0.index(size.width as usize) as u32, at.1.index(size.height as usize) as u32];
        for view in View::ALL {
            let turned = view.mask(&mask);
            let [x, y] = view.pixel(pixel, size);
            prop_assert_eq!(turned.get(x, y), mask.get(pixel[0], pixel[1]));
            prop_assert_eq!(view.inverse().pixel([x, y], view.size(size)), pixel);
            prop_assert_eq!(turned.bounding_box(), Some(view.pixel_box(bounds, size)));
            prop_assert_eq!(view.grid(mask.pixels(), size), turned.pixels().to_vec());
        }
    }

    #[test]
    fn the_longest_side_is_the_models_and_nothing_vanishes(size in size(), longest in 1u32..200) {
        let resized = size.with_longest_side(longest);
        prop_assert_eq!(resized.width.max(resized.height), longest);
        prop_assert!(resized.width.min(resized.height) >= 1);
        // Within half a pixel, the sides keep their ratio.
        let scale = f64::from(longest) / f64::from(size.width.max(size.height));
        for (before, after) in [(size.width, resized.width), (size.height, resized.height)] {
            prop_assert!((f64::from(before) * scale - f64::from(after)).abs() <= 0.5 + 1e-6 || after == 1);
        }
    }

    #[test]
    fn the_low_res_grid_holds_no_more_than_the_image((mask, _) in boxed()) {
        for side in [16, 64] {
            let grid = mask.to_low_res(side);
            prop_assert_eq!(grid.size(), Size::new(side, side));
            // The padding at the right and the bottom is empty.
            let resized = mask.size().with_longest_side(side);
            let beyond = |x: u32, y: u32| x >= resized.width || y >= resized.height;
            let padded = (0..side).flat_map(|y| (0..side).map(move |x| (x, y))).filter(|&(x, y)| beyond(x, y));
            prop_assert!(padded.into_iter().all(|(x, y)| !grid.get(x, y)));
        }
        let whole = Mask::from_fn(mask.size(), |_, _| true);
        let resized = mask.size().with_longest_side(64);
        prop_assert_eq!(whole.to_low_res(64).area() as u32, resized.width * resized.height);
        prop_assert_eq!(Mask::empty(mask.size()).to_low_res(64).area(), 0);
        prop_assert_eq!(mask.resized_nearest(mask.size()), mask);
    }
}
