use super::*;

const GREEN: Rgb<u8> = Rgb([0, 255, 0]);

#[test]
fn every_entry_is_whole_and_the_image_is_as_it_was() {
    let image = RgbImage::from_pixel(120, 60, Rgb([9, 9, 9]));
    let entries: Vec<_> =
        ["short", "a good deal longer than that", "x"].map(|text| (Some(GREEN), text.to_owned())).into();
    let canvas = with_legend(&image, &entries);
    assert!(canvas.width() >= text_width(&entries[1].1) + SWATCH);
    assert!(image.enumerate_pixels().all(|(x, y, pixel)| canvas.get_pixel(x, y) == pixel));
    let swatches = canvas.pixels().filter(|pixel| **pixel == GREEN).count();
    assert_eq!(swatches, 3 * (SWATCH * SWATCH) as usize);
}

#[test]
fn entries_share_a_line_while_they_fit_and_notes_do_not() {
    let image = RgbImage::new(500, 10);
    let height = |entries: &[(Option<Rgb<u8>>, &str)]| {
        let entries: Vec<_> = entries.iter().map(|(c, t)| (*c, (*t).to_owned())).collect();
        with_legend(&image, &entries).height()
    };
    let one = height(&[(Some(GREEN), "truth")]);
    assert_eq!(height(&[(Some(GREEN), "truth"), (Some(GREEN), "tuned 0.912")]), one);
    assert_eq!(height(&[(Some(GREEN), "truth"), (None, "a note")]), one + LINE);
}
