use super::*;

/// No two views of it are equal, and it is not square.
fn mask() -> Mask {
    Mask::from_fn(Size::new(5, 7), |x, y| (x * x + 3 * y) % 7 < 2 && x + y > 1)
}

#[test]
fn the_views_are_a_group() {
    let mask = mask();
    for a in View::ALL {
        assert_eq!(a.inverse().mask(&a.mask(&mask)), mask, "{a}");
        assert_eq!(a.mask(&a.inverse().mask(&mask)), mask, "{a}");
        let mut products = Vec::new();
        for b in View::ALL {
            let both = b.mask(&a.mask(&mask));
            let same: Vec<View> = View::ALL.into_iter().filter(|c| c.mask(&mask) == both).collect();
            let [product] = same[..] else { panic!("{a}, then {b}, is {same:?}") };
            products.push(product);
        }
        products.sort();
        products.dedup();
        assert_eq!(products.len(), 8, "{a}, then any other, is each view once");
    }
    let turned = View::Rotate90.mask(&View::Rotate90.mask(&mask));
    assert_eq!(turned, View::Rotate180.mask(&mask));
    let flips = View::FLIPS.map(|view| view.size(mask.size()));
    assert_eq!(flips, [mask.size(); 4]);
}

#[test]
fn boxes_follow_their_masks() {
    let mut checked = 0;
    for (x0, y0, x1, y1) in [(0, 0, 0, 0), (1, 2, 4, 3), (0, 1, 6, 4), (6, 4, 6, 4)] {
        let tight = PixelBox { x0, y0, x1, y1 };
        let size = Size::new(5, 7);
        let mask = Mask::from_fn(size, |x, y| tight.contains(x, y) && (x + y != x0 + y0 || x1 == x0));
        let tight = mask.bounding_box().unwrap();
        for view in View::ALL {
            assert_eq!(view.mask(&mask).bounding_box(), Some(view.pixel_box(tight, size)), "{view}");
            checked += 1;
        }
    }
    assert_eq!(checked, 32);
}

#[test]
fn swapped_sides_have_swapped_sizes_in_every_frame() {
    for height in (1..600).step_by(7) {
        for width in (1..600).step_by(11) {
            for longest in [256, 1024] {
                let size = Size::new(height, width);
                for view in View::ALL {
                    let turned = view.size(size).with_longest_side(longest);
                    assert_eq!(turned, view.size(size.with_longest_side(longest)), "{size} {view}");
                }
            }
        }
    }
}

#[test]
fn names_are_what_is_written() {
    for view in View::ALL {
        assert_eq!(serde_json::to_value(view).unwrap(), view.name());
    }
}
