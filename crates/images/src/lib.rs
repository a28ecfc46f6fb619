//! `images`: each readable image of the dataset, resized as the model wants it, not normalised, not padded.
//!
//! `images.json`: `format`, `longest_side`, `rows`. `images-NNNNN.arrow`, [`SHARD_ROWS`] rows each, in the dataset's
//! order: `id` (utf8), `pixel_hash` (utf8, hex), `original_height`, `original_width`, `height`, `width` (u32),
//! `pixels` (binary: u8 RGB, `[3, height, width]`).

use arrow_array::{Array, ArrayRef, BinaryArray, StringArray, UInt32Array};
use arrow_schema::{DataType, Field, Schema};
use resect_data::{DataError, check_format, read_json, write_json};
use resect_geometry::Size;
use resect_tables::ipc;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

/// Format of `images.json`.
pub const FORMAT: &str = "resect-images/1.0";
/// Rows in a shard, the last one aside.
pub const SHARD_ROWS: usize = 64;
/// Rows in a record batch: what the writer holds in memory.
const BATCH_ROWS: usize = 8;

#[derive(Serialize, Deserialize)]
struct Header {
    format: String,
    longest_side: u32,
    rows: usize,
}

/// One image, on its way into the artifact.
#[derive(Clone, Debug)]
pub struct Image {
    /// Name of the sample.
    pub id: String,
    /// [`pixel_hash`] of the resized pixels.
    pub pixel_hash: String,
    /// Size before resizing.
    pub original: Size,
    /// Size after it.
    pub resized: Size,
    /// u8 RGB, `[3, height, width]` (planar).
    pub pixels: Vec<u8>,
}

/// What makes two images the same to the encoder: BLAKE3 over the resized size and pixels, as hex.
pub fn pixel_hash(resized: Size, pixels: &[u8]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&resized.height.to_le_bytes());
    hasher.update(&resized.width.to_le_bytes());
    hasher.update(pixels);
    hasher.finalize().to_hex().to_string()
}

fn schema() -> Schema {
    let number = |name: &str| Field::new(name, DataType::UInt32, false);
    Schema::new(vec![
        Field::new("id", DataType::Utf8, false),
        Field::new("pixel_hash", DataType::Utf8, false),
        number("original_height"),
        number("original_width"),
        number("height"),
        number("width"),
        Field::new("pixels", DataType::Binary, false),
    ])
}

/// Writes the artifact row by row, a few images in memory at a time.
pub struct Writer {
    dir: PathBuf,
    longest_side: u32,
    rows: usize,
    shard: Option<ipc::IpcWriter>,
    batch: Vec<Image>,
    /// Syncs the shard before, which takes the disk time and no processor.
    syncing: Option<JoinHandle<Result<(), DataError>>>,
}

impl Writer {
    /// Begins an artifact in an existing folder.
    pub fn new(dir: &Path, longest_side: u32) -> Self {
        Self { dir: dir.into(), longest_side, rows: 0, shard: None, batch: Vec::new(), syncing: None }
    }

    /// Adds the next image.
    ///
    /// # Errors
    /// When a shard cannot be written.
    pub fn push(&mut self, image: Image) -> Result<(), DataError> {
        self.batch.push(image);
        self.rows += 1;
        let shard_is_full = self.rows.is_multiple_of(SHARD_ROWS);
        if self.batch.len() == BATCH_ROWS || shard_is_full {
            self.flush()?;
        }
        if shard_is_full { self.end_shard() } else { Ok(()) }
    }

    /// Has the shard synced while the next one is filled; there is no third.
    fn end_shard(&mut self) -> Result<(), DataError> {
        self.synced()?;
        self.syncing = self.shard.take().map(|shard| std::thread::spawn(|| shard.finish()));
        Ok(())
    }

    /// Waits for the shard that is being synced.
    fn synced(&mut self) -> Result<(), DataError> {
        let Some(syncing) = self.syncing.take() else { return Ok(()) };
        syncing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    fn flush(&mut self) -> Result<(), DataError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let shard = match &mut self.shard {
            Some(shard) => shard,
            none => {
                let path = shard_path(&self.dir, (self.rows - 1) / SHARD_ROWS);
                none.insert(ipc::IpcWriter::create(&path, schema())?)
            }
        };
        let batch = &self.batch;
        let number = |f: fn(&Image) -> u32| -> ArrayRef {
            Arc::new(UInt32Array::from_iter_values(batch.iter().map(f)))
        };
        shard.write(vec![
            Arc::new(StringArray::from_iter_values(batch.iter().map(|i| &i.id))),
            Arc::new(StringArray::from_iter_values(batch.iter().map(|i| &i.pixel_hash))),
            number(|i| i.original.height),
            number(|i| i.original.width),
            number(|i| i.resized.height),
            number(|i| i.resized.width),
            Arc::new(ipc::binary(batch.iter().map(|i| i.pixels.as_slice()))),
        ])?;
        self.batch.clear();
        Ok(())
    }

    /// Completes the artifact.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn finish(mut self) -> Result<(), DataError> {
        self.flush()?;
        self.end_shard()?;
        self.synced()?;
        let header = Header { format: FORMAT.into(), longest_side: self.longest_side, rows: self.rows };
        write_json(&self.dir.join("images.json"), &header)
    }
}

fn shard_path(dir: &Path, index: usize) -> PathBuf {
    dir.join(format!("images-{index:05}.arrow"))
}

/// One image of a published artifact; the pixels lie in the memory map.
#[derive(Clone, Copy, Debug)]
pub struct ImageRef<'a> {
    /// Name of the sample.
    pub id: &'a str,
    /// [`pixel_hash`] of the resized pixels.
    pub pixel_hash: &'a str,
    /// Size before resizing.
    pub original: Size,
    /// Size after it.
    pub resized: Size,
    /// u8 RGB, `[3, height, width]` (planar).
    pub pixels: &'a [u8],
}

struct Batch {
    ids: StringArray,
    hashes: StringArray,
    sizes: [UInt32Array; 4],
    pixels: BinaryArray,
}

/// A published `images` artifact.
pub struct Images {
    longest_side: u32,
    rows: Vec<(usize, usize)>,
    batches: Vec<Batch>,
    maps: Vec<ipc::Map>,
}

impl Images {
    /// Maps the artifact in `dir`.
    ///
    /// # Errors
    /// When a file is missing, damaged or of another version.
    pub fn open(dir: &Path) -> Result<Self, DataError> {
        let path = dir.join("images.json");
        let header: Header = read_json(&path)?;
        check_format(&path, &header.format, FORMAT)?;
        let mut images = Self {
            longest_side: header.longest_side,
            rows: Vec::new(),
            batches: Vec::new(),
            maps: Vec::new(),
        };
        for index in 0..header.rows.div_ceil(SHARD_ROWS) {
            let path = shard_path(dir, index);
            let (batches, map) = ipc::open(&path)?;
            images.maps.push(map);
            for batch in batches {
                let size = |name| ipc::column::<UInt32Array>(&path, &batch, name).cloned();
                let batch = Batch {
                    ids: ipc::column::<StringArray>(&path, &batch, "id")?.clone(),
                    hashes: ipc::column::<StringArray>(&path, &batch, "pixel_hash")?.clone(),
                    sizes: [
                        size("original_height")?,
                        size("original_width")?,
                        size("height")?,
                        size("width")?,
                    ],
                    pixels: ipc::column::<BinaryArray>(&path, &batch, "pixels")?.clone(),
                };
                let number = images.batches.len();
                images.rows.extend((0..batch.ids.len()).map(|row| (number, row)));
                images.batches.push(batch);
            }
        }
        if images.rows.len() != header.rows {
            let message = format!("it states {} rows, its shards hold {}", header.rows, images.rows.len());
            return Err(DataError::damaged(&path, message));
        }
        for image in images.iter() {
            if Some(image.pixels.len()) != image.resized.pixels().checked_mul(3) {
                let message = format!("image {} does not hold 3 x {} bytes", image.id, image.resized);
                return Err(DataError::damaged(dir, message));
            }
        }
        Ok(images)
    }

    /// Longest side of every resized image, in pixels.
    pub fn longest_side(&self) -> u32 {
        self.longest_side
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Image number `index`, below [`Images::len`].
    pub fn get(&self, index: usize) -> ImageRef<'_> {
        let (batch, row) = self.rows[index];
        let batch = &self.batches[batch];
        let [original_height, original_width, height, width] =
            [0, 1, 2, 3].map(|i| batch.sizes[i].value(row));
        ImageRef {
            id: batch.ids.value(row),
            pixel_hash: batch.hashes.value(row),
            original: Size::new(original_height, original_width),
            resized: Size::new(height, width),
            pixels: batch.pixels.value(row),
        }
    }

    /// All images in order.
    pub fn iter(&self) -> impl Iterator<Item = ImageRef<'_>> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// Gives the memory of all images back to the system, so that memory does not grow with what has been read. They can be read
    /// again at any time.
    pub fn release(&self) {
        self.maps.iter().for_each(|map| map.release(map.as_ref()));
    }
}
