//! What a target is.

use crate::support::*;
use resect_geometry::{Mask, PixelBox, Size};
use resect_ingest_params::Targets;

/// Two blobs and a speck at the corner, on a 60 x 40 image.
fn two_blobs(x: u32, y: u32) -> bool {
    (x, y) == (0, 0)
        || (20..30).contains(&x) && (5..15).contains(&y)
        || (2..14).contains(&x) && (8..40).contains(&y)
}

fn dataset() -> Folder {
    let folder = Folder::with_samples(3);
    folder.file("images/blobs.png", &picture(60, 40, 50));
    folder.file(
        "masks/blobs.png",
        &grey(60, 40, |x, y| if two_blobs(x, y) { 250 } else { 3 * u8::from(x > 50) }),
    );
    folder
}

#[test]
fn the_whole_mask_is_one_target_without_its_specks() {
    let mut params = params();
    params.mask.speck_pixels = 20;
    let output = dataset().run(&params).unwrap();
    let target = output.target("blobs");
    assert_eq!(target.bounding_box(), PixelBox { x0: 2, y0: 5, x1: 29, y1: 39 });
    assert_eq!((target.components, target.specks_removed), (2, 1));
    assert!(target.noisy_mask && target.touches_border);
    let expected = Mask::from_fn(Size::new(40, 60), |x, y| two_blobs(x, y) && (x, y) != (0, 0));
    assert_eq!(output.mask("blobs"), expected);
    assert!((target.area_fraction - expected.area() as f64 / 2400.0).abs() < 1e-12);
    let low = expected.to_low_res(16);
    let index = output.ids().iter().position(|&id| id == "blobs").unwrap();
    assert!(output.targets.low_res(index).iter().zip(low.pixels()).all(|(&a, &b)| (a == 1) == b));
    let found = output.audit.masks;
    assert_eq!((found.with_specks, found.specks, found.with_corner_speck), (1, 1, 1));
    assert_eq!((found.with_several_components, found.touching_border, found.noisy), (1, 1, 1));
    assert_eq!(found.box_moves_above_zero, 1);
}

#[test]
fn a_speck_that_is_kept_stretches_the_box() {
    let output = dataset().run(&params()).unwrap();
    let target = output.target("blobs");
    assert_eq!((target.x0, target.y0, target.components, target.specks_removed), (0, 0, 3, 0));
}

#[test]
fn components_are_targets_of_their_own_in_the_same_split() {
    let mut params = params();
    params.mask.speck_pixels = 20;
    params.mask.targets = Targets::Components;
    let output = dataset().run(&params).unwrap();
    assert_eq!(output.ids(), ["blobs#1", "blobs#2", "s00#1", "s01#1", "s02#1"]);
    let (first, second) = (output.target("blobs#1"), output.target("blobs#2"));
    assert_eq!(first.bounding_box(), PixelBox { x0: 20, y0: 5, x1: 29, y1: 14 });
    assert_eq!(second.bounding_box(), PixelBox { x0: 2, y0: 8, x1: 13, y1: 39 });
    assert_eq!((first.sample.as_str(), first.components), ("blobs", 1));
    assert_eq!((first.split, &first.group), (second.split, &second.group));
    assert!(!first.touches_border && second.touches_border);
    assert_eq!(output.mask("blobs#1").area(), 100);
    assert_eq!(output.mask("blobs#2").area(), 12 * 32);
    assert_eq!(output.images.len(), 4);
}

#[test]
fn no_mask_or_split_setting_changes_the_images() {
    let folder = Folder::with_samples(10);
    folder.file("masks/s01.png", b"not a mask");
    let base = folder.run(&params()).unwrap();
    let mut other = params();
    other.mask.threshold = 255;
    other.mask.targets = Targets::Components;
    other.split.seed = 9;
    other.split.test_share = 0.5;
    other.low_res_size = 32;
    let changed = folder.run(&other).unwrap();
    assert_eq!(base.hashes_of("images"), changed.hashes_of("images"));
    assert_ne!(base.hashes_of("targets"), changed.hashes_of("targets"));
    assert_eq!((base.images.len(), base.targets.rows().len()), (10, 9));
}

#[test]
fn near_duplicates_are_found_and_those_across_splits_come_first() {
    let folder = Folder::with_samples(8);
    let mut copy = scene(43, 33, 3);
    copy.pixels_mut().for_each(|p| p.0 = p.0.map(|v| v.saturating_add(2)));
    folder.file("images/copy.png", &png(&copy, 43, 33, image::ExtendedColorType::Rgb8));
    folder.file("masks/copy.png", &square_mask(43, 33));
    folder.file(
        "splits.csv",
        b"id,split\ncopy,test\ns00,train\ns01,train\ns02,train\ns03,train\ns04,train\ns05,train\ns06,train\ns07,test\n",
    );
    let mut params = params();
    params.split.by = resect_ingest_params::SplitBy::Given;
    let output = folder.run(&params).unwrap();
    let audit = &output.audit;
    assert_eq!((audit.near_duplicates, audit.near_duplicates_across_test), (1, 1), "{audit:?}");
    assert_eq!(audit.near_duplicates_across_validation, 0);
    assert_eq!(audit.near_duplicate_pairs[0].ids, ["copy", "s03"]);
    assert_eq!(output.target("copy").near_duplicate_of, "s03");
    assert_eq!(output.target("s03").near_duplicate_of, "copy");
    assert_eq!(output.target("s00").near_duplicate_of, "");
}
