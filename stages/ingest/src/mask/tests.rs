use super::*;

fn grey(rows: &[&str]) -> Grey {
    let value = |b: u8| match b {
        b'#' => 255,
        b'.' => 0,
        digit => digit - b'0',
    };
    let size = Size::new(rows.len() as u32, rows[0].len() as u32);
    Grey { size, values: rows.iter().flat_map(|row| row.bytes().map(value)).collect() }
}

fn params(speck_pixels: u32, targets: Targets) -> MaskParams {
    MaskParams { speck_pixels, targets, ..MaskParams::default() }
}

#[test]
fn runs_are_the_mask() {
    let grey = grey(&["#.##", "....", ".##.", "...#"]);
    let mask = Mask::new(grey.size, grey.values.iter().map(|&v| v > 0).collect());
    let runs = Runs::of(&grey, |v| v >= 128);
    assert_eq!(runs.to_mask(), mask);
    assert_eq!(runs.bounding_box(), mask.bounding_box());
    assert_eq!(runs.area(), 6);
}

/// Against a flood fill, on random masks of many densities; and their boxes.
#[test]
fn components_are_those_of_a_flood_fill() {
    for case in 0..200u32 {
        let size = Size::new(1 + case % 13, 1 + case % 17);
        let mut rng = resect_seed::stream("test", 0, &[&case.to_le_bytes()]);
        let values = (0..size.pixels())
            .map(|_| if resect_seed::below(&mut rng, 100) < 10 + case % 80 { 255 } else { 0 })
            .collect();
        let grey = Grey { size, values };
        let runs = Runs::of(&grey, |v| v > 0);
        assert_eq!(box_above_zero(&grey), runs.bounding_box(), "case {case}");
        let found = runs.components(MOST_PIECES).unwrap();
        let found: Vec<Mask> = found.iter().map(Runs::to_mask).collect();
        assert_eq!(found, flood(&grey), "case {case}");
    }
}

#[test]
fn noise_beyond_all_pieces_is_no_mask() {
    let size = Size::new(2001, 2003);
    let apart = |i: usize| (i / 2003).is_multiple_of(2) && (i % 2003).is_multiple_of(2);
    let values = (0..size.pixels()).map(|i| if apart(i) { 255 } else { 0 }).collect();
    let reason = segment(&Grey { size, values }, &params(0, Targets::Components)).unwrap_err();
    assert_eq!(reason, "the mask falls into more than 1000000 pieces: that is noise");
}

fn flood(grey: &Grey) -> Vec<Mask> {
    let (width, height) = (grey.size.width as usize, grey.size.height as usize);
    let mut left: Vec<bool> = grey.values.iter().map(|&v| v > 0).collect();
    let mut found = Vec::new();
    while let Some(start) = left.iter().position(|&p| p) {
        let mut pixels = vec![false; left.len()];
        let mut stack = vec![start];
        while let Some(at) = stack.pop() {
            if !std::mem::take(&mut left[at]) {
                continue;
            }
            pixels[at] = true;
            let (x, y) = (at % width, at / width);
            for y in y.saturating_sub(1)..(y + 2).min(height) {
                stack.extend((x.saturating_sub(1)..(x + 2).min(width)).map(|x| y * width + x));
            }
        }
        found.push(Mask::new(grey.size, pixels));
    }
    found
}

#[test]
fn specks_go_and_the_largest_stays() {
    let mask = grey(&["#....", "...##", "...##", "##..."]);
    let found = segment(&mask, &params(2, Targets::Whole)).unwrap();
    assert_eq!((found.specks, found.components, found.corner_speck), (1, 2, true));
    let found = segment(&mask, &params(100, Targets::Whole)).unwrap();
    assert_eq!((found.specks, found.components), (2, 1));
    assert_eq!(found.pieces[0].runs.bounding_box(), Some(PixelBox { x0: 3, y0: 1, x1: 4, y1: 2 }));
    let found = segment(&mask, &params(0, Targets::Whole)).unwrap();
    assert_eq!((found.specks, found.components, found.pieces[0].components), (0, 3, 3));
}

#[test]
fn each_component_is_a_piece_of_its_own_from_top_to_bottom() {
    let mask = grey(&["...##", ".#...", ".#.##"]);
    let found = segment(&mask, &params(0, Targets::Components)).unwrap();
    let boxes: Vec<_> = found.pieces.iter().filter_map(|p| p.runs.bounding_box()).collect();
    assert_eq!(boxes[0], PixelBox { x0: 3, y0: 0, x1: 4, y1: 0 });
    assert_eq!(boxes[1], PixelBox { x0: 1, y0: 1, x1: 1, y1: 2 });
    assert_eq!(boxes[2], PixelBox { x0: 3, y0: 2, x1: 4, y1: 2 });
}

#[test]
fn jpeg_noise_is_seen_and_does_not_move_the_box() {
    let found = segment(&grey(&["2....", "..##1"]), &params(0, Targets::Whole)).unwrap();
    assert!(found.noisy && found.box_moves_above_zero && !found.corner_speck);
    let found = segment(&grey(&[".....", "..##."]), &params(0, Targets::Whole)).unwrap();
    assert!(!found.noisy && !found.box_moves_above_zero && found.touches_border);
}

#[test]
fn an_empty_mask_and_a_misread_one_are_told_apart() {
    let why = |rows: &[&str], params: &MaskParams| segment(&grey(rows), params).unwrap_err();
    let mut params = MaskParams::default();
    assert_eq!(why(&["..", ".."], &params), "the mask is empty");
    assert!(why(&["..", ".1"], &params).contains("looks like 0/1, set mask.threshold = 1"));
    assert!(why(&["..", ".7"], &params).contains("0/7, set mask.threshold = 7"));
    assert!(why(&[".2", ".1"], &params).contains("mask.labels"));
    params.labels = vec![3, 4];
    let reason = why(&[".2", ".1"], &params);
    assert!(reason.contains("[3, 4]") && reason.contains("0, 1, 2"), "{reason}");
    params.labels = vec![2];
    assert_eq!(segment(&grey(&[".2", "#1"]), &params).unwrap().pieces[0].runs.area(), 1);
}
