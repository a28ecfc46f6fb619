//! Each thing that is wrong with a sample costs that sample, and says so.

use crate::support::*;
use image::{ExtendedColorType, ImageEncoder};

/// Ten samples, of which `s03` is damaged by `damage`.
fn damaged(damage: impl FnOnce(&Folder)) -> Folder {
    let folder = Folder::with_samples(10);
    damage(&folder);
    folder
}

/// The reason for which `s03` is left out, and whether its image is kept.
fn reason(damage: impl FnOnce(&Folder)) -> (String, bool) {
    let output = damaged(damage).run(&params()).unwrap();
    let (id, reason) = output.only_reject();
    assert_eq!(id, "s03");
    assert!(output.rejected[0].place.contains("s03."), "{}", output.rejected[0].place);
    assert!(!output.ids().contains(&"s03"));
    assert_eq!(output.targets.rows().len(), 9);
    (reason.to_owned(), output.image_ids().contains(&"s03"))
}

#[track_caller]
fn expect(found: (String, bool), text: &str, image_is_kept: bool) {
    assert!(found.0.contains(text), "{:?} does not say {text:?}", found.0);
    assert_eq!(found.1, image_is_kept, "{}", found.0);
}

#[test]
fn a_missing_partner() {
    expect(reason(|f| f.remove("masks/s03.png")), "there is no mask masks/s03.*", true);
    expect(reason(|f| f.remove("images/s03.png")), "there is no image images/s03.*", false);
    let twice = reason(|f| f.file("masks/s03.jpg", b""));
    expect(twice, "several files of its name: s03.jpg, s03.png", true);
}

#[test]
fn an_image_that_is_none() {
    let image = |bytes: &'static [u8]| reason(|f| f.file("images/s03.png", bytes));
    expect(image(b""), "the image: it is not an image: the file is empty", false);
    expect(image(b"version https://git-lfs.github.com/spec/v1\n"), "git lfs", false);
    expect(image(b"<!doctype html><title>404</title>"), "HTML", false);
    expect(image(b"\x89PNG\r\n\x1a\nrubbish"), "cannot be decoded", false);
    expect(reason(|f| f.file("masks/s03.png", b"no mask at all")), "the mask: it is not an image", true);
}

#[test]
fn an_image_that_is_cut_off() {
    let png = picture(300, 300, 1);
    expect(reason(|f| f.file("images/s03.png", &png[..png.len() / 2])), "cannot be decoded", false);
    let mut jpeg = Vec::new();
    scene(300, 300, 1).write_with_encoder(image::codecs::jpeg::JpegEncoder::new(&mut jpeg)).unwrap();
    expect(reason(|f| f.file("images/s03.png", &jpeg[..jpeg.len() / 2])), "the JPEG data is cut off", false);
}

#[test]
fn an_image_too_large_to_decode_by_mistake() {
    let folder = damaged(|f| f.file("images/s03.png", &picture(100, 100, 3)));
    let mut params = params();
    params.ingest.max_pixels = 9_999;
    let output = folder.run(&params).unwrap();
    let (id, reason) = output.only_reject();
    assert_eq!(id, "s03");
    assert!(reason.contains("100x100 pixels, more than ingest.max_pixels = 9999"), "{reason}");

    // A header alone is enough to tell: four billion pixels are never asked for.
    let mut bomb = picture(1, 1, 0);
    bomb[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
    let crc = crc32fast::hash(&bomb[12..29]);
    bomb[29..33].copy_from_slice(&crc.to_be_bytes());
    let output = damaged(|f| f.file("images/s03.png", &bomb)).run(&crate::support::params()).unwrap();
    assert!(output.only_reject().1.contains("65536x65536"), "{:?}", output.rejected);
}

#[test]
fn a_mask_that_is_not_of_the_image() {
    let other = reason(|f| f.file("masks/s03.png", &square_mask(30, 40)));
    expect(other, "the mask has 30x40 pixels, the image 43x33", true);
}

#[test]
fn a_mask_without_foreground() {
    let mask = |value: u8| {
        reason(move |f| {
            f.file("masks/s03.png", &grey(43, 33, |x, y| if in_square(x, y) { value } else { 0 }))
        })
    };
    expect(mask(0), "the mask is empty", true);
    expect(
        mask(1),
        "largest value is 1, below mask.threshold = 128: it looks like 0/1, set mask.threshold = 1",
        true,
    );
    expect(mask(100), "set mask.threshold = 100", true);

    let folder = Folder::with_samples(6);
    let mut params = params();
    params.mask.labels = vec![7];
    let error = error(folder.run(&params));
    assert!(error.contains("no usable sample"), "{error}");
    params.ingest.max_rejected = 0.5;
    let error = crate::support::error(folder.run(&params));
    assert!(error.contains("6 of 6 samples are unusable"), "{error}");
    assert!(error.contains("none of mask.labels = [7] occurs in the mask, its values are 0, 255"), "{error}");
    assert!(error.contains("... and 1 more"), "{error}");
}

#[test]
fn a_name_that_cannot_be() {
    expect(
        {
            let long = "n".repeat(201);
            let folder = Folder::with_samples(6);
            folder.file(&format!("images/{long}.png"), &picture(40, 30, 9));
            folder.file(&format!("masks/{long}.png"), &square_mask(40, 30));
            folder.file("images/a..b.png", &picture(40, 30, 10));
            folder.file("masks/a..b.png", &square_mask(40, 30));
            let output = folder.run(&params()).unwrap();
            let reasons: Vec<&str> = output.rejected.iter().map(|r| r.reason.as_str()).collect();
            (reasons.join("; "), output.image_ids().len() > 6)
        },
        "cannot become a file name; its name has 201 bytes, more than 200",
        false,
    );
}

#[test]
fn too_many_of_them_stop_the_stage() {
    let folder = Folder::with_samples(10);
    for i in 0..3 {
        folder.remove(&format!("masks/s0{i}.png"));
    }
    let mut params = params();
    params.ingest.max_rejected = 0.3;
    assert_eq!(folder.run(&params).unwrap().rejected.len(), 3);
    params.ingest.max_rejected = 0.29;
    let error = error(folder.run(&params));
    assert!(error.contains("3 of 10 samples are unusable, ingest.max_rejected = 0.29 accepts 2"), "{error}");
    assert!(error.contains("images/s00.png (s00): there is no mask masks/s00.*"), "{error}");
}

#[test]
fn other_files_are_counted_not_read() {
    let folder = Folder::with_samples(4);
    folder.file("images/Thumbs.db", b"x");
    folder.file("masks/.hidden.png", b"x");
    folder.file("README.md", b"x");
    let output = folder.run(&params()).unwrap();
    assert_eq!((output.audit.ignored_files, output.rejected.len()), (2, 0));
}

#[test]
fn a_setting_that_cannot_be() {
    let folder = Folder::with_samples(2);
    let mut params = params();
    params.mask.threshold = 0;
    assert!(error(folder.run(&params)).starts_with("mask.threshold must be 1 to 255"));
    params.mask.threshold = 1;
    params.low_res_size = 0;
    assert_eq!(error(folder.run(&params)), "low_res_size must be 1 to 16384, is 0");
}

#[test]
fn floating_point_pixels() {
    let mut tiff = std::io::Cursor::new(Vec::new());
    image::codecs::tiff::TiffEncoder::new(&mut tiff)
        .write_image(&[0; 4 * 3 * 12], 4, 3, ExtendedColorType::Rgb32F)
        .unwrap();
    expect(reason(|f| f.file("images/s03.png", tiff.get_ref())), "floating-point", false);
}
