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
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_a_limit_names_the_flag() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.png");
        image::RgbImage::new(40, 30).save(&path).unwrap();
        let length = std::fs::metadata(&path).unwrap().len();
        let limits = |max_pixels, max_bytes| Limits { max_pixels, max_bytes };
        assert_eq!(size(&path, limits(1200, length)), Ok(Size::new(30, 40)));
        assert_eq!(bytes(&path, limits(1, length)).unwrap().len() as u64, length);
        let pixels = size(&path, limits(1199, length)).unwrap_err();
        assert_eq!(pixels, "it has 40x30 pixels, more than --max-pixels = 1199");
        let most = length - 1;
        let expected = format!("it has {length} bytes, more than --max-bytes = {most}");
        assert_eq!(size(&path, limits(1200, most)), Err(expected.clone()));
        assert_eq!(bytes(&path, limits(1200, most)), Err(expected));
    }
}
