use super::*;

const LINE: Rgb<u8> = Rgb([0, 220, 255]);

fn coloured(canvas: &RgbImage) -> Vec<String> {
    let sign = |pixel: &Rgb<u8>| match *pixel {
        LINE => '#',
        DARK => 'o',
        _ => '.',
    };
    canvas.rows().map(|row| row.map(sign).collect()).collect()
}

#[test]
fn outlines_lie_on_their_side_of_the_edge() {
    let mask = Mask::from_fn(Size::new(9, 9), |x, y| (2..=6).contains(&x) && (2..=6).contains(&y));
    let mut inside = RgbImage::new(9, 9);
    outline(&mut inside, &mask, Side::Inside, LINE);
    let ring = ["#####", "#####", "##.##", "#####", "#####"].map(|row| format!("..{row}.."));
    assert_eq!(coloured(&inside)[2..7], ring);
    let mut outside = RgbImage::new(9, 9);
    outline(&mut outside, &mask, Side::Outside, LINE);
    let rows = coloured(&outside);
    assert_eq!((rows[0].as_str(), rows[1].as_str()), ("..#####..", ".#######."));
    assert!(rows[2..7].iter().all(|row| row == "##.....##"));
}

#[test]
fn a_mask_at_the_border_has_a_closed_outline_and_an_empty_one_none() {
    let full = Mask::from_fn(Size::new(6, 6), |_, _| true);
    let mut canvas = RgbImage::new(6, 6);
    outline(&mut canvas, &full, Side::Inside, LINE);
    assert_eq!(coloured(&canvas), ["######", "######", "##..##", "##..##", "######", "######"]);
    let mut canvas = RgbImage::new(6, 6);
    outline(&mut canvas, &Mask::empty(full.size()), Side::Inside, LINE);
    outline(&mut canvas, &full, Side::Outside, LINE);
    stroke(&mut canvas, &Mask::empty(full.size()), LINE);
    assert_eq!(canvas, RgbImage::new(6, 6));
}

#[test]
fn a_stroke_runs_along_the_edge_between_dark_lines() {
    let mask = Mask::from_fn(Size::new(9, 12), |x, _| x >= 6);
    let mut canvas = RgbImage::new(12, 9);
    stroke(&mut canvas, &mask, LINE);
    assert_eq!(coloured(&canvas)[4], "....o###oo##");
}

#[test]
fn an_outline_is_as_long_as_its_sides() {
    let size = Size::new(9, 12);
    assert_eq!(length(&Mask::empty(size)), 0);
    assert_eq!(length(&Mask::from_fn(size, |_, _| true)), 2 * (9 + 12));
    assert_eq!(length(&Mask::from_fn(size, |x, y| (2..6).contains(&x) && (3..5).contains(&y))), 12);
    // Single pixels, each with four sides.
    assert_eq!(length(&Mask::from_fn(size, |x, y| (x + y) % 2 == 0)), 4 * 54);
}
