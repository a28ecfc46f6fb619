use super::*;
use crate::Size;

/// By the definition: every pixel of the mask against every other within and around the image.
fn by_definition(mask: &Mask) -> Option<[u32; 2]> {
    let (height, width) = (i64::from(mask.size().height), i64::from(mask.size().width));
    let object =
        |x: i64, y: i64| (0..width).contains(&x) && (0..height).contains(&y) && mask.get(x as u32, y as u32);
    let mut best = (0, None);
    for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
        let others = (-1..=height).flat_map(|b| (-1..=width).map(move |a| (a, b)));
        let distances = others.filter(|&(a, b)| !object(a, b)).map(|(a, b)| (a - x).pow(2) + (b - y).pow(2));
        let distance = distances.min().unwrap();
        if distance > best.0 {
            best = (distance, Some([x as u32, y as u32]));
        }
    }
    best.1
}

#[test]
fn it_is_the_farthest_pixel_by_definition() {
    let sizes = [Size::new(1, 1), Size::new(1, 9), Size::new(13, 1), Size::new(17, 23), Size::new(24, 12)];
    for size in sizes {
        // Full, empty, and blobs of every coarseness.
        for (scale, share) in [(1, 0), (1, 97), (1, 20), (1, 60), (3, 50), (5, 60), (7, 90), (4, 30)] {
            for seed in 0..4 {
                let mask = Mask::from_fn(size, |x, y| {
                    let (x, y) = (x / scale + seed * 31, y / scale);
                    (x * x * 7 + y * y * 13 + x * y * 5 + x * 3) % 97 < share
                });
                assert_eq!(mask.most_interior(), by_definition(&mask), "{size}, {scale}, {share}, {seed}");
            }
        }
    }
}

#[test]
fn a_full_mask_has_it_in_the_middle_and_an_empty_one_nowhere() {
    let full = |size| Mask::from_fn(size, |_, _| true);
    assert_eq!(full(Size::new(5, 5)).most_interior(), Some([2, 2]));
    // The first of many, in row order.
    assert_eq!(full(Size::new(4, 9)).most_interior(), Some([1, 1]));
    assert_eq!(Mask::empty(Size::new(3, 3)).most_interior(), None);
    let ring = Mask::from_fn(Size::new(9, 9), |x, y| x.abs_diff(4).max(y.abs_diff(4)) > 1);
    assert_eq!(ring.most_interior(), by_definition(&ring));
}
