//! Picture files within the limits of a job, read as far as is needed; reasons name the flag that would accept one.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use resect_geometry::Size;
use resect_pixels::PixelError;
use resect_prompts::job::Limits;

/// The size of a picture, from its header.
pub(crate) fn size(path: &Path, limits: Limits) -> Result<Size, String> {
    let file = open(path, limits)?;
    resect_pixels::upright_size(BufReader::new(file), limits.max_pixels).map_err(reason)
}

/// All of a picture file.
pub(crate) fn bytes(path: &Path, limits: Limits) -> Result<Vec<u8>, String> {
    open(path, limits)?;
    std::fs::read(path).map_err(|error| format!("it cannot be read: {error}"))
}

/// Why pixels cannot be used.
pub(crate) fn reason(error: PixelError) -> String {
    match error {
        PixelError::TooLarge { width, height, max } => {
            format!("it has {width}x{height} pixels, more than --max-pixels = {max}")
        }
        other => other.to_string(),
    }
}

fn open(path: &Path, limits: Limits) -> Result<File, String> {
    let unreadable = |error| format!("it cannot be read: {error}");
    let file = File::open(path).map_err(unreadable)?;
    let bytes = file.metadata().map_err(unreadable)?.len();
    if bytes > limits.max_bytes {
        return Err(format!("it has {bytes} bytes, more than --max-bytes = {}", limits.max_bytes));
    }
    Ok(file)
}

#[cfg(test)]
mod tests;
