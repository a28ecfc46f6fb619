use super::*;

#[test]
fn longest_side_rounds_as_the_processor_does() {
    assert_eq!(Size::new(529, 622).with_longest_side(1024), Size::new(871, 1024));
    assert_eq!(Size::new(1072, 1920).with_longest_side(1024), Size::new(572, 1024));
    assert_eq!(Size::new(487, 332).with_longest_side(256), Size::new(256, 175));
    assert_eq!(Size::new(1, 5000).with_longest_side(1024), Size::new(1, 1024));
}
