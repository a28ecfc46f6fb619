//! `targets`: what to segment, where and in which split.
//!
//! `targets.json`: `format`, `low_res_size`, `rows`. `targets.parquet`: one [`Target`] a row. `masks.arrow`, row by row
//! beside it: `low_res` (fixed-shape tensor of u8 0/1, `[low_res_size, low_res_size]`: the mask padded, never squashed, on
//! the decoder's grid) and `original` (binary: the mask at original resolution, one bit a pixel in row order without
//! padding between rows, least significant bit first; `numpy.unpackbits(.., bitorder="little")`). `audit.json` and
//! `rejected.json`: what `ingest` found, and what it left out and why.

use arrow_array::{Array, BinaryArray, FixedSizeListArray, RecordBatch, UInt8Array};
use arrow_schema::{DataType, Field, Schema};
use resect_data::{DataError, check_format, read_json, write_json};
use resect_geometry::{Mask, Size};
use resect_tables::{ipc, table};
use resect_target_records::{Rejected, Split, Target};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Format of `targets.json`.
pub const FORMAT: &str = "resect-targets/1.0";
const BATCH_ROWS: usize = 64;

#[derive(Serialize, Deserialize)]
struct Header {
    format: String,
    low_res_size: u32,
    rows: usize,
}

/// Writes the artifact target by target.
pub struct Writer {
    dir: PathBuf,
    low_res_size: u32,
    rows: Vec<Target>,
    masks: ipc::IpcWriter,
    low_res: Vec<u8>,
    original: Vec<Vec<u8>>,
}

impl Writer {
    /// Begins an artifact in an existing folder.
    ///
    /// # Errors
    /// When `masks.arrow` cannot be created.
    pub fn create(dir: &Path, low_res_size: u32) -> Result<Self, DataError> {
        let side = low_res_size as usize;
        let schema = Schema::new(vec![
            ipc::tensor_field("low_res", DataType::UInt8, &[side, side]),
            Field::new("original", DataType::Binary, false),
        ]);
        Ok(Self {
            dir: dir.into(),
            low_res_size,
            rows: Vec::new(),
            masks: ipc::IpcWriter::create(&dir.join("masks.arrow"), schema)?,
            low_res: Vec::new(),
            original: Vec::new(),
        })
    }

    /// Adds a target with its mask at original resolution; the low-res mask is made from it.
    ///
    /// # Errors
    /// When the masks cannot be written.
    pub fn push(&mut self, target: Target, mask: &Mask) -> Result<(), DataError> {
        self.low_res.extend(mask.to_low_res(self.low_res_size).pixels().iter().map(|&p| u8::from(p)));
        self.original.push(pack(mask));
        self.rows.push(target);
        if self.original.len() == BATCH_ROWS { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), DataError> {
        if self.original.is_empty() {
            return Ok(());
        }
        let length = (self.low_res_size * self.low_res_size) as i32;
        let item = Arc::new(Field::new("item", DataType::UInt8, false));
        let values = Arc::new(UInt8Array::from(std::mem::take(&mut self.low_res)));
        let original = std::mem::take(&mut self.original);
        self.masks.write(vec![
            Arc::new(FixedSizeListArray::new(item, length, values, None)),
            Arc::new(ipc::binary(original.iter().map(Vec::as_slice))),
        ])
    }

    /// Completes the artifact.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn finish(mut self, audit: &impl Serialize, rejected: &[Rejected]) -> Result<(), DataError> {
        self.flush()?;
        self.masks.finish()?;
        table::write(&self.dir.join("targets.parquet"), &self.rows)?;
        write_json(&self.dir.join("audit.json"), audit)?;
        write_json(&self.dir.join("rejected.json"), &rejected)?;
        let header = Header { format: FORMAT.into(), low_res_size: self.low_res_size, rows: self.rows.len() };
        write_json(&self.dir.join("targets.json"), &header)
    }
}

/// A published `targets` artifact.
pub struct Targets {
    low_res_size: u32,
    rows: Vec<Target>,
    low_res: Vec<UInt8Array>,
    original: Vec<BinaryArray>,
    map: ipc::Map,
}

impl Targets {
    /// Maps the artifact in `dir`.
    ///
    /// # Errors
    /// When a file is missing, damaged or of another version.
    pub fn open(dir: &Path) -> Result<Self, DataError> {
        let path = dir.join("targets.json");
        let header: Header = read_json(&path)?;
        check_format(&path, &header.format, FORMAT)?;
        let rows: Vec<Target> = table::read(&dir.join("targets.parquet"))?;
        let masks = dir.join("masks.arrow");
        let (batches, map) = ipc::open(&masks)?;
        let mut targets =
            Self { low_res_size: header.low_res_size, rows, low_res: Vec::new(), original: Vec::new(), map };
        let cells = u64::from(header.low_res_size) * u64::from(header.low_res_size);
        let cells = usize::try_from(cells).unwrap_or(usize::MAX);
        let last = batches.len().saturating_sub(1);
        for (index, batch) in batches.into_iter().enumerate() {
            // Rows are found by that.
            if batch.num_rows() > BATCH_ROWS || index < last && batch.num_rows() < BATCH_ROWS {
                let message = format!("batch {index} has {} rows, not {BATCH_ROWS}", batch.num_rows());
                return Err(DataError::damaged(&masks, message));
            }
            let (low_res, original) = targets.check_batch(&masks, &batch, cells)?;
            targets.low_res.push(low_res);
            targets.original.push(original);
        }
        let held: usize = targets.original.iter().map(|b| b.len()).sum();
        if targets.rows.len() != header.rows || held != header.rows {
            let message = format!(
                "it states {} rows, targets.parquet has {}, masks.arrow {held}",
                header.rows,
                targets.rows.len()
            );
            return Err(DataError::damaged(&path, message));
        }
        for (index, row) in targets.rows.iter().enumerate() {
            let bytes = targets.packed(index).len();
            if bytes != row.original().pixels().div_ceil(8) {
                let message = format!("the mask of {} has {bytes} bytes for {}", row.id, row.original());
                return Err(DataError::damaged(&masks, message));
            }
        }
        Ok(targets)
    }

    fn check_batch(
        &self,
        path: &Path,
        batch: &RecordBatch,
        cells: usize,
    ) -> Result<(UInt8Array, BinaryArray), DataError> {
        let list = ipc::column::<FixedSizeListArray>(path, batch, "low_res")?;
        let low_res = list.values().as_any().downcast_ref::<UInt8Array>();
        let Some(low_res) = low_res.filter(|values| Some(values.len()) == list.len().checked_mul(cells))
        else {
            return Err(DataError::damaged(path, "column \"low_res\" has another shape"));
        };
        Ok((low_res.clone(), ipc::column::<BinaryArray>(path, batch, "original")?.clone()))
    }

    /// Side of the low-res grid.
    pub fn low_res_size(&self) -> u32 {
        self.low_res_size
    }

    /// All targets.
    pub fn rows(&self) -> &[Target] {
        &self.rows
    }

    /// Indices of the targets of a split, in order.
    pub fn of(&self, split: Split) -> Vec<usize> {
        (0..self.rows.len()).filter(|&i| self.rows[i].split == split).collect()
    }

    /// The low-res mask of target `index`: 0 or 1 for each cell, in row order.
    pub fn low_res(&self, index: usize) -> &[u8] {
        let cells = Size::square(self.low_res_size).pixels();
        &self.low_res[index / BATCH_ROWS].values()[index % BATCH_ROWS * cells..][..cells]
    }

    /// The mask of target `index` at original resolution.
    pub fn mask(&self, index: usize) -> Mask {
        unpack(self.packed(index), self.rows[index].original())
    }

    /// Gives the memory of all masks back to the system, so that memory does not grow with what has been read. They can be read
    /// again at any time.
    pub fn release(&self) {
        self.map.release(self.map.as_ref());
    }

    fn packed(&self, index: usize) -> &[u8] {
        self.original[index / BATCH_ROWS].value(index % BATCH_ROWS)
    }
}

fn pack(mask: &Mask) -> Vec<u8> {
    /// Brings the lowest bit of byte `i` of a word to bit `56 + i`, by a product whose terms do not meet.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let (whole, rest) = mask.pixels().as_chunks::<8>();
    let byte = |bits: [bool; 8]| (u64::from_le_bytes(bits.map(u8::from)).wrapping_mul(GATHER) >> 56) as u8;
    let mut bytes: Vec<u8> = whole.iter().map(|bits| byte(*bits)).collect();
    if !rest.is_empty() {
        let mut bits = [false; 8];
        bits[..rest.len()].copy_from_slice(rest);
        bytes.push(byte(bits));
    }
    bytes
}

fn unpack(bytes: &[u8], size: Size) -> Mask {
    Mask::new(size, (0..size.pixels()).map(|i| bytes[i / 8] >> (i % 8) & 1 == 1).collect())
}

#[cfg(test)]
mod tests;
