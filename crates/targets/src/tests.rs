use super::*;

#[test]
fn a_packed_mask_is_the_mask() {
    let mask = Mask::from_fn(Size::new(5, 7), |x, y| (x * 3 + y * 5) % 4 == 1);
    assert_eq!(pack(&mask).len(), 5);
    assert_eq!(unpack(&pack(&mask), mask.size()), mask);
}
