//! Whether a GPU encodes as the CPU does.

use resect_checkpoint::Checkpoint;
use resect_device::{DeviceError, NARROW_TOLERANCE, SINGLE_TOLERANCE, compare};
use resect_params::Precision;

use crate::EmbedError;
use crate::encode::{Encoder, on_cpu, pixels};
use crate::rows::Row;

/// Encodes an image on the CPU, too. The largest difference, as a share of the embedding's largest magnitude.
pub(crate) fn agrees(encoder: &Encoder, checkpoint: &Checkpoint, row: Row<'_>) -> Result<f32, EmbedError> {
    let (dtype, precision) = (encoder.dtype(), encoder.precision());
    let reference = Encoder::load(&on_cpu, checkpoint, dtype, precision)?;
    let pixels = pixels(&[row], checkpoint.config().image_size())?;
    let what = format!("the embedding of image {}", row.image.id);
    let tolerance = if precision == Precision::F32 { SINGLE_TOLERANCE } else { NARROW_TOLERANCE };
    compare(&what, &encoder.encode(&[row], pixels.clone())?, &reference.encode(&[row], pixels)?, tolerance)
        .map_err(|disagreement| DeviceError::Disagrees(disagreement).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use resect_checkpoint::{SamConfig, write_random};
    use resect_data::embeddings::Dtype;
    use resect_data::images::ImageRef;
    use resect_geometry::{Size, View};

    #[test]
    fn an_encoder_of_other_weights_is_told_from_one_that_agrees() {
        let dir = tempfile::tempdir().unwrap();
        let checkpoints = [1, 2].map(|seed| {
            let path = dir.path().join(seed.to_string());
            write_random(&path, &SamConfig::named("tiny").unwrap(), seed).unwrap();
            Checkpoint::open(&path).unwrap()
        });
        let resized = Size::new(256, 256);
        let pixels: Vec<u8> = (0..3 * resized.pixels()).map(|i| (i * i % 251) as u8).collect();
        let image = ImageRef { id: "polyp-3", pixel_hash: "", original: resized, resized, pixels: &pixels };
        let row = Row { image, view: View::Identity };
        // An encoder of other weights stands for a GPU that computes something else.
        let single = Precision::F32;
        let encoder = Encoder::load(&on_cpu, &checkpoints[0], Dtype::F32, single).unwrap();
        assert_eq!(agrees(&encoder, &checkpoints[0], row).unwrap(), 0.0);
        let error = agrees(&encoder, &checkpoints[1], row).unwrap_err().to_string();
        for part in ["the embedding of image polyp-3 differs by", "is allowed", "--device cpu"] {
            assert!(error.contains(part), "{part} is not in\n{error}");
        }
    }
}
