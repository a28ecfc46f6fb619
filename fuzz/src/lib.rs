//! What the fuzz targets share: folders in memory, and seeds, which each target writes into its corpus when it starts.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, RecordBatch, StringArray, StructArray};
use arrow_schema::{DataType, Field, Fields};
use image::{DynamicImage, GrayImage, ImageFormat, RgbImage};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

/// Puts seeds into the corpus of a target. Panics that are caught say nothing: only those that are not, are findings.
pub fn begin(target: &str, seeds: Vec<Vec<u8>>) {
    std::panic::set_hook(Box::new(|_| {}));
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&corpus).expect("a folder for the corpus");
    for (number, seed) in seeds.into_iter().enumerate() {
        fs::write(corpus.join(format!("seed-{number:02}")), seed).expect("a seed is written");
    }
}

/// A new folder, in memory where the system has one there.
pub fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a folder for files")
}

/// Cuts the bytes of one input into those of several files: each but the last begins with its length, 4 bytes.
pub fn parts<const N: usize>(mut bytes: &[u8]) -> [&[u8]; N] {
    let mut parts = [[].as_slice(); N];
    for (index, part) in parts.iter_mut().enumerate() {
        if index + 1 == N {
            *part = bytes;
        } else if let Some((length, rest)) = bytes.split_first_chunk::<4>() {
            let length = (u32::from_le_bytes(*length) as usize).min(rest.len());
            (*part, bytes) = rest.split_at(length);
        }
    }
    parts
}

/// The inverse of [`parts`].
pub fn joined(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        if index + 1 < parts.len() {
            bytes.extend((part.len() as u32).to_le_bytes());
        }
        bytes.extend(part);
    }
    bytes
}

/// A small picture in a format.
pub fn picture(image: DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).expect("a picture is written");
    bytes.into_inner()
}

/// 9 by 7 pixels of colour.
pub fn colour() -> DynamicImage {
    RgbImage::from_fn(9, 7, |x, y| image::Rgb([x as u8 * 28, y as u8 * 36, (x * y) as u8])).into()
}

/// A mask for it.
pub fn mask() -> DynamicImage {
    GrayImage::from_fn(9, 7, |x, y| image::Luma([if (2..6).contains(&x) && y > 2 { 255 } else { 0 }])).into()
}

/// Pictures of every format and colour that is read.
pub fn pictures() -> Vec<Vec<u8>> {
    let image = colour();
    let kinds = [
        image.clone(),
        image.to_rgba8().into(),
        image.to_luma8().into(),
        image.to_luma_alpha8().into(),
        image.to_rgb16().into(),
        image.to_luma16().into(),
    ];
    let every = |format| {
        let supported = move |kind: &DynamicImage| {
            let mut bytes = std::io::Cursor::new(Vec::new());
            kind.write_to(&mut bytes, format).ok().map(|()| bytes.into_inner())
        };
        kinds.iter().filter_map(supported).collect::<Vec<_>>()
    };
    let formats =
        [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Tiff, ImageFormat::Bmp, ImageFormat::WebP];
    formats.into_iter().flat_map(every).chain([bmp_with_palette()]).collect()
}

/// 4 x 2 pixels of two colours.
fn bmp_with_palette() -> Vec<u8> {
    let mut bmp = b"BM".to_vec();
    for value in [54 + 8 + 8, 0, 62, 40, 4, 2, 1 | 8 << 16, 0, 8, 0, 0, 2, 0u32] {
        bmp.extend(value.to_le_bytes());
    }
    bmp.extend([9, 9, 9, 0, 200, 200, 200, 0]);
    bmp.extend([0, 1, 1, 0, 1, 0, 0, 1]);
    bmp
}

/// Parquet files of three rows: `image` and `label` as structs and as plain binary, in each compression.
pub fn tables() -> Vec<Vec<u8>> {
    let images: Vec<_> = (0..3).map(|_| Some(picture(colour(), ImageFormat::Png))).collect();
    let masks: Vec<_> = (0..3).map(|i| (i < 2).then(|| picture(mask(), ImageFormat::Png))).collect();
    let plain = |bytes: &Vec<Option<Vec<u8>>>| Arc::new(BinaryArray::from_iter(bytes.clone())) as ArrayRef;
    let structs = |bytes: &Vec<Option<Vec<u8>>>| {
        let fields = Fields::from(vec![
            Field::new("bytes", DataType::Binary, true),
            Field::new("path", DataType::Utf8, true),
        ]);
        let paths = StringArray::from(vec!["a.png", "b.png", "c.png"]);
        Arc::new(StructArray::new(fields, vec![plain(bytes), Arc::new(paths)], None)) as ArrayRef
    };
    let name: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "c"]));
    let write = |columns: [ArrayRef; 2], compression| {
        let [image, label] = columns;
        let columns = [("name", name.clone()), ("image", image), ("label", label)];
        let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true)));
        let batch = batch.expect("columns of one length");
        let properties = WriterProperties::builder()
            .set_compression(compression)
            .set_max_row_group_row_count(Some(2))
            .build();
        let mut bytes = Vec::new();
        let mut writer =
            ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).expect("a writer");
        writer.write(&batch).expect("rows are written");
        writer.close().expect("a footer is written");
        bytes
    };
    let compressions =
        [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::ZSTD(ZstdLevel::default())];
    let both = |compression| {
        [
            write([plain(&images), plain(&masks)], compression),
            write([structs(&images), structs(&masks)], compression),
        ]
    };
    compressions.into_iter().flat_map(both).collect()
}

/// The content of files of a folder.
pub fn contents<const N: usize>(dir: &Path, names: [&str; N]) -> [Vec<u8>; N] {
    names.map(|name| fs::read(dir.join(name)).expect("a file that was just written"))
}
