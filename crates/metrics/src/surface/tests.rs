use resect_geometry::Size;

use super::*;

fn disc(size: Size, (cx, cy): (i64, i64), radius: i64) -> Mask {
    Mask::from_fn(size, |x, y| (i64::from(x) - cx).pow(2) + (i64::from(y) - cy).pow(2) <= radius * radius)
}

#[test]
fn distances_are_those_to_every_pixel_tried_one_by_one() {
    let size = Size::new(37, 61);
    let speckle = Mask::from_fn(size, |x, y| (x * 7 + y * y * 13) % 11 == 0);
    let masks = [disc(size, (20, 12), 9), disc(size, (50, 30), 14), disc(size, (20, 12), 0), speckle];
    let frame = PixelBox { x0: 0, y0: 0, x1: 60, y1: 36 };
    let places = |border: &Border| -> Vec<(i64, i64)> {
        let width = border.width;
        let set = border.pixels.iter().enumerate().filter(|(_, border)| **border);
        set.map(|(i, _)| ((i % width) as i64, (i / width) as i64)).collect()
    };
    for a in &masks {
        for b in &masks {
            let (a, b) = (Border::of(a, frame), Border::of(b, frame));
            let nearest = |&(x, y): &(i64, i64)| {
                places(&b).iter().map(|(u, v)| (x - u).pow(2) + (y - v).pow(2)).min().unwrap() as f64
            };
            let expected: Vec<f64> = places(&a).iter().map(|place| nearest(place).sqrt()).collect();
            assert_eq!(a.distances_to(&b), expected);
        }
    }
}

#[test]
fn masks_of_nothing_have_no_distance() {
    let (empty, some) = (Mask::empty(Size::new(5, 5)), disc(Size::new(5, 5), (2, 2), 1));
    let none = SurfaceDistance { hd95: None, surface_dice: None };
    assert_eq!(surface_distance(&empty, &empty, 2.0), none);
    assert_eq!(surface_distance(&some, &empty, 2.0), none);
    let missed = SurfaceDistance { hd95: None, surface_dice: Some(0.0) };
    assert_eq!(surface_distance(&empty, &some, 2.0), missed);
    assert_eq!(
        surface_distance(&some, &some, 0.0),
        SurfaceDistance { hd95: Some(0.0), surface_dice: Some(1.0) }
    );
}
