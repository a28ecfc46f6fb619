//! Tables and tensors on disk.
//!
//! [`table`] reads and writes plain rows as Parquet files. [`ipc`] reads and writes uncompressed Arrow IPC files, which are
//! memory-mapped on reading. Both write equal bytes for equal content: no time, host or version is in a file.

pub mod ipc;
pub mod table;

use resect_data::DataError;
use std::path::Path;

/// Turns a panic of a reader of Arrow or Parquet into an error: damaged bytes can trigger a bug in it, and only the file is lost then.
fn guarded<T>(path: &Path, read: impl FnOnce() -> Result<T, DataError>) -> Result<T, DataError> {
    resect_caught::caught(read).unwrap_or_else(|| Err(DataError::damaged(path, "its reader panicked")))
}
