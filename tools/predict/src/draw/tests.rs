use super::*;
use resect_prompts::{BoxPrompt, Prompt};

fn outlined(bounds: &str, mask: &Mask) -> Outlined {
    let prompt = Prompt::of_box(bounds.parse::<BoxPrompt>().unwrap());
    let prompt = WrittenPrompt { prompt, from: String::new() };
    Outlined::new(mask, &prompt, 0.876, 1)
}

#[test]
fn digits_are_grouped() {
    assert_eq!([7, 999, 1000, 1234567].map(grouped), ["7", "999", "1,000", "1,234,567"]);
}

#[test]
fn the_legend_says_what_was_found() {
    let size = Size::new(50, 100);
    let mask = Mask::from_fn(size, |x, _| x < 25);
    assert_eq!(outlined("0,0,9,9", &mask).says(Some(3)), "3: 1,250 px (25.0 %), predicted IoU 0.88");
    assert_eq!(outlined("0,0,9,9", &Mask::empty(size)).says(None), "nothing found, predicted IoU 0.88");
    let size = Size::new(800, 800);
    let speckle = Mask::from_fn(size, |x, y| (x / 2 + y / 2) % 2 == 0);
    assert!(outlined("0,0,9,9", &speckle).says(None).contains("scattered"));
}

#[test]
fn a_box_is_drawn_around_its_last_pixels_and_stays_on_the_canvas() {
    let mask = Mask::empty(Size::new(384, 768));
    assert_eq!(outlined("10,20,30,40", &mask).frame(), Some([10, 20, 30, 40]));
    assert_eq!(outlined("0,0,767,383", &mask).frame(), Some([0, 0, 767, 383]));
    assert_eq!(outlined("0,0,768,384", &mask).frame(), Some([0, 0, 767, 383]));
    assert_eq!(outlined("5,5,5,5", &mask).frame(), Some([5, 5, 5, 5]));
}

#[test]
fn colours_lie_where_the_mask_ends_and_masks_on_the_canvas_have_its_size() {
    for (width, height) in [(100, 60), (900, 700), (3000, 2000), (7, 901)] {
        let picture = RgbImage::from_pixel(width, height, Rgb([200, 90, 80]));
        let mask = Mask::from_fn(Size::new(height, width), |x, _| x < width / 2);
        let drawn = overlay(&picture, &[outlined("0,0,3,3", &mask)], true);
        assert!(drawn.pixels().any(|pixel| *pixel == PALETTE[0]));
        let longest = drawn.width().max(drawn.height());
        assert!(longest >= 768, "{longest}");
    }
}
