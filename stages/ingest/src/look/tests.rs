use super::*;

fn picture(seed: u32) -> RgbImage {
    RgbImage::from_fn(120, 90, |x, y| {
        let wave =
            |k: u32| (127.0 + 120.0 * ((x * (k + seed) + y * (3 + seed * k)) as f32 / 40.0).sin()) as u8;
        Rgb([wave(1), wave(2), wave(3)])
    })
}

#[test]
fn a_rescaled_brighter_copy_looks_the_same_and_another_picture_does_not() {
    let look = Look::of;
    let mut copy = image::imageops::resize(&picture(1), 97, 71, image::imageops::FilterType::CatmullRom);
    copy.pixels_mut().for_each(|p| p.0 = p.0.map(|v| v.saturating_add(6)));
    let one = look(&picture(1));
    assert_eq!(one.distance(&one, 0), Some(0));
    assert!(one.distance(&look(&copy), 6).is_some());
    assert_eq!(one.distance(&look(&picture(2)), 64), None);
    // Without any contrast there is nothing to tell apart.
    let flat = look(&RgbImage::new(5, 5));
    assert_eq!(flat.distance(&flat, 0), Some(0));
}
