//! A folder of scenes, in the layout that the pipeline reads.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};
use rayon::prelude::*;

use crate::params::{InvalidParam, PhantomParams};
use crate::scene::scene;

/// Why a dataset was not written.
#[derive(Debug, thiserror::Error)]
pub enum PhantomError {
    /// A parameter is outside its range; nothing was written.
    #[error(transparent)]
    Param(#[from] InvalidParam),
    /// A file or folder could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// An image could not be encoded as PNG.
    #[error("cannot encode {} as PNG", path.display())]
    Encode {
        /// The file it was meant for.
        path: PathBuf,
        /// What the encoder says.
        source: image::ImageError,
    },
}

/// The id of scene `index`, counted from 1: `phantom-0001`.
pub fn sample_id(index: usize) -> String {
    format!("phantom-{:04}", index.saturating_add(1))
}

/// Writes `params.images` scenes under `out`, which is made if it does not exist:
///
/// ```text
/// out/
///   images/phantom-0001.png    RGB
///   masks/phantom-0001.png     grey, 0 or 255, same size
///   splits.csv                 id,split
/// ```
///
/// Scenes are made in parallel; the bytes do not depend on how many threads there are. Files of the same name are
/// replaced, others stay.
pub fn write_dataset(params: &PhantomParams, out: &Path) -> Result<(), PhantomError> {
    params.validate()?;
    let (images, masks) = (out.join("images"), out.join("masks"));
    for folder in [&images, &masks] {
        fs::create_dir_all(folder).map_err(|source| PhantomError::Write { path: folder.clone(), source })?;
    }
    (0..params.images).into_par_iter().try_for_each(|index| {
        let scene = scene(params, index);
        let name = format!("{}.png", sample_id(index));
        let (width, height) = scene.image.dimensions();
        write_png(&images.join(&name), scene.image.as_raw(), (width, height), ExtendedColorType::Rgb8)?;
        write_png(&masks.join(&name), scene.mask.as_raw(), (width, height), ExtendedColorType::L8)
    })?;
    let mut table = String::from("id,split\n");
    for index in 0..params.images {
        table.push_str(&format!("{},{}\n", sample_id(index), params.split(index).name()));
    }
    write(&out.join("splits.csv"), table.as_bytes())
}

fn write_png(
    path: &Path,
    pixels: &[u8],
    size: (u32, u32),
    color: ExtendedColorType,
) -> Result<(), PhantomError> {
    let mut bytes = Vec::new();
    // Settings of its own, not the encoder's defaults, which may change.
    PngEncoder::new_with_quality(&mut bytes, CompressionType::Level(3), FilterType::Adaptive)
        .write_image(pixels, size.0, size.1, color)
        .map_err(|source| PhantomError::Encode { path: path.to_path_buf(), source })?;
    write(path, &bytes)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), PhantomError> {
    fs::write(path, bytes).map_err(|source| PhantomError::Write { path: path.to_path_buf(), source })
}
