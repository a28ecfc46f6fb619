use super::*;

fn bytes(format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let image = RgbImage::from_fn(7, 4, |x, y| image::Rgb([x as u8 * 30, y as u8 * 50, 9]));
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// The JPEG with an EXIF block that says how it is turned.
fn turned(orientation: u8) -> Vec<u8> {
    let tiff =
        [b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".as_slice(), &[orientation, 0, 0, 0, 0, 0, 0]]
            .concat();
    let exif = [b"Exif\0\0".as_slice(), &tiff].concat();
    let length = (exif.len() as u16 + 2).to_be_bytes();
    let jpeg = bytes(ImageFormat::Jpeg);
    [&jpeg[..2], &[0xff, 0xe1], &length, &exif, &jpeg[2..]].concat()
}

#[test]
fn the_size_is_that_of_the_decoded_image() {
    let formats =
        [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Bmp, ImageFormat::Tiff, ImageFormat::WebP];
    let files = formats.map(bytes).into_iter().chain((1..=8).map(turned));
    for (index, file) in files.enumerate() {
        let image = rgb(&file, 100).unwrap().pixels;
        let size = upright_size(Cursor::new(&file), 100).unwrap();
        assert_eq!((size.width, size.height), image.dimensions(), "file {index}");
        let on_its_side = index >= 5 && index - 5 >= 4;
        assert_eq!(size.width == 4, on_its_side, "file {index}");
    }
}

#[test]
fn what_is_no_image_or_too_large_has_no_size() {
    let error = |bytes: &[u8]| upright_size(Cursor::new(bytes), 20).unwrap_err().to_string();
    assert!(error(b"no image").contains("it is not an image: none of PNG"));
    assert!(error(b"").contains("the file is empty"));
    assert!(error(&bytes(ImageFormat::Png)).contains("7x4 pixels, more than the 20"));
    assert!(error(&bytes(ImageFormat::Png)[..20]).contains("cannot be decoded"));
}
