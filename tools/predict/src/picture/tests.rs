use super::*;

#[test]
fn what_is_beyond_a_limit_names_the_flag() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.png");
    image::RgbImage::new(40, 30).save(&path).unwrap();
    let length = std::fs::metadata(&path).unwrap().len();
    let limits = |max_pixels, max_bytes| Limits { max_pixels, max_bytes };
    assert_eq!(size(&path, limits(1200, length)), Ok(Size::new(30, 40)));
    assert_eq!(bytes(&path, limits(1, length)).unwrap().len() as u64, length);
    let pixels = size(&path, limits(1199, length)).unwrap_err();
    assert_eq!(pixels, "it has 40x30 pixels, more than --max-pixels = 1199");
    let most = length - 1;
    let expected = format!("it has {length} bytes, more than --max-bytes = {most}");
    assert_eq!(size(&path, limits(1200, most)), Err(expected.clone()));
    assert_eq!(bytes(&path, limits(1200, most)), Err(expected));
}
