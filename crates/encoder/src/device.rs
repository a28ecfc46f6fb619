//! The image encoder of a checkpoint on a device, and whether the device encodes as the CPU does.
//!
//! `embed` and the inference library load the encoder here, and both compare a device with the CPU here.

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use resect_checkpoint::{Checkpoint, SamConfig};
use resect_device::{DeviceError, NARROW_TOLERANCE, SINGLE_TOLERANCE, compare};
use resect_layers::{Cpu, Layers, LoadError, Source};
use resect_numeric::{Place, Precision};

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
        let source = &mut |name: &str| checkpoint.tensor(name).map_err(LoadError::from);
        Self::from_source(checkpoint.config(), source, precision, device)
    }

    /// The encoder whose tensors a source gives by their Hugging Face names.
    ///
    /// # Errors
    /// A tensor that the source does not give, or of another shape.
    pub fn from_source(
        config: &SamConfig,
        source: Source<'_>,
        precision: Precision,
        device: &B::Device,
    ) -> Result<Self, EncoderError> {
        let model = ImageEncoder::from_source(config, source, device)?.with_precision(precision);
        Ok(Self { model, side: config.image_size(), precision, device: device.clone() })
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
        self.forward_to(Place::Neck, pixels)
    }

    /// [`Encoder::forward`] as far as a place, to the features there ([`ImageEncoder::forward_to`]).
    ///
    /// # Errors
    /// As [`Encoder::forward`].
    pub fn forward_to(&self, place: Place, pixels: Vec<f32>) -> Result<Tensor<B, 4>, EncoderError> {
        let side = self.side;
        let images = pixels.len() / (3 * side * side);
        if pixels.len() != images * 3 * side * side {
            return Err(EncoderError::Pixels { found: pixels.len(), side });
        }
        let pixels = TensorData::new(pixels, [images, 3, side, side]);
        Ok(B::within(|| self.model.forward_to(place, Tensor::from_data(pixels, &self.device))))
    }
}

impl<B: Layers> Encoder<B> {
    /// Features at a place, as [`ImageEncoder::forward_from`] takes them, to embeddings `[n, C, g, g]`.
    pub fn forward_from(&self, place: Place, features: Tensor<B, 4>) -> Tensor<B, 4> {
        B::within(|| self.model.forward_from(place, features))
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
    /// The CPU's features.
    pub expected: Vec<f32>,
}

/// Encodes one image as far as a place on the CPU, too, with `reference`, the same encoder there, and compares. `what` names the
/// features in messages; `pixels` are `[1, 3, S, S]` as for [`Encoder::forward`].
///
/// # Errors
/// Features that differ by more than the precision explains.
pub fn compare_with_cpu<B: Layers>(
    encoder: &Encoder<B>,
    reference: &Encoder<Cpu>,
    place: Place,
    what: &str,
    pixels: Vec<f32>,
) -> Result<Agreement, EncoderError> {
    let found = numbers(encoder.forward_to(place, pixels.clone())?);
    let expected = numbers(reference.forward_to(place, pixels)?);
    let tolerance = match encoder.precision {
        Precision::F32 => SINGLE_TOLERANCE,
        Precision::Bf16 | Precision::F16 => NARROW_TOLERANCE,
    };
    let difference = compare(what, &found, &expected, tolerance).map_err(DeviceError::Disagrees)?;
    Ok(Agreement { difference, expected })
}

#[cfg(test)]
mod tests;
