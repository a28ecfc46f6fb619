//! Against `SamProcessor` of `transformers`, on sixty sizes: fixtures made by `tests/reference/ingest_reference.py`.

use resect_geometry::{Mask, PixelBox, Size, box_to_model, point_to_model, upscale_logits};
use std::path::PathBuf;

/// The published models' input side, and that of their logits.
const INPUT: u32 = 1024;
const LOW_RES: u32 = 256;

#[derive(serde::Deserialize)]
struct Case {
    original: [u32; 2],
    #[serde(rename = "box")]
    corners: [f64; 4],
    model_box: [f32; 4],
    model_point: [f32; 2],
    mask_crc: Option<u32>,
}

impl Case {
    fn original(&self) -> Size {
        Size::new(self.original[0], self.original[1])
    }
}

fn cases() -> Vec<Case> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/geometry/processor.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn boxes_and_points_are_carried_into_the_model_to_the_bit() {
    let (mut whole, mut all) = (0, 0);
    for case in cases() {
        let size = case.original();
        let resized = size.with_longest_side(INPUT);
        assert_eq!(box_to_model(case.corners, size, resized), case.model_box, "{size}");
        let [x, y, ..] = case.corners;
        assert_eq!(point_to_model([x, y], size, resized), case.model_point, "{size}");
        if case.corners.iter().all(|corner| corner.fract() == 0.0) {
            let [x0, y0, x1, y1] = case.corners.map(|corner| corner as u32);
            assert_eq!(PixelBox { x0, y0, x1, y1 }.to_model(size, resized), case.model_box, "{size}");
            whole += 1;
        }
        all += 1;
    }
    assert_eq!((whole, all), (30, 60));
}

/// The same function in the reference script.
fn waves(seed: i64) -> Vec<f32> {
    let wave = |at: i64, period: i64| (at.rem_euclid(period) - period / 2).abs();
    let side = i64::from(LOW_RES);
    let cells = (0..side).flat_map(|y| (0..side).map(move |x| (y, x)));
    cells
        .map(|(y, x)| {
            let total = wave(x * 3 + y + seed * 37, 94) - wave(y * 5 - x + 1000 + seed * 11, 122);
            ((total + wave(x + y, 14)) as f32 + 0.37) / 8.0
        })
        .collect()
}

#[test]
fn masks_are_carried_back_to_the_pixel() {
    let mut seen = 0;
    for (seed, case) in cases().iter().enumerate() {
        let Some(crc) = case.mask_crc else { continue };
        let size = case.original();
        let resized = size.with_longest_side(INPUT);
        let logits = upscale_logits(&waves(seed as i64), LOW_RES, INPUT, resized, size);
        let mask = Mask::new(size, logits.into_iter().map(|logit| logit > 0.0).collect());
        let bits = mask.pixels().chunks(8);
        let packed: Vec<u8> =
            bits.map(|bits| bits.iter().rev().fold(0, |byte, &bit| byte << 1 | u8::from(bit))).collect();
        assert!(mask.area() > 0 && mask.area() < size.pixels(), "{size}: a mask of both kinds");
        assert_eq!(crc32fast::hash(&packed), crc, "{size}");
        seen += 1;
    }
    assert_eq!(seen, 30);
}
