//! What the files of all artifacts share: errors, JSON and format versions.
//!
//! Other tools can open every file. A crate for each artifact documents, reads and writes its files:
//!
//! | artifact | files | crates |
//! |---|---|---|
//! | `images` | `images.json`, `images-00000.arrow` ... | `images` |
//! | `targets` | `targets.json`, `targets.parquet`, `masks.arrow`, `audit.json`, `rejected.json` | `targets`, `target-records` |
//! | `embeddings` | `embeddings.json`, `index.parquet`, `embeddings-00000.arrow` ... | `embeddings` |
//! | `checkpoint` | `checkpoint.json`, `tuned.safetensors`, `history.parquet`, `epochs.parquet` | `checkpoint-records` |
//! | `evaluation` | `metrics.json`, `samples.parquet`, `sweep.parquet`, `masks.parquet`, `overlays/*.png` | `evaluation-records` |
//!
//! Tensors are uncompressed Arrow IPC files, memory-mapped on reading; tables are Parquet (crate `tables`). Everything is written
//! in one order with no time, host or version in it, so equal content gives equal bytes. Each artifact's JSON file
//! states its format as `resect-<kind>/<major>.<minor>`; a reader refuses another major version.

mod json;

pub use json::{read_json, write_json};

use std::path::PathBuf;

/// What goes wrong when an artifact's files are read or written.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The operating system reports an error.
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
    /// A file does not hold what it should.
    pub fn damaged(path: &std::path::Path, message: impl std::fmt::Display) -> Self {
        Self::Damaged { path: path.into(), message: message.to_string() }
    }

    /// A file cannot be written, because its content cannot be encoded.
    pub fn encode(path: &std::path::Path, message: impl std::fmt::Display) -> Self {
        Self::Encode { path: path.into(), message: message.to_string() }
    }

    /// The operating system reports an error for a file.
    pub fn io(action: &'static str, path: &std::path::Path, source: std::io::Error) -> Self {
        Self::Io { action, path: path.into(), source }
    }
}

/// Checks a `resect-<kind>/<major>.<minor>` tag: the major version must agree.
///
/// # Errors
/// When it is another one.
pub fn check_format(path: &std::path::Path, found: &str, expected: &'static str) -> Result<(), DataError> {
    if found.split('.').next() == expected.split('.').next() {
        return Ok(());
    }
    Err(DataError::Format { path: path.into(), found: found.into(), expected })
}
