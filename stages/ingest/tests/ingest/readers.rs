//! Where samples come from.

use crate::support::*;
use arrow_array::{
    ArrayRef, BinaryArray, Int64Array, LargeBinaryArray, RecordBatch, StringArray, StructArray,
};
use arrow_schema::{DataType, Field, Fields};
use parquet::arrow::ArrowWriter;
use resect_ingest_params::{IngestParams, Layout, SplitBy};
use resect_target_records::Split;
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

/// Writes a Parquet file with small row groups.
fn write(dir: &Path, name: &str, columns: Vec<(&str, ArrayRef)>) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let properties =
        parquet::file::properties::WriterProperties::builder().set_max_row_group_row_count(Some(7)).build();
    let mut writer =
        ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// The `struct<bytes, path>` of Hugging Face.
fn structs(bytes: Vec<Option<Vec<u8>>>) -> ArrayRef {
    let paths = StringArray::from_iter_values((0..bytes.len()).map(|i| format!("{i}.png")));
    let fields = Fields::from(vec![
        Field::new("bytes", DataType::Binary, true),
        Field::new("path", DataType::Utf8, true),
    ]);
    let bytes = BinaryArray::from_iter(bytes);
    Arc::new(StructArray::new(fields, vec![Arc::new(bytes), Arc::new(paths)], None))
}

fn pictures(range: std::ops::Range<u32>) -> Vec<Option<Vec<u8>>> {
    range.map(|i| Some(picture(40, 30, i))).collect()
}

fn masks(count: u32) -> Vec<Option<Vec<u8>>> {
    (0..count).map(|_| Some(square_mask(40, 30))).collect()
}

fn names(range: std::ops::Range<u32>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(range.map(|i| format!("row{i}"))))
}

fn parquet(id_column: &str, group_column: &str) -> IngestParams {
    let mut params = params();
    params.split.by = SplitBy::Given;
    params.layout = Layout::Parquet {
        image_column: "image".into(),
        mask_column: "label".into(),
        id_column: id_column.into(),
        group_column: group_column.into(),
    };
    params
}

#[test]
fn structs_plain_binary_and_large_binary_are_read_alike() {
    type Pictures = Vec<Option<Vec<u8>>>;
    let columns: [fn(Pictures) -> ArrayRef; 3] = [
        structs,
        |bytes| Arc::new(BinaryArray::from_iter(bytes)),
        |bytes| Arc::new(LargeBinaryArray::from_iter(bytes)),
    ];
    let hashes: Vec<_> = columns
        .into_iter()
        .map(|column| {
            let dir = tempfile::tempdir().unwrap();
            for (name, range) in [("data/train-00000-of-00001", 0..20), ("data/test-00000-of-00001", 20..25)]
            {
                write(
                    dir.path(),
                    &format!("{name}.parquet"),
                    vec![
                        ("name", names(range.clone())),
                        ("image", column(pictures(range.clone()))),
                        ("label", column(masks(range.end - range.start))),
                    ],
                );
            }
            let output = run(dir.path(), &parquet("name", "")).unwrap();
            // Files by name: test before train.
            let expected: Vec<String> = (20..25).chain(0..20).map(|i| format!("row{i}")).collect();
            assert_eq!(output.ids(), expected);
            assert_eq!(
                (output.targets.of(Split::Train).len(), output.targets.of(Split::Test).len()),
                (20, 5)
            );
            // The pictures are those of the row.
            let as_png = Folder::new();
            as_png.sample("x", 0);
            as_png.file("images/x.png", &picture(40, 30, 13));
            as_png.file("masks/x.png", &square_mask(40, 30));
            as_png.sample("y", 1);
            let alone = as_png.run(&params()).unwrap();
            assert_eq!(output.target("row13").pixel_hash, alone.target("x").pixel_hash);
            output.hashes()
        })
        .collect();
    assert!(hashes.iter().all(|other| *other == hashes[0]));
}

#[test]
fn rows_without_a_name_column_are_named_by_file_and_number() {
    let dir = tempfile::tempdir().unwrap();
    let columns = |range: std::ops::Range<u32>| {
        vec![("image", structs(pictures(range.clone()))), ("label", structs(masks(range.end - range.start)))]
    };
    write(dir.path(), "train-0.parquet", columns(0..3));
    write(dir.path(), "test-0.parquet", columns(3..5));
    let output = run(dir.path(), &parquet("", "")).unwrap();
    assert_eq!(output.ids(), ["test-0-0", "test-0-1", "train-0-0", "train-0-1", "train-0-2"]);

    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "train/0000.parquet", columns(0..2));
    write(dir.path(), "test/0000.parquet", columns(3..4));
    let output = run(dir.path(), &parquet("", "")).unwrap();
    assert_eq!(output.ids(), ["test-0000-0", "train-0000-0", "train-0000-1"]);
}

#[test]
fn names_and_groups_may_be_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let numbers =
        |n: i64, by: i64| -> ArrayRef { Arc::new(Int64Array::from_iter_values((0..n).map(|i| i / by))) };
    write(
        dir.path(),
        "train-0.parquet",
        vec![
            ("id", numbers(8, 1)),
            ("patient", numbers(8, 4)),
            ("image", structs(pictures(0..8))),
            ("label", structs(masks(8))),
        ],
    );
    let mut params = parquet("id", "patient");
    params.split.by = SplitBy::Random;
    params.split.test_share = 0.5;
    let output = run(dir.path(), &params).unwrap();
    assert_eq!(output.target("7").group, "1");
    assert_eq!(output.targets.of(Split::Test).len(), 4);
}

#[test]
fn rows_that_cannot_be_used_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut images = pictures(0..8);
    let mut labels = masks(8);
    images[1] = None;
    labels[2] = None;
    let ids = StringArray::from(vec![
        Some("a"),
        Some("b"),
        Some("c"),
        Some("a"),
        Some("x/y"),
        None,
        Some("n\0"),
        Some("h"),
    ]);
    let groups = StringArray::from(vec![
        Some("p"),
        Some("q"),
        Some("r"),
        Some("s"),
        Some("t"),
        Some("u"),
        Some("v"),
        None,
    ]);
    write(
        dir.path(),
        "train-0.parquet",
        vec![
            ("id", Arc::new(ids)),
            ("patient", Arc::new(groups)),
            ("image", structs(images)),
            ("label", structs(labels)),
        ],
    );
    write(
        dir.path(),
        "test-0.parquet",
        vec![
            ("id", names(0..2)),
            ("patient", names(0..2)),
            ("image", structs(pictures(8..10))),
            ("label", structs(masks(2))),
        ],
    );
    let output = run(dir.path(), &parquet("id", "patient")).unwrap();
    let reasons: Vec<(&str, &str)> =
        output.rejected.iter().map(|r| (r.place.as_str(), r.reason.as_str())).collect();
    assert_eq!(
        reasons,
        [
            ("train-0.parquet row 1", "its image is a path without bytes: embed the files in the dataset"),
            ("train-0.parquet row 2", "its mask is a path without bytes: embed the files in the dataset"),
            ("train-0.parquet row 3", "an earlier sample has the same name"),
            (
                "train-0.parquet row 4",
                "its name contains \"/\", \"\\\" or \"..\" and cannot become a file name"
            ),
            ("train-0.parquet row 5", "it has no name"),
            ("train-0.parquet row 6", "its name contains a control character"),
            ("train-0.parquet row 7", "its patient is empty"),
        ]
    );
    assert_eq!(output.ids(), ["row0", "row1", "a"]);
    assert_eq!(output.image_ids(), ["row0", "row1", "a", "c"]);
}

#[test]
fn a_column_that_is_not_there_is_named_with_those_that_are() {
    let dir = tempfile::tempdir().unwrap();
    write(
        dir.path(),
        "train-0.parquet",
        vec![("Image", structs(pictures(0..2))), ("label", structs(masks(2))), ("n", names(0..2))],
    );
    let text = error(run(dir.path(), &parquet("", "")));
    assert!(
        text.contains("no column \"image\" (layout.image_column); its columns are Image, label, n"),
        "{text}"
    );
    assert!(text.ends_with("did you mean \"Image\"?"), "{text}");
    let mut params = parquet("", "");
    let Layout::Parquet { image_column, mask_column, .. } = &mut params.layout else { unreachable!() };
    *image_column = "Image".into();
    *mask_column = "n".into();
    let text = error(run(dir.path(), &params));
    assert!(text.contains("holds Utf8 in column \"n\" (layout.mask_column): expected binary"), "{text}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_parquet_file_whose_name_could_be_that_of_another_is_refused() {
    use std::os::unix::ffi::OsStringExt;
    let dir = tempfile::tempdir().unwrap();
    write(
        dir.path(),
        "train.parquet",
        vec![("image", structs(pictures(0..2))), ("label", structs(masks(2)))],
    );
    let name = std::ffi::OsString::from_vec(b"\xff.parquet".to_vec());
    fs::rename(dir.path().join("train.parquet"), dir.path().join(name)).unwrap();
    let text = error(run(dir.path(), &parquet("", "")));
    assert!(text.contains("its name is not valid UTF-8"), "{text}");
}

#[test]
fn a_folder_that_is_no_dataset_says_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let text = error(run(dir.path(), &params()));
    assert!(text.contains("has no folder images/: a folder dataset holds images/ and masks/"), "{text}");
    assert!(error(run(dir.path(), &parquet("", ""))).contains("holds no .parquet file"));
    assert!(error(run(&dir.path().join("absent"), &parquet("", ""))).contains("cannot read"));
    fs::write(dir.path().join("train-0.parquet"), b"PAR1 but not really PAR1").unwrap();
    assert!(error(run(dir.path(), &parquet("", ""))).contains("cannot be read as Parquet"));
    assert!(error(Folder::new().run(&params())).contains("holds no sample"));
}
