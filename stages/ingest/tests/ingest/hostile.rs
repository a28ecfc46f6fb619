//! Datasets that lie, explode or are only odd: a rejected row with its reason, or one error for the file.

use crate::support::*;
use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, StructArray,
};
use arrow_schema::{DataType, Field, Fields};
use image::ExtendedColorType;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use resect_ingest_params::{IngestParams, Layout, SplitBy};
use std::sync::Arc;

/// The bytes of a Parquet file, pages packed with zstd or as they are.
fn table(columns: Vec<(&str, ArrayRef)>, packed: bool) -> Vec<u8> {
    let columns = columns.into_iter().map(|(name, column)| (name, column, true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    let zstd = Compression::ZSTD(ZstdLevel::default());
    let properties = WriterProperties::builder()
        .set_compression(if packed { zstd } else { Compression::UNCOMPRESSED })
        .build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn binary(values: impl IntoIterator<Item = Option<Vec<u8>>>) -> ArrayRef {
    Arc::new(BinaryArray::from_iter(values))
}

fn images(count: u32) -> ArrayRef {
    binary((0..count).map(|i| Some(picture(40, 30, i))))
}

fn masks(count: u32) -> ArrayRef {
    binary((0..count).map(|_| Some(square_mask(40, 30))))
}

fn parquet(id_column: &str) -> IngestParams {
    let mut params = params();
    params.split.by = SplitBy::Random;
    params.split.test_share = 0.5;
    params.layout = Layout::Parquet {
        image_column: "image".into(),
        mask_column: "label".into(),
        id_column: id_column.into(),
        group_column: String::new(),
    };
    params
}

fn run_table(bytes: &[u8], params: &IngestParams) -> Result<Output, resect_ingest::IngestError> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("train-0.parquet"), bytes).unwrap();
    run(dir.path(), params)
}

fn reasons(output: &Output) -> Vec<&str> {
    output.rejected.iter().map(|rejected| rejected.reason.as_str()).collect()
}

#[test]
fn a_sample_of_too_many_bytes_is_left_out() {
    let folder = Folder::with_samples(12);
    let length = std::fs::metadata(folder.dir.path().join("images/s03.png")).unwrap().len();
    folder.file("images/s03.png", &[picture(43, 33, 3), vec![0; 10_000]].concat());
    folder.file("masks/s04.png", &[square_mask(44, 34), vec![0; 20_000]].concat());
    let mut params = params();
    params.ingest.max_bytes = 9_999;
    let output = folder.run(&params).unwrap();
    let (image, mask) = (length + 10_000, square_mask(44, 34).len() + 20_000);
    assert_eq!(
        reasons(&output),
        [
            format!("the image has {image} bytes, more than ingest.max_bytes = 9999"),
            format!("the mask has {mask} bytes, more than ingest.max_bytes = 9999"),
        ]
    );
    params.ingest.max_bytes = 0;
    assert_eq!(error(folder.run(&params)), "ingest.max_bytes must be at least 1");
}

#[test]
fn a_page_that_promises_too_much_is_never_unpacked() {
    // Four megabytes of zeros after a picture, a few hundred bytes in the file.
    let blown = |i: u32| Some([picture(40, 30, i), vec![0; 4 << 20]].concat());
    let bytes = table(vec![("image", binary((0..3).map(blown))), ("label", masks(3))], true);
    assert!(bytes.len() < 100_000, "{}", bytes.len());
    let mut params = parquet("");
    assert_eq!(run_table(&bytes, &params).unwrap().targets.rows().len(), 3);
    params.ingest.max_bytes = 1 << 20;
    let text = error(run_table(&bytes, &params));
    assert!(text.contains("train-0.parquet has a page of") && text.contains("in column \"image\""), "{text}");
    assert!(text.ends_with("more than ingest.max_bytes = 1048576"), "{text}");
}

#[test]
fn a_page_header_that_lies_is_an_error() {
    let bytes = table(vec![("image", images(2)), ("label", masks(2))], true);
    // The first page follows the magic: type, then its unpacked length, here as two gigabytes.
    let lying = [&bytes[..4], b"\x15\x04\x15\xfe\xff\xff\xff\x0f\x15\x02", &bytes[14..]].concat();
    let text = error(run_table(&lying, &parquet("")));
    assert!(
        text.contains("has a page of 2147483647 bytes") || text.contains("cannot be read as Parquet"),
        "{text}"
    );
}

/// The same footer for fewer bytes, for rows that are not there, and any byte of it changed: errors, and no row is lost in silence.
#[test]
fn a_footer_that_lies_is_an_error() {
    let bytes = table(vec![("name", names(2)), ("image", tiny(2)), ("label", tiny(2))], false);
    for end in [0, 1, 4, 8, bytes.len() / 2, bytes.len() - 9, bytes.len() - 1] {
        assert!(
            error(run_table(&bytes[..end], &parquet("name"))).contains("train-0.parquet"),
            "cut at {end}"
        );
    }
    let length = u32::from_le_bytes(bytes[bytes.len() - 8..][..4].try_into().unwrap()) as usize;
    let footer = bytes.len() - 8 - length;
    for at in footer..bytes.len() {
        for value in [0x00, 0x7f, 0xff] {
            let mut changed = bytes.clone();
            changed[at] = value;
            for id_column in ["", "name"] {
                let params = parquet(id_column);
                let dir = tempfile::tempdir().unwrap();
                std::fs::write(dir.path().join("train-0.parquet"), &changed).unwrap();
                let Ok((usable, reasons)) = resect_ingest::outside::samples(dir.path(), &params) else {
                    continue;
                };
                assert!(usable + reasons.len() >= 1, "byte {at} as {value}");
            }
        }
    }
}

#[test]
fn rows_that_only_the_footer_knows_are_an_error() {
    let bytes = table(vec![("name", names(2)), ("image", images(2)), ("label", masks(2))], false);
    // The number of rows is an i64 before the list of row groups.
    let at = bytes.windows(3).rposition(|three| three == b"\x16\x04\x19").unwrap() + 1;
    let stating = |rows: &[u8]| {
        let end = bytes.len() - 8;
        let length = u32::from_le_bytes(bytes[end..end + 4].try_into().unwrap()) as usize + rows.len() - 1;
        [&bytes[..at], rows, &bytes[at + 1..end], &(length as u32).to_le_bytes(), b"PAR1"].concat()
    };
    assert_eq!(run_table(&stating(&[4]), &parquet("")).unwrap().targets.rows().len(), 2);
    for id_column in ["", "name"] {
        let text = error(run_table(&stating(&[6]), &parquet(id_column)));
        assert!(text.contains("is damaged: it has 2 rows, its footer states more"), "{text}");
        let text = error(run_table(&stating(b"\x80\x80\x80\x80\x80\x80\x80\x80\x20"), &parquet(id_column)));
        assert!(text.contains("is damaged: its footer states 1152921504606846976 rows in"), "{text}");
    }
}

/// Pictures that are none: the footer is what counts.
fn tiny(count: usize) -> ArrayRef {
    binary((0..count).map(|_| Some(b"no picture".to_vec())))
}

fn names(count: usize) -> ArrayRef {
    Arc::new(StringArray::from_iter_values((0..count).map(|i| format!("row{i}"))))
}

#[test]
fn columns_of_other_types_are_named() {
    let nested: ArrayRef = {
        let mut list = ListBuilder::new(StringBuilder::new());
        for _ in 0..2 {
            list.values().append_value("x");
            list.append(true);
        }
        Arc::new(list.finish())
    };
    let of_struct = |field: &str, column: ArrayRef| -> ArrayRef {
        let fields = Fields::from(vec![Field::new(field, column.data_type().clone(), true)]);
        Arc::new(StructArray::new(fields, vec![column], None))
    };
    let wrong: [ArrayRef; 6] = [
        Arc::new(Int64Array::from(vec![1, 2])),
        Arc::new(Float64Array::from(vec![f64::NAN, 1.0])),
        Arc::new(BooleanArray::from(vec![true, false])),
        nested.clone(),
        of_struct("data", tiny(2)),
        of_struct("bytes", names(2)),
    ];
    for column in wrong {
        let text = error(run_table(&table(vec![("image", column), ("label", tiny(2))], false), &parquet("")));
        assert!(text.contains("in column \"image\" (layout.image_column): expected binary"), "{text}");
    }
    let within = of_struct("bytes", of_struct("bytes", tiny(2)));
    let text = error(run_table(&table(vec![("image", within), ("label", tiny(2))], false), &parquet("")));
    assert!(text.contains("expected binary"), "{text}");
    for ids in [nested, Arc::new(Float64Array::from(vec![1.5, 2.5])) as ArrayRef, tiny(2)] {
        let columns = vec![("name", ids), ("image", images(2)), ("label", masks(2))];
        let text = error(run_table(&table(columns, false), &parquet("name")));
        assert!(text.contains("in column \"name\", not text"), "{text}");
    }
    assert!(!DataType::Null.is_nested());
}

#[test]
fn rows_of_nothing_and_names_that_cannot_be_are_left_out() {
    let long = "n".repeat(300);
    let huge = "h".repeat(1 << 20);
    let ids = [
        "a",
        "b",
        "../../etc/passwd",
        "n\0",
        long.as_str(),
        huge.as_str(),
        "a",
        "\u{202e}x",
        "..",
        "C:\\x",
        "x/y",
        "",
        " ",
    ];
    let count = ids.len() as u32;
    let ids: ArrayRef = Arc::new(StringArray::from_iter_values(ids));
    let mut pictures: Vec<_> = (0..count).map(|i| Some(picture(40, 30, i))).collect();
    pictures[1] = Some(Vec::new());
    let columns = vec![("name", ids), ("image", binary(pictures)), ("label", masks(count))];
    let output = run_table(&table(columns, true), &parquet("name")).unwrap();
    let rejected: Vec<_> = output.rejected.iter().map(|rejected| rejected.place.as_str()).collect();
    let row = |number: u32| format!("train-0.parquet row {number}");
    assert_eq!(rejected, [1, 2, 3, 4, 5, 6, 8, 9, 10, 11].map(row), "{:?}", reasons(&output));
    assert!(reasons(&output).iter().all(|reason| reason.len() < 200), "{:?}", reasons(&output));

    let none = binary([None, None]);
    let columns = vec![("image", none.clone()), ("label", none)];
    assert!(error(run_table(&table(columns, true), &parquet(""))).contains("no usable sample"));
}

#[test]
fn masks_of_all_kinds_of_nothing_and_everything() {
    let folder = Folder::with_samples(12);
    folder.file("masks/s00.png", &grey(40, 30, |_, _| 255));
    folder.file("masks/s01.png", &grey(41, 31, |_, _| 0));
    folder.file("masks/s02.png", &grey(1, 1, |_, _| 255));
    folder.file("masks/s03.png", &grey(33, 43, |_, _| 255));
    let output = folder.run(&params()).unwrap();
    let whole = output.target("s00");
    assert_eq!((whole.area_fraction, whole.touches_border), (1.0, true));
    assert_eq!((whole.x0, whole.y0, whole.x1, whole.y1), (0, 0, 39, 29));
    let [empty, small, turned] = reasons(&output)[..] else { panic!("{:?}", output.rejected) };
    assert!(empty.contains("the mask is empty"), "{empty}");
    assert_eq!(small, "the mask has 1x1 pixels, the image 42x32");
    assert_eq!(turned, "the mask has 33x43 pixels, the image 43x33");
}

#[test]
fn a_picture_as_thin_as_can_be() {
    let folder = Folder::with_samples(4);
    for (id, width, height) in [("wide", 70_000, 1), ("high", 1, 70_000)] {
        let pixels = vec![90; 3 * 70_000];
        folder.file(&format!("images/{id}.png"), &png(&pixels, width, height, ExtendedColorType::Rgb8));
        folder.file(&format!("masks/{id}.png"), &grey(width, height, |x, y| if x + y > 9 { 255 } else { 0 }));
    }
    let output = folder.run(&params()).unwrap();
    assert_eq!(output.rejected, []);
    let (wide, high) = (output.target("wide"), output.target("high"));
    assert_eq!(
        (wide.resized_height, wide.resized_width, high.resized_height, high.resized_width),
        (1, 64, 64, 1)
    );
    assert_eq!((wide.x0, wide.x1, high.y0, high.y1), (10, 69_999, 10, 69_999));
}

#[test]
fn a_table_of_splits_that_is_odd() {
    let folder = Folder::with_samples(3);
    let mut params = params();
    params.split.by = SplitBy::Given;
    let all = "s00,train\ns01,train\ns02,test\n";
    folder.file("splits.csv", format!("id,split\n{all}../x,train\n").as_bytes());
    assert_eq!(reasons(&folder.run(&params).unwrap()), ["it has neither an image nor a mask"]);
    for (text, expected) in [
        (String::new(), "needs the columns id,split"),
        ("id;split\n".into(), "needs the columns id,split"),
        (format!("id,split\n{all}s00,test\n"), "names s00 twice, the second time in line 5"),
        (format!("id,split\n{all}s00\n"), "cannot be read"),
        ("id,split\n\"s00,train\n".into(), "splits.csv"),
        ("id,split\n\u{0},train\n".into(), "split"),
    ] {
        folder.file("splits.csv", text.as_bytes());
        let found = error(folder.run(&params));
        assert!(found.contains(expected), "{text:?}: {found}");
    }
    folder.file("splits.csv", b"id,split\n\xff\xfe,train\n");
    assert!(error(folder.run(&params)).contains("splits.csv cannot be read"));
}
