use super::*;

#[test]
fn growing_is_clipped_to_the_image() {
    let b = PixelBox { x0: 3, y0: 10, x1: 95, y1: 40 };
    let grown = b.grown([5, 5, 5, 5], Size::new(50, 100));
    assert_eq!(grown, PixelBox { x0: 0, y0: 5, x1: 99, y1: 45 });
    assert_eq!(b.grown([0; 4], Size::new(50, 100)), b);
}

#[test]
fn each_axis_has_its_own_scale() {
    let b = PixelBox { x0: 0, y0: 1, x1: 10, y1: 2 };
    assert_eq!(b.to_model(Size::new(4, 20), Size::new(2, 40)), [0.0, 0.5, 20.0, 1.0]);
}
