use super::*;
use resect_geometry::Size;

const INK: Rgb<u8> = Rgb([250, 1, 1]);

#[test]
fn a_rectangle_may_reach_beyond_the_canvas() {
    for line in [Line::Solid, Line::Dashed] {
        let mut canvas = RgbImage::new(20, 20);
        rectangle(&mut canvas, [-5, 3, 40, 60], line, INK);
        assert_eq!(*canvas.get_pixel(0, 3), INK);
        assert_eq!(*canvas.get_pixel(5, 10), Rgb([0, 0, 0]));
    }
    let mut canvas = RgbImage::new(20, 20);
    rectangle(&mut canvas, [4, 4, 4, 4], Line::Dashed, INK);
    assert_eq!(canvas.pixels().filter(|p| **p == INK).count(), 1);
}

#[test]
fn a_plus_is_not_a_minus_and_both_have_a_dark_rim() {
    let drawn = [Sign::Plus, Sign::Minus].map(|sign| {
        let mut canvas = RgbImage::from_pixel(30, 30, Rgb([255, 255, 255]));
        point(&mut canvas, (15, 15), sign, INK);
        assert_eq!((*canvas.get_pixel(15, 6), *canvas.get_pixel(15, 9)), (DARK, INK));
        canvas
    });
    assert_ne!(drawn[0], drawn[1]);
}

#[test]
fn badges_keep_clear_of_one_another_and_stay_on_the_canvas() {
    let mut canvas = RgbImage::new(120, 120);
    let mask = Mask::from_fn(Size::new(120, 120), |x, y| (50..70).contains(&x) && (50..70).contains(&y));
    let mut badges = Badges::default();
    (0..4).for_each(|n| badges.add(&mut canvas, &mask, (0, 0), &n.to_string(), INK));
    let full = Mask::from_fn(Size::new(120, 120), |_, _| true);
    badges.add(&mut canvas, &full, (0, 0), "4", INK);
    badges.add(&mut canvas, &Mask::empty(full.size()), (119, 119), "5", INK);
    for (i, a) in badges.taken.iter().enumerate() {
        assert!(a[0] >= 0 && a[1] >= 0 && a[2] < 120 && a[3] < 120, "{a:?}");
        for b in &badges.taken[..i] {
            assert!(a[2] < b[0] || b[2] < a[0] || a[3] < b[1] || b[3] < a[1], "{a:?} {b:?}");
        }
    }
}
