//! Comparisons of artifacts that differ in known ways.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BinaryArray, Decimal64Array, DictionaryArray, Int64Array, RecordBatch, UInt8Array,
};
use parquet::arrow::ArrowWriter;
use resect_checkpoint::{NamedTensor, write_safetensors};
use resect_checkpoint_records::Epoch;
use resect_diff::{DiffError, NotFinite, Numbers, Place, Report, compare};
use resect_embeddings as embeddings;
use resect_geometry::{Mask, Size, View};
use resect_images::{self as images, Image, pixel_hash};
use resect_numeric::Dtype;
use resect_tables::table;
use resect_target_records::{Split, Target};
use resect_targets as targets;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

fn create(dir: &TempDir, name: &str) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::create_dir_all(&path).unwrap();
    path
}

fn numbers<'a>(report: &'a Report, name: &str) -> &'a Numbers {
    report.numbers.iter().find(|numbers| numbers.name == name).unwrap()
}

const SHAPE: [usize; 3] = [2, 3, 4];

/// An artifact with these rows, each of numbers that its name decides, but for one that is given.
fn embeddings(dir: &Path, dtype: Dtype, rows: &[(&str, View)], other: Option<(usize, usize, f32)>) {
    let length = SHAPE.iter().product::<usize>();
    let writer = embeddings::Writer::new(dir, SHAPE, dtype);
    let number = |name: &str, view: View, i: usize| {
        (name.len() * 10 + name.as_bytes()[0] as usize + i) as f32
            + if view == View::Identity { 0.0 } else { 0.5 }
    };
    let mut values: Vec<f32> =
        rows.iter().flat_map(|(name, view)| (0..length).map(move |i| number(name, *view, i))).collect();
    if let Some((row, index, value)) = other {
        values[row * length + index] = value;
    }
    for (shard, values) in values.chunks(embeddings::SHARD_ROWS * length).enumerate() {
        writer.write_shard(shard, values).unwrap();
    }
    writer.finish(rows).unwrap();
}

#[test]
fn embeddings_are_matched_by_pixel_hash_and_view_across_shards() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b] = ["a", "b"].map(|name| create(&dir, name));
    let names: Vec<String> = (0..20).map(|i| format!("{}{i}", (b'a' + i) as char)).collect();
    let mut rows: Vec<(&str, View)> = names.iter().map(|name| (name.as_str(), View::Identity)).collect();
    rows.push(("a0", View::Rotate90));
    let mut turned: Vec<_> =
        rows.iter().rev().copied().filter(|row| *row != ("c2", View::Identity)).collect();
    turned.push(("new", View::Identity));
    embeddings(&a, Dtype::F32, &rows, None);
    // The last but one of the other is the first of this one.
    let first = turned.iter().position(|row| *row == ("a0", View::Identity)).unwrap();
    embeddings(&b, Dtype::F32, &turned, Some((first, 13, 0.0)));

    let report = compare(&a, &b).unwrap();
    assert!(!report.equal && report.notes.is_empty(), "{:?}", report.notes);
    let found = numbers(&report, "embedding");
    assert_eq!((found.elements, found.differing), (20 * 24, 1));
    let value = f64::from(b'a') + 20.0 + 13.0;
    let place = Place { row: Some("a0 identity".into()), index: vec![1, 0, 1], a: value, b: 0.0 };
    assert_eq!((found.max_abs, found.at.clone()), (Some(value), Some(place)));
    let rows = report.rows.iter().find(|rows| rows.file == "embeddings-*.arrow").unwrap();
    assert_eq!((rows.both, rows.only_a, rows.only_b, rows.reordered), (20, 1, 1, true));
    assert_eq!(
        (&rows.first_only_a[0], &rows.first_only_b[0]),
        (&"c2 identity".into(), &"new identity".into())
    );
    let said = report.to_string();
    assert!(
        said.contains("embedding  1 of 480, max 1.30e2")
            && said.contains("at a0 identity [1, 0, 1]: 130 → 0"),
        "{said}"
    );
}

#[test]
fn precision_and_what_is_no_number_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let [single, half, shaped] = ["single", "half", "shaped"].map(|name| create(&dir, name));
    let rows = [("x", View::Identity)];
    embeddings(&single, Dtype::F32, &rows, Some((0, 5, f32::NAN)));
    embeddings(&half, Dtype::F16, &rows, Some((0, 6, f32::INFINITY)));
    let report = compare(&single, &half).unwrap();
    let found = numbers(&report, "embedding");
    // Whole numbers below 2048 are the same in both formats.
    assert_eq!((found.elements, found.differing), (24, 0));
    assert_eq!(found.not_finite, NotFinite { a: 1, b: 1, differing: 2 });
    assert_eq!(report.metadata[0].field, "dtype");
    assert!(report.to_string().contains("not finite: 1 in a, 1 in b, 2 of them differ"));

    let writer = embeddings::Writer::new(&shaped, [1, 2, 2], Dtype::F32);
    writer.write_shard(0, &[0.0; 4]).unwrap();
    writer.finish(&rows).unwrap();
    let report = compare(&single, &shaped).unwrap();
    assert!(report.numbers.is_empty());
    assert!(report.notes[0].contains("of shape [2, 3, 4] and [1, 2, 2]"), "{:?}", report.notes);
    // A shard alone has no names.
    let [a, b] = [&single, &shaped].map(|dir| dir.join("embeddings-00000.arrow"));
    assert!(compare(&a, &b).unwrap().notes[0].contains("compare the folders"));
    // One that is cut off is no reason to stop.
    std::fs::write(&b, "ARROW1").unwrap();
    let report = compare(&single, &shaped).unwrap();
    assert!(!report.equal && report.notes[0].contains("damaged"), "{:?}", report.notes);
}

#[test]
fn weights_are_matched_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let tensor = |name: &str, shape: &[usize], first: f32| {
        let mut data: Vec<f32> = (0..shape.iter().product::<usize>()).map(|i| i as f32).collect();
        data[0] = first;
        NamedTensor { name: name.into(), shape: shape.to_vec(), data }
    };
    let [a, b] = ["a.safetensors", "b.safetensors"].map(|name| dir.path().join(name));
    let of_a = [tensor("same", &[2, 2], 0.0), tensor("moved", &[2, 2], 0.5), tensor("turned", &[2, 3], 0.0)];
    let of_b = [
        tensor("same", &[2, 2], 0.0),
        tensor("moved", &[2, 2], 0.25),
        tensor("turned", &[3, 2], 0.0),
        tensor("more", &[1], 0.0),
    ];
    write_safetensors(&a, of_a, None).unwrap();
    write_safetensors(&b, of_b, None).unwrap();
    let report = compare(&a, &b).unwrap();
    assert_eq!(report.numbers.len(), 2);
    assert!(!numbers(&report, "same").differ());
    let moved = numbers(&report, "moved");
    assert_eq!((moved.differing, moved.max_abs, moved.max_relative), (1, Some(0.25), Some(0.25 / 3.0)));
    assert_eq!(moved.at, Some(Place { row: None, index: vec![0, 0], a: 0.5, b: 0.25 }));
    let fields: Vec<_> =
        report.metadata.iter().map(|f| (f.field.as_str(), f.a.is_some(), f.b.is_some())).collect();
    assert_eq!(fields, [("turned", true, true), ("more", false, true)]);
    assert!(report.to_string().contains("turned: \"F32 [2, 3]\" → \"F32 [3, 2]\""), "{report}");
    assert!(compare(&a, &a).unwrap().equal);
}

#[derive(Serialize, Deserialize)]
struct Row {
    id: String,
    method: String,
    dice: Option<f64>,
    hidden: bool,
}

#[test]
fn tables_are_matched_by_the_columns_that_name_their_rows() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b] = ["a", "b"].map(|name| create(&dir, name));
    let row =
        |id: &str, method: &str, dice, hidden| Row { id: id.into(), method: method.into(), dice, hidden };
    let of_a =
        [row("x", "box", Some(0.5), true), row("x", "tuned", None, true), row("y", "box", Some(1.0), false)];
    let of_b = [
        row("y", "box", Some(0.75), false),
        row("x", "tuned", Some(0.5), true),
        row("x", "box", Some(0.5), false),
    ];
    let path = |dir: &Path| dir.join("samples.parquet");
    table::write(&path(&a), &of_a).unwrap();
    table::write(&path(&b), &of_b).unwrap();
    let report = compare(&a, &b).unwrap();
    let dice = numbers(&report, "dice");
    assert_eq!((dice.elements, dice.differing, dice.max_abs), (3, 1, Some(0.25)));
    assert_eq!(dice.not_finite, NotFinite { a: 1, b: 0, differing: 1 });
    assert_eq!(dice.at, Some(Place { row: Some("y box".into()), index: vec![], a: 1.0, b: 0.75 }));
    assert_eq!(numbers(&report, "hidden").at.as_ref().unwrap().row.as_deref(), Some("x box"));
    assert!(report.texts.is_empty(), "{:?}", report.texts);
    assert!(report.rows[0].reordered && report.rows[0].only_a == 0);

    // A table that nobody here writes: its rows have numbers alone. Columns of another kind, and missing ones, are stated.
    let other = |dir: &Path| dir.join("other.parquet");
    table::write(&other(&a), &of_a).unwrap();
    table::write(&other(&b), &of_b).unwrap();
    let report = compare(&other(&a), &other(&b)).unwrap();
    let id = report.texts.iter().find(|texts| texts.name == "id").unwrap();
    assert_eq!((id.rows, id.differing, id.first.as_str()), (3, 2, "row 0"));
    assert_eq!((id.a.as_deref(), id.b.as_deref()), (Some("x"), Some("y")));
    let epoch = |epoch| Epoch {
        epoch,
        train_loss: None,
        validation_loss: None,
        validation_dice: None,
        learning_rate: None,
    };
    table::write(&other(&b), &[epoch(0)]).unwrap();
    let report = compare(&other(&a), &other(&b)).unwrap();
    assert_eq!(report.metadata.len(), 4 + 5);
    assert_eq!((report.rows[0].both, report.rows[0].only_a), (1, 2));
}

#[test]
fn columns_of_any_type_are_read_or_named() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, columns: Vec<(&str, ArrayRef)>| {
        let path = dir.path().join(name);
        let batch =
            RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, of)| (name, of, true)));
        let batch = batch.unwrap();
        let mut writer = ArrowWriter::try_new(File::create(&path).unwrap(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        path
    };
    let table = |name: &str, number: i64, key: Option<&str>, empty: bool| {
        let none: DictionaryArray<Int32Type> = vec![None::<&str>, None].into_iter().collect();
        let keys: DictionaryArray<Int32Type> = vec![key, Some("b")].into_iter().collect();
        write(
            name,
            vec![
                ("whole", Arc::new(Int64Array::from(vec![number, 7])) as ArrayRef),
                ("small", Arc::new(UInt8Array::from(vec![Some(3), None]))),
                ("text", Arc::new(if empty { none } else { keys })),
                ("money", Arc::new(Decimal64Array::from(vec![number, 2]))),
                ("bytes", Arc::new(BinaryArray::from_vec(vec![b"x", b"y"]))),
            ],
        )
    };
    let a = table("a.parquet", 1, Some("a"), false);
    let report = compare(&a, &table("b.parquet", 5, None, false)).unwrap();
    assert_eq!(numbers(&report, "whole").max_abs, Some(4.0));
    assert_eq!(numbers(&report, "small").not_finite, NotFinite { a: 1, b: 1, differing: 0 });
    assert_eq!((report.texts[0].a.as_deref(), report.texts[0].b.as_deref()), (Some("a"), None));
    let notes = report.notes.join("\n");
    assert!(
        notes.contains("column money of type Decimal64") && notes.contains("column bytes of type Binary"),
        "{notes}"
    );
    let report = compare(&a, &table("c.parquet", 1, None, true)).unwrap();
    assert_eq!((report.texts[0].differing, report.texts[0].b.as_deref()), (2, None));
    std::fs::write(dir.path().join("d.parquet"), "PAR1").unwrap();
    assert_eq!(compare(&a, &dir.path().join("d.parquet")).unwrap().notes.len(), 1);
}

#[test]
fn images_and_masks_are_matched_by_id() {
    let dir = tempfile::tempdir().unwrap();
    let size = Size::new(3, 4);
    let image = |id: &str, light: u8, size: Size| {
        let mut pixels = vec![7; 3 * size.pixels()];
        pixels[5] = light;
        let pixel_hash = pixel_hash(size, &pixels);
        Image { id: id.into(), pixel_hash, original: size, resized: size, pixels }
    };
    let target = |id: &str| Target {
        id: id.into(),
        sample: id.into(),
        pixel_hash: String::new(),
        split: Split::Test,
        given_split: String::new(),
        group: id.into(),
        height: size.height,
        width: size.width,
        resized_height: size.height,
        resized_width: size.width,
        x0: 0,
        y0: 0,
        x1: 1,
        y1: 1,
        area_fraction: 0.5,
        components: 1,
        specks_removed: 0,
        noisy_mask: false,
        touches_border: false,
        near_duplicate_of: String::new(),
    };
    let images = |name: &str, images: [Image; 3]| {
        let mut writer = images::Writer::new(&create(&dir, name), 4);
        images.into_iter().for_each(|image| writer.push(image).unwrap());
        writer.finish().unwrap();
        dir.path().join(name)
    };
    let turned = Size::new(4, 3);
    let a = images("a", [image("x", 7, size), image("y", 7, size), image("z", 7, size)]);
    let b = images("b", [image("y", 9, size), image("x", 7, size), image("z", 7, turned)]);
    let report = compare(&a, &b).unwrap();
    let pixels = numbers(&report, "pixels");
    assert_eq!((pixels.elements, pixels.differing, pixels.max_abs), (2 * 36, 1, Some(2.0)));
    assert_eq!(pixels.at, Some(Place { row: Some("y".into()), index: vec![0, 1, 1], a: 7.0, b: 9.0 }));
    assert!(report.notes.iter().any(|note| note.contains("z is ")), "{:?}", report.notes);

    let targets = |name: &str, ids: [&str; 2], other: &str| {
        let dir = create(&dir, name);
        let mut writer = targets::Writer::create(&dir, 2).unwrap();
        for id in ids {
            let mask = Mask::from_fn(size, |x, y| x == 0 && y == 0 || (id == other && x == 3 && y == 2));
            writer.push(target(id), &mask).unwrap();
        }
        writer.finish(&(), &[]).unwrap();
        dir
    };
    let report = compare(&targets("t", ["x", "y"], ""), &targets("u", ["y", "x"], "y")).unwrap();
    let masks = numbers(&report, "original");
    assert_eq!((masks.elements, masks.differing), (24, 1));
    assert_eq!(masks.at, Some(Place { row: Some("y".into()), index: vec![2, 3], a: 0.0, b: 1.0 }));
    assert!(!numbers(&report, "x0").differ() && report.rows.iter().all(|rows| rows.reordered));
    assert!(matches!(compare(&a, &dir.path().join("t")), Err(DiffError::Kinds { .. })));
    assert!(matches!(compare(&a, &dir.path().join("none")), Err(DiffError::Missing(_))));
}
