use crate::DataError;
use serde::{Serialize, de::DeserializeOwned};
use std::path::Path;

/// Writes pretty JSON with a final newline, aside first, then renamed.
///
/// # Errors
/// When the file cannot be written.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), DataError> {
    let mut text = serde_json::to_string_pretty(value).map_err(|e| DataError::encode(path, e))?;
    text.push('\n');
    let aside = path.with_extension("json.tmp");
    std::fs::write(&aside, text).map_err(|e| DataError::io("write", &aside, e))?;
    std::fs::rename(&aside, path).map_err(|e| DataError::io("write", path, e))
}

/// Reads JSON.
///
/// # Errors
/// When the file cannot be read or is not what is expected.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, DataError> {
    let text = std::fs::read_to_string(path).map_err(|e| DataError::io("read", path, e))?;
    serde_json::from_str(&text).map_err(|e| DataError::damaged(path, e))
}
