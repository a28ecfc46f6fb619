//! Uncompressed Arrow IPC files: written whole or not at all, read through a memory map.

use arrow_array::{BinaryArray, RecordBatch};
use arrow_buffer::{Buffer, OffsetBuffer};
use arrow_ipc::convert::try_fb_to_schema;
use arrow_ipc::reader::{FileDecoder, read_footer_length};
use arrow_ipc::root_as_footer;
use arrow_ipc::writer::FileWriter;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use resect_data::DataError;
use std::collections::HashMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A column of tensors of one shape, in Arrow's canonical form (`arrow.fixed_shape_tensor`).
pub fn tensor_field(name: &str, element: DataType, shape: &[usize]) -> Field {
    let length = shape.iter().product::<usize>() as i32;
    let item = Arc::new(Field::new("item", element, false));
    Field::new(name, DataType::FixedSizeList(item, length), false).with_metadata(HashMap::from([
        ("ARROW:extension:name".to_owned(), "arrow.fixed_shape_tensor".to_owned()),
        ("ARROW:extension:metadata".to_owned(), format!("{{\"shape\":{shape:?}}}").replace(' ', "")),
    ]))
}

/// Writes record batches to a file, which appears at its path when [`IpcWriter::finish`] has synced it.
pub struct IpcWriter {
    path: PathBuf,
    aside: PathBuf,
    schema: SchemaRef,
    writer: FileWriter<BufWriter<File>>,
}

impl IpcWriter {
    /// Begins the file beside its final path.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn create(path: &Path, schema: Schema) -> Result<Self, DataError> {
        let aside = path.with_extension("arrow.tmp");
        let file = File::create(&aside).map_err(|e| DataError::io("write", &aside, e))?;
        let schema = Arc::new(schema);
        let writer = FileWriter::try_new_buffered(file, &schema).map_err(|e| DataError::encode(path, e))?;
        Ok(Self { path: path.into(), aside, schema, writer })
    }

    /// Writes one batch: a column for each field of the schema, all of one length.
    ///
    /// # Errors
    /// When the columns do not fit the schema or the file cannot be written.
    pub fn write(&mut self, columns: Vec<arrow_array::ArrayRef>) -> Result<(), DataError> {
        RecordBatch::try_new(self.schema.clone(), columns)
            .and_then(|batch| self.writer.write(&batch))
            .map_err(|e| DataError::encode(&self.path, e))
    }

    /// Syncs the file and moves it to its path.
    ///
    /// # Errors
    /// When the file cannot be written or renamed.
    pub fn finish(self) -> Result<(), DataError> {
        let encode = |e| DataError::encode(&self.path, e);
        let buffered = self.writer.into_inner().map_err(encode)?;
        let file = buffered.into_inner().map_err(|e| DataError::io("write", &self.aside, e.into_error()))?;
        file.sync_all().map_err(|e| DataError::io("write", &self.aside, e))?;
        std::fs::rename(&self.aside, &self.path).map_err(|e| DataError::io("write", &self.path, e))
    }
}

/// A column of bytes of any length: copied once, into memory of the right size.
pub fn binary<'a>(rows: impl Iterator<Item = &'a [u8]> + Clone) -> BinaryArray {
    let offsets = OffsetBuffer::from_lengths(rows.clone().map(<[u8]>::len));
    let mut values = Vec::with_capacity(rows.clone().map(<[u8]>::len).sum());
    rows.for_each(|row| values.extend_from_slice(row));
    BinaryArray::new(offsets, Buffer::from_vec(values), None)
}

/// The memory map of a file. A part whose memory was released is read again, from the page cache or from disk, at the next access.
/// So memory need not grow with what has been read.
#[derive(Clone)]
pub struct Map(Arc<memmap2::Mmap>);

impl AsRef<[u8]> for Map {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Map {
    /// Asks the operating system to begin reading a part that is needed soon.
    pub fn fetch(&self, part: &[u8]) {
        #[cfg(unix)]
        if let Some((offset, length)) = self.place(part) {
            // Advice: nothing is lost where it is not taken.
            let _ = self.0.advise_range(memmap2::Advice::WillNeed, offset, length);
        }
    }

    /// Gives the memory of a part back to the operating system.
    pub fn release(&self, part: &[u8]) {
        #[cfg(unix)]
        if let Some((offset, length)) = self.place(part) {
            // SAFETY: the map is of a file and cannot be written to, so its pages hold what the file holds, also when they are
            // read anew. (What could be lost are changes to a map, or pages that no file backs.)
            #[allow(unsafe_code)]
            let _ =
                unsafe { self.0.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, offset, length) };
        }
    }

    /// Offset and length of a part in bytes; none where it lies elsewhere, because its numbers had to be moved to be aligned.
    #[cfg(unix)]
    fn place(&self, part: &[u8]) -> Option<(usize, usize)> {
        let offset = part.as_ptr().addr().checked_sub(self.0.as_ptr().addr())?;
        (offset.checked_add(part.len())? <= self.0.len()).then_some((offset, part.len()))
    }
}

/// Opens a file: its record batches, whose buffers point into its memory map, and the map.
///
/// # Errors
/// When the file cannot be read or is damaged.
pub fn open(path: &Path) -> Result<(Vec<RecordBatch>, Map), DataError> {
    crate::guarded(path, || open_unguarded(path))
}

fn open_unguarded(path: &Path) -> Result<(Vec<RecordBatch>, Map), DataError> {
    let file = File::open(path).map_err(|e| DataError::io("read", path, e))?;
    // SAFETY: the map is of a published artifact or of a finished shard, and neither is written to again (files in
    // the store are read-only); the store's promise stands in for the one the compiler cannot check.
    #[allow(unsafe_code)]
    let map = unsafe { memmap2::Mmap::map(&file) }.map_err(|e| DataError::io("read", path, e))?;
    let map = Map(Arc::new(map));
    let buffer = Buffer::from(bytes::Bytes::from_owner(map.clone()));
    let damaged = |message: String| DataError::damaged(path, message);

    const TRAILER: usize = 10;
    let end = buffer.len().checked_sub(TRAILER).ok_or_else(|| damaged("it is too short".into()))?;
    let mut trailer = [0; TRAILER];
    trailer.copy_from_slice(&buffer[end..]);
    let length = read_footer_length(trailer).map_err(|e| damaged(e.to_string()))?;
    let start = end.checked_sub(length).ok_or_else(|| damaged("its footer is cut off".into()))?;
    let footer = root_as_footer(&buffer[start..end]).map_err(|e| damaged(e.to_string()))?;
    let schema = footer.schema().ok_or_else(|| damaged("it has no schema".into()))?;
    let schema = try_fb_to_schema(schema).map_err(|e| damaged(e.to_string()))?;
    let decoder = FileDecoder::new(Arc::new(schema), footer.version());

    let mut batches = Vec::new();
    for block in footer.recordBatches().iter().flatten() {
        let offset = usize::try_from(block.offset()).ok();
        let length = usize::try_from(block.bodyLength())
            .ok()
            .and_then(|body| body.checked_add(usize::try_from(block.metaDataLength()).ok()?));
        let (Some(offset), Some(length)) = (offset, length) else {
            return Err(damaged("a block has a negative length".into()));
        };
        if offset.checked_add(length).is_none_or(|end| end > buffer.len()) {
            return Err(damaged("a block lies beyond its end".into()));
        }
        let data = buffer.slice_with_length(offset, length);
        let batch = decoder.read_record_batch(block, &data).map_err(|e| damaged(e.to_string()))?;
        batches.push(batch.ok_or_else(|| damaged("a block holds no record batch".into()))?);
    }
    Ok((batches, map))
}

/// A column of a batch as its array type.
///
/// # Errors
/// When the batch has no such column, or one of another type.
pub fn column<'a, T: 'static>(path: &Path, batch: &'a RecordBatch, name: &str) -> Result<&'a T, DataError> {
    batch
        .column_by_name(name)
        .and_then(|column| column.as_any().downcast_ref())
        .ok_or_else(|| DataError::damaged(path, format!("column \"{name}\" is missing or of another type")))
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
