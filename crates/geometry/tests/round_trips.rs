//! There and back between the frames, on sizes, boxes and masks that are drawn.

use proptest::prelude::*;
use resect_geometry::{Mask, PixelBox, Size, View, point_to_model, upscale_logits};

fn size(most: u32) -> impl Strategy<Value = Size> {
    (1..=most, 1..=most).prop_map(|(height, width)| Size::new(height, width))
}

/// A size and a box in it.
fn placed(most: u32) -> impl Strategy<Value = (Size, PixelBox)> {
    size(most).prop_flat_map(|size| {
        (0..size.width, 0..size.width, 0..size.height, 0..size.height).prop_map(move |(a, b, c, d)| {
            (size, PixelBox { x0: a.min(b), y0: c.min(d), x1: a.max(b), y1: c.max(d) })
        })
    })
}

fn mask(most: u32) -> impl Strategy<Value = Mask> {
    size(most).prop_flat_map(|size| {
        prop::collection::vec(any::<bool>(), size.pixels()).prop_map(move |pixels| Mask::new(size, pixels))
    })
}

fn view() -> impl Strategy<Value = View> {
    prop::sample::select(&View::ALL[..])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_view_and_its_inverse_are_nothing(mask in mask(40), view in view()) {
        let turned = view.mask(&mask);
        prop_assert_eq!(turned.area(), mask.area());
        prop_assert_eq!(turned.bounding_box(), mask.bounding_box().map(|b| view.pixel_box(b, mask.size())));
        prop_assert_eq!(view.inverse().mask(&turned), mask);
    }

    #[test]
    fn a_box_and_its_corners_turn_back((size, bounds) in placed(3000), view in view()) {
        let (to, back) = (view.size(size), view.inverse());
        let turned = view.pixel_box(bounds, size);
        prop_assert!(turned.x1 < to.width && turned.y1 < to.height);
        prop_assert_eq!(u64::from(turned.width()) * u64::from(turned.height()), u64::from(bounds.width()) * u64::from(bounds.height()));
        prop_assert_eq!(back.pixel_box(turned, to), bounds);
        prop_assert_eq!(back.pixel(view.pixel([bounds.x0, bounds.y1], size), to), [bounds.x0, bounds.y1]);
    }

    #[test]
    fn a_box_in_the_model_input_lies_in_the_image_and_comes_back((size, bounds) in placed(20_000)) {
        let resized = size.with_longest_side(1024);
        prop_assert_eq!(resized.height.max(resized.width), 1024);
        let [x0, y0, x1, y1] = bounds.to_model(size, resized);
        prop_assert!(0.0 <= x0 && x0 <= x1 && x1 <= resized.width as f32);
        prop_assert!(0.0 <= y0 && y0 <= y1 && y1 <= resized.height as f32);
        let corner = point_to_model([f64::from(x1), f64::from(y1)], resized, size);
        // Single precision of a coordinate below 1024, seen at the original scale.
        let within = |found: f32, wanted: u32, of: u32| (found - wanted as f32).abs() <= of as f32 * 2e-7 + 1e-3;
        prop_assert!(within(corner[0], bounds.x1, size.width) && within(corner[1], bounds.y1, size.height), "{corner:?} {bounds:?}");
    }

    #[test]
    fn a_mask_is_its_runs((size, bounds) in placed(60), mask in mask(40)) {
        prop_assert_eq!(Mask::from_rle(mask.size(), &mask.to_rle()).unwrap(), mask);
        let filled = Mask::from_fn(size, |x, y| bounds.contains(x, y));
        prop_assert_eq!(filled.bounding_box(), Some(bounds));
        prop_assert_eq!(Mask::from_rle(size, &filled.to_rle()).unwrap(), filled);
    }

    #[test]
    fn whatever_text_is_read_as_runs_is_a_mask_or_an_error(size in size(40), text in "[0-o]{0,40}") {
        if let Ok(mask) = Mask::from_rle(size, &text) {
            prop_assert_eq!(mask.size(), size);
        }
    }

    #[test]
    fn a_filled_box_comes_back_from_the_low_res_grid_within_two_cells((size, bounds) in placed(300)) {
        const SIDE: u32 = 64;
        let original = Mask::from_fn(size, |x, y| bounds.contains(x, y));
        let low = original.to_low_res(SIDE);
        let inside = size.with_longest_side(SIDE);
        for y in 0..SIDE {
            for x in 0..SIDE {
                prop_assert!(!low.get(x, y) || x < inside.width && y < inside.height, "padding is background");
            }
        }
        let logits: Vec<f32> = low.pixels().iter().map(|&p| if p { 1.0 } else { -1.0 }).collect();
        let back = upscale_logits(&logits, SIDE, 4 * SIDE, size.with_longest_side(4 * SIDE), size);
        let back = Mask::new(size, back.into_iter().map(|logit| logit > 0.0).collect());
        let cell = 2 * size.height.max(size.width).div_ceil(SIDE) + 1;
        let grown = bounds.grown([cell; 4], size);
        for (i, &inside) in back.pixels().iter().enumerate() {
            let (x, y) = (i as u32 % size.width, i as u32 / size.width);
            prop_assert!(!inside || grown.contains(x, y), "{bounds:?} in {size}: ({x}, {y})");
            let deep = x >= bounds.x0 + cell && x + cell <= bounds.x1 && y >= bounds.y0 + cell && y + cell <= bounds.y1;
            prop_assert!(inside || !deep, "{bounds:?} in {size}: ({x}, {y})");
        }
    }
}
