use super::*;

#[test]
fn a_path_goes_round_each_outline_and_is_as_long_as_they_are() {
    let ring = Mask::from_fn(Size::new(3, 4), |x, y| !(y == 1 && (x == 1 || x == 2)));
    let outlines = ring.outlines();
    assert_eq!(path_data(&outlines), "M4 0v3h-4v-3zM3 2v-1h-2v1z");
    assert_eq!(length(&outlines), 14 + 6);
    assert_eq!(length(&Mask::empty(Size::new(2, 2)).outlines()), 0);
}
