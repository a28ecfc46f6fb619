//! PyTorch's files (`torch.save` since 1.6): a zip archive whose records are stored as they are, one for each storage, and a
//! pickle that says which tensor is which.
//!
//! ```text
//! NAME/data.pkl     names, types, shapes: [`crate::pickle`]
//! NAME/data/0 ...   numbers
//! NAME/byteorder    `little`; absent in older files
//! NAME/version
//! ```
//!
//! Because records are stored, the numbers of a tensor are a range of the file, mapped and read like those of a safetensors file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Cursor, Write};
use std::ops::Range;
use std::path::Path;

use safetensors::tensor::View;
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::error::Error;
use crate::file::Entry;
use crate::pickle::{self, PickleError};

/// How every zip archive begins.
pub(crate) const MAGIC: &[u8] = b"PK\x03\x04";

/// Why a file is no readable state dict.
#[derive(Debug, thiserror::Error)]
pub enum StateDictError {
    /// It is no zip archive, or a damaged one.
    #[error("its zip archive cannot be read ({0}); it is truncated or damaged, fetch it again")]
    Zip(String),
    /// A record that a state dict must have is missing.
    #[error("its archive has no record `{0}`")]
    NoRecord(String),
    /// A record does not lie in the file as one run of bytes.
    #[error("its record `{name}` {what}")]
    Record {
        /// The record.
        name: String,
        /// What about it is not read.
        what: &'static str,
    },
    /// Two tensors have one name.
    #[error("it holds `{0}` twice")]
    Twice(String),
    /// The pickle within.
    #[error(transparent)]
    Pickle(#[from] PickleError),
}

/// The tensors in the bytes of a PyTorch file.
///
/// # Errors
/// What is wrong with the file.
pub(crate) fn entries(bytes: &[u8]) -> Result<BTreeMap<String, Entry>, StateDictError> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|e| StateDictError::Zip(e.to_string()))?;
    const PICKLE: &str = "/data.pkl";
    let root = archive.file_names().find_map(|name| name.strip_suffix(PICKLE)).map(str::to_owned);
    let root = root.ok_or_else(|| StateDictError::NoRecord("data.pkl".into()))?;
    let order = format!("{root}/byteorder");
    if archive.index_for_name(&order).is_some()
        && &bytes[record(&mut archive, &order, bytes.len())?] != b"little"
    {
        return Err(StateDictError::Record { name: order, what: "says that numbers are big-endian" });
    }
    let pickle = record(&mut archive, &format!("{root}{PICKLE}"), bytes.len())?;
    let mut entries = BTreeMap::new();
    for tensor in pickle::state_dict(&bytes[pickle])? {
        let name = format!("{root}/data/{}", tensor.key);
        let range = record(&mut archive, &name, bytes.len())?;
        let size = crate::file::bytes_of(tensor.dtype);
        if Some(range.len()) != tensor.stored.checked_mul(size) {
            return Err(StateDictError::Record { name, what: "has another length than its tensor says" });
        }
        // Within the record: the pickle's reader checked offset and shape against the numbers stored.
        let start = range.start + tensor.offset * size;
        let end = start + tensor.shape.iter().product::<usize>() * size;
        let entry = Entry { dtype: tensor.dtype, shape: tensor.shape, range: start..end };
        if entries.insert(tensor.name.to_owned(), entry).is_some() {
            return Err(StateDictError::Twice(tensor.name.to_owned()));
        }
    }
    Ok(entries)
}

/// Where a record lies in a file of `length` bytes.
fn record(
    archive: &mut ZipArchive<Cursor<&[u8]>>,
    name: &str,
    length: usize,
) -> Result<Range<usize>, StateDictError> {
    let index = archive.index_for_name(name).ok_or_else(|| StateDictError::NoRecord(name.into()))?;
    let file = archive.by_index_raw(index).map_err(|e| StateDictError::Zip(e.to_string()))?;
    let wrong = |what| StateDictError::Record { name: name.into(), what };
    if file.compression() != CompressionMethod::Stored || file.encrypted() {
        return Err(wrong("is compressed or encrypted, which `torch.save` does not do"));
    }
    let start = file.data_start().and_then(|start| usize::try_from(start).ok());
    let range = start.and_then(|start| Some(start..start.checked_add(usize::try_from(file.size()).ok()?)?));
    range.filter(|range| range.end <= length).ok_or_else(|| wrong("ends beyond the file"))
}

/// Writes tensors so that `torch.load(..., weights_only=True)` gives a dictionary of them. Same tensors, same bytes.
pub(crate) fn write<V: View>(path: &Path, views: &[(String, V)]) -> Result<(), Error> {
    let failed = |source: std::io::Error| Error::Io { action: "write", path: path.into(), source };
    let zip_failed = |error: ZipError| failed(error.into());
    let file = BufWriter::new(File::create(path).map_err(failed)?);
    let mut archive = ZipWriter::new(file);
    let begin = |archive: &mut ZipWriter<_>, name: &str, length: usize| {
        // Records begin at multiples of 64, as PyTorch lays them, so that they can be mapped.
        let large = length as u64 >= u64::from(u32::MAX);
        let options = SimpleFileOptions::DEFAULT.compression_method(CompressionMethod::Stored);
        archive
            .start_file(format!("archive/{name}"), options.large_file(large).with_alignment(64))
            .map_err(zip_failed)
    };
    let pickle = pickle::write_state_dict(views.iter().map(|(name, view)| (name.as_str(), view.shape())));
    begin(&mut archive, "data.pkl", pickle.len())?;
    archive.write_all(&pickle).map_err(failed)?;
    for (name, content) in [("byteorder", "little"), ("version", "3\n")] {
        begin(&mut archive, name, content.len())?;
        archive.write_all(content.as_bytes()).map_err(failed)?;
    }
    for (index, (_, view)) in views.iter().enumerate() {
        begin(&mut archive, &format!("data/{index}"), view.data_len())?;
        archive.write_all(&view.data()).map_err(failed)?;
    }
    archive.finish().map_err(zip_failed)?.flush().map_err(failed)
}
