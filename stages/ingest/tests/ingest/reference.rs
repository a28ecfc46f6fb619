//! Against Pillow and PyTorch: fixtures made by `tests/reference/ingest_reference.py`.

use crate::support::*;
use resect_geometry::{Mask, Size, upscale_logits};
use std::fs;
use std::path::PathBuf;

fn fixture(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/ingest").join(name);
    fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn images_are_resized_as_pillow_resizes_them() {
    for number in 0..11 {
        let source = fixture(&format!("resize-{number:02}-source.png"));
        let expected =
            image::load_from_memory(&fixture(&format!("resize-{number:02}-pillow.png"))).unwrap().to_rgb8();
        let size = image::load_from_memory(&source).unwrap().to_rgb8().dimensions();
        let folder = Folder::new();
        for id in ["a", "b"] {
            folder.file(&format!("images/{id}.png"), &source);
            folder.file(&format!("masks/{id}.png"), &grey(size.0, size.1, |_, _| 255));
        }
        // Two that look the same are on both sides only of a split that is given.
        folder.file("splits.csv", b"id,split\na,train\nb,test\n");
        let mut params = params();
        params.split.by = resect_ingest_params::SplitBy::Given;
        params.image_size = expected.width().max(expected.height());
        let output = folder.run(&params).unwrap();
        let image = output.images.get(0);
        assert_eq!(image.resized, Size::new(expected.height(), expected.width()), "case {number}");
        let n = image.resized.pixels();
        let worst = expected
            .pixels()
            .enumerate()
            .flat_map(|(i, p)| [0, 1, 2].map(|c| p.0[c].abs_diff(image.pixels[c * n + i])))
            .max();
        assert_eq!(worst, Some(0), "case {number}: {worst:?} of 255 off");
    }
}

#[derive(serde::Deserialize)]
struct Nearest {
    side: u32,
    cases: Vec<(u32, u32, u32, u32)>,
}

/// The same function in the reference script.
fn mask_bit(x: u32, y: u32, seed: u32) -> bool {
    let mixed = x.wrapping_mul(73_856_093) ^ y.wrapping_mul(19_349_663) ^ seed.wrapping_mul(83_492_791);
    let mixed = mixed ^ mixed >> 13;
    mixed.wrapping_mul(2_654_435_761) >> 17 & 1 == 1
}

#[test]
fn low_res_masks_are_pillows_on_hundreds_of_sizes() {
    let reference: Nearest = serde_json::from_slice(&fixture("nearest.json")).unwrap();
    assert!(reference.cases.len() > 400);
    for (height, width, seed, crc) in reference.cases {
        let mask = Mask::from_fn(Size::new(height, width), |x, y| mask_bit(x, y, seed));
        let low = mask.to_low_res(reference.side);
        let packed: Vec<u8> = low
            .pixels()
            .chunks(8)
            .map(|bits| bits.iter().rev().fold(0, |byte, &bit| byte << 1 | u8::from(bit)))
            .collect();
        assert_eq!(crc32fast::hash(&packed), crc, "{width}x{height}");
    }
}

#[derive(serde::Deserialize)]
struct Upscale {
    low_res: u32,
    input: u32,
    resized: [u32; 2],
    original: [u32; 2],
    stride: usize,
    values: usize,
}

#[test]
fn logits_are_upscaled_as_pytorch_does() {
    let cases: Vec<Upscale> = serde_json::from_slice(&fixture("upscale.json")).unwrap();
    let bytes = fixture("upscale.f32");
    let mut expected = bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
    for case in cases {
        let logits: Vec<f32> = (0..u64::from(case.low_res).pow(2))
            .map(|i| ((i * 7919 % 1001) as f64 / 100.0 - 5.0) as f32)
            .collect();
        let size = |[height, width]: [u32; 2]| Size::new(height, width);
        let found =
            upscale_logits(&logits, case.low_res, case.input, size(case.resized), size(case.original));
        let found: Vec<f32> = found.into_iter().step_by(case.stride).collect();
        assert_eq!(found.len(), case.values);
        for (i, (a, b)) in found.iter().zip(expected.by_ref()).enumerate() {
            assert!((a - b).abs() < 1e-5, "{:?}, value {i}: {a} and {b}", case.original);
        }
    }
    assert!(expected.next().is_none());
}
