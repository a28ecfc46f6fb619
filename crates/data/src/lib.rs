//! What the stages hand each other, as files that other tools open too.
//!
//! | artifact | files | module |
//! |---|---|---|
//! | `images` | `images.json`, `images-00000.arrow` ... | [`images`] |
//! | `targets` | `targets.json`, `targets.parquet`, `masks.arrow`, `audit.json`, `rejected.json` | [`targets`] |
//! | `embeddings` | `embeddings.json`, `index.parquet`, `embeddings-00000.arrow` ... | [`embeddings`] |
//! | `checkpoint` | `checkpoint.json`, `decoder.safetensors`, `history.parquet`, `epochs.parquet` | [`checkpoint`] |
//! | `evaluation` | `metrics.json`, `samples.parquet`, `sweep.parquet`, `masks.parquet`, `overlays/*.png` | [`evaluation`] |
//!
//! Tensors are uncompressed Arrow IPC files, memory-mapped on reading; tables are Parquet. Everything is written
//! in one order with no time, host or version in it, so equal content gives equal bytes. Each artifact's JSON file
//! states its format as `resect-<kind>/<major>.<minor>`; a reader refuses another major version.

pub mod checkpoint;
pub mod embeddings;
pub mod evaluation;
pub mod images;
mod ipc;
mod json;
pub mod table;
pub mod targets;

pub use json::{read_json, write_json};

use std::path::PathBuf;

/// What goes wrong when an artifact's files are read or written.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The file system said no.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// "read", "write", ...
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{} is damaged: {message}; remove its artifact and run again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        message: String,
    },
    /// Written by another version.
    #[error("{} has format \"{found}\", this program reads \"{expected}\"", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What it states.
        found: String,
        /// What this program reads.
        expected: &'static str,
    },
    /// Arrow, Parquet or JSON refused to write.
    #[error("cannot write {}: {message}", path.display())]
    Encode {
        /// The file.
        path: PathBuf,
        /// Why.
        message: String,
    },
}

impl DataError {
    pub(crate) fn damaged(path: &std::path::Path, message: impl std::fmt::Display) -> Self {
        Self::Damaged { path: path.into(), message: message.to_string() }
    }

    pub(crate) fn encode(path: &std::path::Path, message: impl std::fmt::Display) -> Self {
        Self::Encode { path: path.into(), message: message.to_string() }
    }

    pub(crate) fn io(action: &'static str, path: &std::path::Path, source: std::io::Error) -> Self {
        Self::Io { action, path: path.into(), source }
    }
}

/// What a file holds, or that it is damaged: a bug that its bytes find in a reader of Arrow or Parquet costs that file, not the program.
pub(crate) fn guarded<T>(
    path: &std::path::Path,
    read: impl FnOnce() -> Result<T, DataError>,
) -> Result<T, DataError> {
    resect_caught::caught(read).unwrap_or_else(|| Err(DataError::damaged(path, "its reader gave up on it")))
}

/// Checks a `resect-<kind>/<major>.<minor>` tag: the major version must agree.
pub(crate) fn check_format(
    path: &std::path::Path,
    found: &str,
    expected: &'static str,
) -> Result<(), DataError> {
    if found.split('.').next() == expected.split('.').next() {
        return Ok(());
    }
    Err(DataError::Format { path: path.into(), found: found.into(), expected })
}
