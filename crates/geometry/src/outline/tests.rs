use super::*;

fn mask(rows: &[&str]) -> Mask {
    let size = Size::new(rows.len() as u32, rows[0].len() as u32);
    Mask::new(size, rows.iter().flat_map(|row| row.bytes().map(|b| b == b'#')).collect())
}

/// Twice the area enclosed, clockwise positive.
fn twice_area(outline: &[u32]) -> i64 {
    let corners: Vec<(i64, i64)> = outline.chunks(2).map(|c| (c[0].into(), c[1].into())).collect();
    let next = corners.iter().cycle().skip(1);
    corners.iter().zip(next).map(|(a, b)| a.0 * b.1 - b.0 * a.1).sum()
}

#[test]
fn a_pixel_is_a_square_and_corners_alone_are_kept() {
    assert_eq!(outlines(&mask(&["...", ".#.", "..."])), [[2, 1, 2, 2, 1, 2, 1, 1]]);
    assert_eq!(outlines(&mask(&["####", "####"])), [[4, 0, 4, 2, 0, 2, 0, 0]]);
    assert_eq!(outlines(&mask(&["....", "...."])), Vec::<Vec<u32>>::new());
}

#[test]
fn holes_are_filled_and_pixels_that_touch_at_a_corner_are_two_parts() {
    let ring = mask(&["####", "#..#", "####"]);
    assert_eq!(filled(&ring).area(), 12);
    let open = mask(&["####", "#..#", "###."]);
    assert_eq!(filled(&open), open, "it leads out diagonally");
    let corner = mask(&["#.", ".#"]);
    assert_eq!(outlines(&corner).len(), 2);
    let nested = mask(&["#####", "#...#", "#.#.#", "#...#", "#####"]);
    assert_eq!(outlines(&filled(&nested)), [[5, 0, 5, 5, 0, 5, 0, 0]]);
}

#[test]
fn a_hole_has_an_outline_of_its_own() {
    let ring = mask(&["####", "#..#", "####"]);
    let areas: Vec<i64> = outlines(&ring).iter().map(|outline| twice_area(outline)).collect();
    assert_eq!(areas, [24, -4]);
}

#[test]
fn areas_add_up_to_the_masks_whatever_its_form() {
    let mut state = 12345u32;
    for round in 0..60 {
        let size = Size::new(1 + round % 9, 1 + round / 4);
        let mask = Mask::from_fn(size, |_, _| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 30 != 0
        });
        let filled = filled(&mask);
        assert!(outlines(&filled).iter().all(|outline| twice_area(outline) > 0), "{round}: none is a hole");
        for mask in [mask, filled] {
            let outlines = outlines(&mask);
            assert!(outlines.iter().all(|outline| outline.len() >= 8));
            let twice: i64 = outlines.iter().map(|outline| twice_area(outline)).sum();
            assert_eq!(twice, 2 * mask.area() as i64, "{round}");
        }
    }
}
