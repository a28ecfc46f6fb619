//! Files of artifacts with any byte changed and cut anywhere: read, or refused with an error. Runs on the smallest files there are.

use resect_embeddings::{self as embeddings, Embeddings};
use resect_geometry::{Mask, Size, View};
use resect_images::{self as images, Image, Images, pixel_hash};
use resect_numeric::Dtype;
use resect_target_records::{Split, Target};
use resect_targets::{self as targets, Targets};
use std::fs;
use std::path::Path;

type Read = fn(&Path) -> Result<usize, String>;

fn write_images(dir: &Path) {
    let mut writer = images::Writer::new(dir, 4);
    for id in ["a", "b"] {
        let (resized, pixels) = (Size::new(2, 4), vec![7; 24]);
        let pixel_hash = pixel_hash(resized, &pixels);
        let image = Image { id: id.into(), pixel_hash, original: Size::new(20, 40), resized, pixels };
        writer.push(image).unwrap();
    }
    writer.finish().unwrap();
}

fn read_images(dir: &Path) -> Result<usize, String> {
    let images = Images::open(dir).map_err(|error| error.to_string())?;
    Ok(images.iter().map(|image| image.pixels.len() + image.id.len() + image.pixel_hash.len()).sum())
}

fn write_targets(dir: &Path) {
    let mut writer = targets::Writer::create(dir, 4).unwrap();
    let target = Target {
        id: "a".into(),
        sample: "a".into(),
        pixel_hash: "0".into(),
        split: Split::Train,
        given_split: "train".into(),
        group: "a".into(),
        height: 5,
        width: 7,
        resized_height: 3,
        resized_width: 4,
        x0: 1,
        y0: 1,
        x1: 3,
        y1: 3,
        area_fraction: 9.0 / 35.0,
        components: 1,
        specks_removed: 0,
        noisy_mask: false,
        touches_border: false,
        near_duplicate_of: String::new(),
    };
    writer.push(target, &Mask::from_fn(Size::new(5, 7), |x, y| x == y)).unwrap();
    writer.finish(&(), &[]).unwrap();
}

fn read_targets(dir: &Path) -> Result<usize, String> {
    let targets = Targets::open(dir).map_err(|error| error.to_string())?;
    Ok((0..targets.rows().len()).map(|i| targets.low_res(i).len() + targets.mask(i).area()).sum())
}

fn write_embeddings(dir: &Path) {
    let writer = embeddings::Writer::new(dir, [2, 2, 1], Dtype::F16);
    writer.write_shard(0, &[0.5; 8]).unwrap();
    writer.finish(&[("0a", View::Identity), ("0b", View::Identity)]).unwrap();
}

fn read_embeddings(dir: &Path) -> Result<usize, String> {
    let embeddings = Embeddings::open(dir).map_err(|error| error.to_string())?;
    let mut values = Vec::new();
    for (hash, view) in embeddings.rows() {
        assert!(embeddings.append_to(hash, view, &mut values));
    }
    Ok(values.len())
}

/// Changes each byte of a file, and cuts it anywhere; `read` must come back each time.
fn every_change(write: fn(&Path), read: Read, file: &str) {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write(dir);
    let path = dir.join(file);
    let whole = fs::read(&path).unwrap();
    assert!(read(dir).is_ok_and(|read| read > 0));
    // A new file each time: a map of the one before may still be open.
    let put = |bytes: &[u8]| {
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
    };
    // What a reader's panic says is of no interest: it becomes an error.
    std::panic::set_hook(Box::new(|_| {}));
    let mut refused = 0;
    for at in 0..whole.len() {
        for value in [0x00, 0x7f] {
            let mut changed = whole.clone();
            changed[at] = value;
            put(&changed);
            refused += usize::from(read(dir).is_err());
        }
        if at % 8 == 0 {
            put(&whole[..at]);
            assert!(read(dir).is_err(), "{file} cut at {at}");
        }
    }
    let _ = std::panic::take_hook();
    assert!(refused > 0);
}

#[test]
fn images_of_any_bytes() {
    every_change(write_images, read_images, "images-00000.arrow");
}

#[test]
fn masks_of_any_bytes() {
    every_change(write_targets, read_targets, "masks.arrow");
}

#[test]
fn embeddings_of_any_bytes() {
    every_change(write_embeddings, read_embeddings, "embeddings-00000.arrow");
}

#[test]
fn tables_of_any_bytes() {
    every_change(write_embeddings, read_embeddings, "index.parquet");
}

#[test]
fn headers_that_promise_more_than_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |file: &str, from: &str, to: &str, read: Read| {
        let path = dir.path().join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(&path, text.replace(from, to)).unwrap();
        let error = read(dir.path()).unwrap_err();
        assert!(error.contains("damaged") || error.contains("cannot read"), "{error}");
        fs::write(&path, text).unwrap();
    };
    write_images(dir.path());
    write_targets(dir.path());
    write_embeddings(dir.path());
    for rows in ["3", "0", "100", "18446744073709551615", "-1"] {
        let to = format!("\"rows\": {rows}");
        if rows != "0" {
            refused("images.json", "\"rows\": 2", &to, read_images);
        }
        refused("targets.json", "\"rows\": 1", &to, read_targets);
    }
    for side in ["0", "5", "65536", "4294967295"] {
        refused("targets.json", "\"low_res_size\": 4", &format!("\"low_res_size\": {side}"), read_targets);
    }
    let shape = "[\n    2,\n    2,\n    1\n  ]";
    for other in ["[2, 2, 2]", "[0, 2, 1]", "[4294967296, 4294967296, 4294967296]", "[2, 2]"] {
        refused("embeddings.json", shape, other, read_embeddings);
    }
}
