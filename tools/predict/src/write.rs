//! Files that appear whole or not at all.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use image::{ExtendedColorType, ImageEncoder};
use resect_geometry::{Mask, Size};

use crate::PredictError;

/// Makes a file with `make`, under another name in the same folder, and gives it its name once it is whole.
pub(crate) fn whole<E>(
    path: &Path,
    make: impl FnOnce(&Path) -> Result<(), E>,
    failed: impl Fn(E) -> PredictError,
) -> Result<(), PredictError> {
    let error = |source| PredictError::Write { path: path.into(), source };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(error)?;
    }
    let aside = aside(path)?;
    let made = make(&aside).map_err(failed).and_then(|()| fs::rename(&aside, path).map_err(error));
    if made.is_err() {
        let _ = fs::remove_file(&aside);
    }
    made
}

/// Writes bytes to a file.
pub(crate) fn bytes(path: &Path, bytes: &[u8]) -> Result<(), PredictError> {
    whole(path, |aside| fs::write(aside, bytes), |source| PredictError::Write { path: path.into(), source })
}

/// Where a file is written before it has its name.
pub(crate) fn aside(path: &Path) -> Result<PathBuf, PredictError> {
    Ok(path.with_file_name(format!(".{}.part", name(path)?)))
}

/// The name of a file.
pub(crate) fn name(path: &Path) -> Result<String, PredictError> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    name.ok_or_else(|| PredictError::Internal(format!("{} has no file name", path.display())))
}

/// Writes a mask as 8-bit grey PNG, 0 and 255.
pub(crate) fn mask(path: &Path, mask: &Mask) -> Result<(), PredictError> {
    let Size { height, width } = mask.size();
    let grey: Vec<u8> = mask.pixels().iter().map(|&inside| if inside { 255 } else { 0 }).collect();
    let mut png = Vec::new();
    image::codecs::png::PngEncoder::new(&mut png)
        .write_image(&grey, width, height, ExtendedColorType::L8)
        .map_err(|error| PredictError::Write { path: path.into(), source: io::Error::other(error) })?;
    bytes(path, &png)
}
