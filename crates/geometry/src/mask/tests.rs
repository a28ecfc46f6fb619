use super::*;

fn mask(rows: &[&str]) -> Mask {
    let size = Size::new(rows.len() as u32, rows[0].len() as u32);
    Mask::new(size, rows.iter().flat_map(|r| r.bytes().map(|b| b == b'#')).collect())
}

#[test]
fn the_box_is_tight_and_inclusive() {
    let m = mask(&["......", "..#...", "...##.", "......"]);
    assert_eq!(m.bounding_box(), Some(PixelBox { x0: 2, y0: 1, x1: 4, y1: 2 }));
    assert_eq!(Mask::empty(Size::new(3, 3)).bounding_box(), None);
    assert_eq!(m.area(), 3);
}

#[test]
fn low_res_is_padded_never_squashed() {
    let m = mask(&["########", "########", "########", "########"]);
    let low = m.to_low_res(4);
    assert_eq!(low, mask(&["####", "####", "....", "...."]));
}
