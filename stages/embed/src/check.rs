//! Whether a GPU encodes as the CPU does.

use resect_checkpoint::Checkpoint;
use resect_device::{DeviceError, NARROW_TOLERANCE, SINGLE_TOLERANCE, compare};
use resect_numeric::Precision;

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
mod tests;
