//! Kinds of image files.

use crate::support::*;
use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ExtendedColorType, ImageEncoder, ImageFormat, RgbImage};
use resect_geometry::Size;
use std::io::Cursor;

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// The stage's rows for a dataset of one sample `x` besides three others; sizes are kept (longest side 64).
fn rows(image: &[u8], mask: &[u8], labels: &[u8]) -> Output {
    let folder = Folder::new();
    for i in 0..3 {
        let id = format!("other{i}");
        folder.file(&format!("images/{id}.png"), &picture(64, 48, i + 100));
        folder.file(
            &format!("masks/{id}.png"),
            &grey(64, 48, |x, y| labels.first().copied().unwrap_or(255) * u8::from(in_square(x, y))),
        );
    }
    // The bytes decide what a file is, not its extension.
    folder.file("images/x.png", image);
    folder.file("masks/x.png", mask);
    let mut params = params();
    params.mask.labels = labels.to_vec();
    folder.run(&params).unwrap()
}

fn pixels(output: &Output) -> Vec<[u8; 3]> {
    let image = output.images.iter().find(|image| image.id == "x").unwrap();
    let n = image.resized.pixels();
    (0..n).map(|i| [0, 1, 2].map(|c| image.pixels[c * n + i])).collect()
}

fn interleaved(image: &RgbImage) -> Vec<[u8; 3]> {
    image.pixels().map(|p| p.0).collect()
}

fn mask() -> Vec<u8> {
    square_mask(64, 48)
}

#[test]
fn lossless_formats_give_the_same_pixels() {
    let scene = scene(64, 48, 7);
    let image = DynamicImage::ImageRgb8(scene.clone());
    for format in [ImageFormat::Png, ImageFormat::Tiff, ImageFormat::Bmp, ImageFormat::WebP] {
        assert_eq!(pixels(&rows(&encoded(&image, format), &mask(), &[])), interleaved(&scene), "{format:?}");
    }
}

#[test]
fn grey_alpha_and_sixteen_bits_become_eight_bit_colour() {
    let scene = DynamicImage::ImageRgb8(scene(64, 48, 7));
    let check = |image: DynamicImage, expected: RgbImage| {
        let found = rows(&encoded(&image, ImageFormat::Png), &mask(), &[]);
        assert!(pixels(&found) == interleaved(&expected), "{:?}", image.color());
    };
    let grey = scene.to_luma8();
    let grey_as_rgb = DynamicImage::ImageLuma8(grey.clone()).to_rgb8();
    check(DynamicImage::ImageLuma8(grey.clone()), grey_as_rgb.clone());
    let mut see_through = scene.to_rgba8();
    see_through.enumerate_pixels_mut().for_each(|(x, _, p)| p.0[3] = x as u8);
    // White shows through.
    let blended = RgbImage::from_fn(64, 48, |x, y| {
        let alpha = x;
        let over = |v: u8| ((u32::from(v) * alpha + 255 * (255 - alpha) + 127) / 255) as u8;
        image::Rgb(scene.to_rgb8().get_pixel(x, y).0.map(over))
    });
    check(DynamicImage::ImageRgba8(see_through), blended);
    let mut grey_alpha = DynamicImage::ImageLuma8(grey).to_luma_alpha8();
    grey_alpha.pixels_mut().for_each(|p| p.0[1] = 0);
    let white = RgbImage::from_pixel(64, 48, image::Rgb([255; 3]));
    check(DynamicImage::ImageLumaA8(grey_alpha), white);
    // value / 257, rounded: 129 is the first that rounds up to 1.
    let mut wide = scene.to_rgb16();
    wide.pixels_mut().zip(0..).for_each(|(p, i): (_, u16)| p.0 = [i * 20, 129, 128]);
    let narrow = RgbImage::from_fn(64, 48, |x, y| {
        let value = u32::from(((y * 64 + x) * 20) as u16);
        image::Rgb([((value + 128) / 257) as u8, 1, 0])
    });
    check(DynamicImage::ImageRgb16(wide), narrow);
}

#[test]
fn orientation_in_exif_is_applied_to_the_image() {
    let upright = scene(48, 64, 7);
    // Orientation 6: turn by 90 degrees clockwise to look at it. Stored lying on its side.
    let stored = image::imageops::rotate270(&upright);
    let exif = |bytes: &mut Vec<u8>| {
        let mut encoder = JpegEncoder::new_with_quality(bytes, 100);
        let tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        encoder.set_exif_metadata(tiff.to_vec()).unwrap();
        encoder.write_image(&stored, 64, 48, ExtendedColorType::Rgb8).unwrap();
    };
    let mut jpeg = Vec::new();
    exif(&mut jpeg);
    let output = rows(&jpeg, &square_mask(48, 64), &[]);
    assert_eq!(output.rejected, []);
    assert_eq!(output.target("x").original(), Size::new(64, 48));
    assert_eq!(output.audit.sizes.turned_by_exif, 1);
    let far =
        pixels(&output).iter().zip(interleaved(&upright)).filter(|(a, b)| a[1].abs_diff(b[1]) > 60).count();
    assert!(far < 300, "{far} of 3072 pixels are far off");
    // A mask drawn on the stored pixels does not fit, and the reason says what to look at.
    let output = rows(&jpeg, &square_mask(64, 48), &[]);
    assert!(output.only_reject().1.contains("EXIF"), "{:?}", output.rejected);
}

fn palette_png(depth: png::BitDepth, index: impl Fn(u32, u32) -> u8) -> Vec<u8> {
    let bits = depth as u32;
    let mut packed = Vec::new();
    for y in 0..48 {
        let mut row = vec![0u8; (61 * bits).div_ceil(8) as usize];
        for x in 0..61 {
            let at = x * bits;
            row[(at / 8) as usize] |= index(x, y) << (8 - bits - at % 8);
        }
        packed.extend(row);
    }
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 61, 48);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(depth);
    encoder.set_palette([0, 0, 0, 128, 0, 0, 255, 255, 255, 0, 0, 255].to_vec());
    encoder.write_header().unwrap().write_image_data(&packed).unwrap();
    bytes
}

#[test]
fn labels_are_palette_indices_at_every_depth() {
    for depth in [png::BitDepth::Two, png::BitDepth::Four, png::BitDepth::Eight] {
        let mask = palette_png(depth, |x, y| if in_square(x, y) { 3 } else { u8::from(x > 40) });
        let image = picture(61, 48, 7);
        let output = rows(&image, &mask, &[3]);
        assert_eq!(output.target("x").bounding_box(), SQUARE, "{depth:?}");
        let output = rows(&image, &mask, &[1, 3]);
        assert_eq!(output.target("x").x1, 60, "{depth:?}");
    }
    // Without labels, a palette's colours count: index 2 is white, 3 is a dark blue.
    let mask =
        palette_png(png::BitDepth::Four, |x, y| if in_square(x, y) { 2 } else { 3 * u8::from(x > 40) });
    assert_eq!(rows(&picture(61, 48, 7), &mask, &[]).target("x").bounding_box(), SQUARE);
}

#[test]
fn labels_are_palette_indices_in_bmp_too() {
    // 8 bits, 61 x 48, two colours, rows padded to 64 bytes and stored bottom up.
    let mut bmp = b"BM".to_vec();
    for value in [54 + 8 + 64 * 48, 0, 62, 40, 61, 48, 1 | 8 << 16, 0, 64 * 48, 0, 0, 2, 0u32] {
        bmp.extend(value.to_le_bytes());
    }
    bmp.extend([9, 9, 9, 0, 200, 200, 200, 0]);
    for y in (0..48).rev() {
        bmp.extend((0..64).map(|x| u8::from(in_square(x, y))));
    }
    assert_eq!(rows(&picture(61, 48, 7), &bmp, &[1]).target("x").bounding_box(), SQUARE);
}

#[test]
fn colour_masks_are_turned_grey_as_pillow_does() {
    // L of pure blue is 29, of pure red 76, of pure green 150.
    let mask = RgbImage::from_fn(64, 48, |x, y| {
        image::Rgb(if in_square(x, y) {
            [0, 255, 0]
        } else if x > 40 {
            [255, 0, 0]
        } else {
            [0, 0, 255]
        })
    });
    let mask = encoded(&DynamicImage::ImageRgb8(mask), ImageFormat::Png);
    assert_eq!(rows(&picture(64, 48, 7), &mask, &[]).target("x").bounding_box(), SQUARE);
    assert_eq!(rows(&picture(64, 48, 7), &mask, &[150]).target("x").bounding_box(), SQUARE);
}

#[test]
fn jpeg_masks_are_noisy_and_usable() {
    let mask = RgbImage::from_fn(64, 48, |x, y| image::Rgb([255 * u8::from(in_square(x, y)); 3]));
    let mut jpeg = Vec::new();
    mask.write_with_encoder(JpegEncoder::new_with_quality(&mut jpeg, 90)).unwrap();
    let output = rows(&picture(64, 48, 7), &jpeg, &[]);
    assert!(output.target("x").noisy_mask);
    assert_eq!(output.target("x").bounding_box(), SQUARE);
    assert_eq!((output.audit.masks.noisy, output.audit.masks.box_moves_above_zero), (1, 1));
}

#[test]
fn wide_masks_hold_either_eight_bit_values_or_the_full_range() {
    let wide = |value: u16| {
        let pixels: Vec<u8> = (0..48)
            .flat_map(|y| (0..64).map(move |x| if in_square(x, y) { value } else { 0 }))
            .flat_map(u16::to_ne_bytes)
            .collect();
        png(&pixels, 64, 48, ExtendedColorType::L16)
    };
    let image = picture(64, 48, 7);
    assert_eq!(rows(&image, &wide(255), &[]).target("x").bounding_box(), SQUARE);
    assert_eq!(rows(&image, &wide(65535), &[]).target("x").bounding_box(), SQUARE);
    assert_eq!(rows(&image, &wide(7), &[7]).target("x").bounding_box(), SQUARE);
    let output = rows(&image, &wide(7 * 257), &[7]);
    assert!(output.only_reject().1.contains("the mask is empty"), "a label is never scaled");
}
