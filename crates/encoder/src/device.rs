//! The image encoder of a checkpoint on a device, and whether the device encodes as the CPU does.
//!
//! `embed` and the inference library load the encoder here, and both compare a device with the CPU here.

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use resect_checkpoint::Checkpoint;
use resect_device::{DeviceError, NARROW_TOLERANCE, SINGLE_TOLERANCE, compare};
use resect_layers::{Cpu, Layers};
use resect_numeric::Precision;

use crate::{EncoderError, ImageEncoder};

/// The image encoder of a checkpoint, on a device.
pub struct Encoder<B: Backend> {
    model: ImageEncoder<B>,
    /// Side of the model input in pixels.
    side: usize,
    precision: Precision,
    device: B::Device,
}

impl<B: Layers> Encoder<B> {
    /// Loads the encoder, and nothing else of the checkpoint. The operands of its products are rounded to `precision`.
    ///
    /// # Errors
    /// Tensors that cannot be read.
    pub fn load(
        checkpoint: &Checkpoint,
        precision: Precision,
        device: &B::Device,
    ) -> Result<Self, EncoderError> {
        let model = ImageEncoder::load(checkpoint, device)?.with_precision(precision);
        Ok(Self { model, side: checkpoint.config().image_size(), precision, device: device.clone() })
    }

    /// Side of the model input in pixels.
    pub fn side(&self) -> usize {
        self.side
    }

    /// What the operands of products are rounded to.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Pixels `[n, 3, S, S]`, normalised and padded ([`crate::normalise`]), to embeddings `[n, C, g, g]`. A GPU computes them after
    /// this returns; reading the tensor waits for it.
    ///
    /// # Errors
    /// Numbers that are not a whole number of images.
    pub fn forward(&self, pixels: Vec<f32>) -> Result<Tensor<B, 4>, EncoderError> {
        let side = self.side;
        let images = pixels.len() / (3 * side * side);
        if pixels.len() != images * 3 * side * side {
            return Err(EncoderError::Pixels { found: pixels.len(), side });
        }
        let pixels = TensorData::new(pixels, [images, 3, side, side]);
        Ok(B::within(|| self.model.forward(Tensor::from_data(pixels, &self.device))))
    }
}

/// The numbers of a tensor in single precision, row by row. It waits for the device.
pub fn numbers<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().convert::<f32>().iter().collect()
}

/// A device encoded an image as the CPU does.
#[derive(Clone, Debug, PartialEq)]
pub struct Agreement {
    /// The largest difference, as a share of the embedding's largest magnitude.
    pub difference: f32,
    /// The CPU's embedding, `C * g * g` numbers.
    pub expected: Vec<f32>,
}

/// Encodes one image on the CPU, too, and compares. `what` names the embedding in messages; `pixels` are `[1, 3, S, S]` as for
/// [`Encoder::forward`].
///
/// # Errors
/// Embeddings that differ by more than the precision explains; a checkpoint that cannot be read.
pub fn compare_with_cpu<B: Layers>(
    encoder: &Encoder<B>,
    checkpoint: &Checkpoint,
    what: &str,
    pixels: Vec<f32>,
) -> Result<Agreement, EncoderError> {
    let reference = Encoder::<Cpu>::load(checkpoint, encoder.precision, &Default::default())?;
    let found = numbers(encoder.forward(pixels.clone())?);
    let expected = numbers(reference.forward(pixels)?);
    let tolerance = match encoder.precision {
        Precision::F32 => SINGLE_TOLERANCE,
        Precision::Bf16 | Precision::F16 => NARROW_TOLERANCE,
    };
    let difference = compare(what, &found, &expected, tolerance).map_err(DeviceError::Disagrees)?;
    Ok(Agreement { difference, expected })
}

#[cfg(test)]
mod tests;
