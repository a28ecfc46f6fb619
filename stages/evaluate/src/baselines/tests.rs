use super::*;

fn mask(rows: &[&str]) -> Mask {
    let size = Size::new(rows.len() as u32, rows[0].len() as u32);
    Mask::new(size, rows.iter().flat_map(|r| r.bytes().map(|b| b == b'#')).collect())
}

const WHOLE: PixelBox = PixelBox { x0: 0, y0: 0, x1: 5, y1: 5 };

/// A grey image from digits, 0 black to 9 light.
fn grey(rows: &[&str]) -> (Size, Vec<u8>) {
    let size = Size::new(rows.len() as u32, rows[0].len() as u32);
    let plane: Vec<u8> = rows.iter().flat_map(|r| r.bytes().map(|b| 20 * (b - b'0'))).collect();
    (size, [plane.clone(), plane.clone(), plane].concat())
}

fn otsu_of(rows: &[&str], prompt: PixelBox) -> Mask {
    let (size, pixels) = grey(rows);
    let image = ImageRef { id: "", pixel_hash: "", original: size, resized: size, pixels: &pixels };
    otsu(&image, prompt, size)
}

#[test]
fn the_ellipse_touches_the_sides_and_leaves_the_corners() {
    let image = Size::new(6, 7);
    let expected = mask(&[".......", "..##...", ".####..", ".####..", "..##...", "......."]);
    assert_eq!(ellipse(PixelBox { x0: 1, y0: 1, x1: 4, y1: 4 }, image), expected);
    let wide = mask(&[".#####.", "#######", ".#####."]);
    assert_eq!(ellipse(PixelBox { x0: 0, y0: 0, x1: 6, y1: 2 }, wide.size()), wide);
    // The area tends to pi / 4 of the box.
    let large = PixelBox { x0: 3, y0: 5, x1: 402, y1: 204 };
    let share = ellipse(large, Size::new(300, 500)).area() as f64 / (400.0 * 200.0);
    assert!((share - std::f64::consts::FRAC_PI_4).abs() < 1e-3, "{share}");
}

#[test]
fn a_single_pixel_is_its_own_ellipse() {
    let b = PixelBox { x0: 2, y0: 1, x1: 2, y1: 1 };
    assert_eq!(ellipse(b, Size::new(3, 3)), filled_box(b, Size::new(3, 3)));
    let line = PixelBox { x0: 0, y0: 1, x1: 2, y1: 1 };
    assert_eq!(ellipse(line, Size::new(3, 3)), filled_box(line, Size::new(3, 3)));
}

#[test]
fn otsu_divides_where_the_classes_differ_most() {
    assert_eq!(otsu_threshold(&[10, 10, 10, 200, 200]), Some(10));
    assert_eq!(otsu_threshold(&[0, 1, 2, 100, 101, 102]), Some(2));
    // By hand, share of dark x share of light x squared difference of means: 1/2 x 1/2 x (0 - 100)^2 = 2500 at 0,
    // 3/4 x 1/4 x (50/3 - 150)^2 = 3333.3 from 50 on.
    assert_eq!(otsu_threshold(&[0, 0, 50, 150]), Some(50));
    assert_eq!(otsu_threshold(&[7; 9]), None);
    assert_eq!(otsu_threshold(&[0, 255]), Some(0));
}

#[test]
fn foreground_is_what_the_ellipse_has_more_of_light_or_dark() {
    let light = ["000000", "008800", "088880", "088880", "008800", "000000"];
    let disc = mask(&["......", "..##..", ".####.", ".####.", "..##..", "......"]);
    assert_eq!(otsu_of(&light, WHOLE), disc);
    let dark = light.map(|row| row.replace('0', "9").replace('8', "1"));
    assert_eq!(otsu_of(&dark.each_ref().map(String::as_str), WHOLE), disc);
    // Only pixels in the box count and only they can be foreground.
    let half = PixelBox { x0: 0, y0: 0, x1: 5, y1: 2 };
    let expected = mask(&["......", "..##..", ".####.", "......", "......", "......"]);
    assert_eq!(otsu_of(&light, half), expected);
}

#[test]
fn boxes_without_contrast_or_corners_have_an_answer() {
    assert_eq!(otsu_of(&["555", "555", "555"], PixelBox { x0: 0, y0: 0, x1: 1, y1: 1 }).area(), 4);
    assert_eq!(otsu_of(&["59"], PixelBox { x0: 1, y0: 0, x1: 1, y1: 0 }), mask(&[".#"]));
    // 2 x 2 pixels lie in their ellipse entirely: the majority is foreground, the light ones on a tie.
    let corner = PixelBox { x0: 0, y0: 0, x1: 1, y1: 1 };
    assert_eq!(otsu_of(&["90", "00"], corner), mask(&[".#", "##"]));
    assert_eq!(otsu_of(&["90", "90"], corner), mask(&["#.", "#."]));
}

#[test]
fn the_grey_image_is_the_lumas_bilinear_upscale() {
    let pixels = [255, 0, 0, 0, 0, 255];
    let image = ImageRef {
        id: "",
        pixel_hash: "",
        original: Size::new(1, 4),
        resized: Size::new(1, 2),
        pixels: &pixels,
    };
    // Red 76.2 and blue 29.1 by ITU-R 601; sampled at -0.25 (clamped), 0.25, 0.75 and 1.25 (clamped).
    assert_eq!(luma(&image), [76, 29]);
    let whole = PixelBox { x0: 0, y0: 0, x1: 3, y1: 0 };
    assert_eq!(grey_in_box(&image, whole, Size::new(1, 4)), [76, 64, 41, 29]);
}
