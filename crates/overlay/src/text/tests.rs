use super::*;

const INK: Rgb<u8> = Rgb([1, 2, 3]);

fn written(text: &str) -> RgbImage {
    let mut canvas = RgbImage::new(text_width(text), text_height());
    write_text(&mut canvas, (0, 0), text, Weight::Regular, INK);
    canvas
}

#[test]
fn characters_differ_from_one_another_and_a_text_fills_its_width() {
    let pictures: Vec<RgbImage> = "0123456789abcxyz%.,-é".chars().map(|c| written(&c.to_string())).collect();
    for (i, picture) in pictures.iter().enumerate() {
        assert!(picture.pixels().any(|p| *p == INK));
        assert!(pictures[..i].iter().all(|other| other != picture));
    }
    let text = written("HHH");
    let last = text.width() - text_width("H");
    assert!((last..text.width()).any(|x| (0..text.height()).any(|y| *text.get_pixel(x, y) == INK)));
}

#[test]
fn what_does_not_fit_is_cut_off() {
    let mut canvas = RgbImage::new(5, 5);
    write_text(&mut canvas, (-3, -4), "WWWW", Weight::Bold, INK);
    write_text(&mut canvas, (400, 400), "WWWW", Weight::Bold, INK);
    assert_eq!(canvas.dimensions(), (5, 5));
}
