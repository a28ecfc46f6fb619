//! The image encoder of a checkpoint on a device: pixels to embeddings.
//!
//! `embed` and the inference library load the encoder here, and both compare a device with the CPU here. The crate knows no
//! prompt and no decoder, so that `embed` does not depend on either.

#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

use std::any::TypeId;

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use resect_checkpoint::Checkpoint;
use resect_device::{DeviceError, NARROW_TOLERANCE, SINGLE_TOLERANCE, compare};
use resect_params::Precision;
use resect_sam::{Cpu, CpuEncoder, EncoderBackend, ImageEncoder};

/// The image encoder could not be used.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The encoder cannot be loaded.
    #[error("the image encoder cannot be built")]
    Model(#[source] Box<resect_sam::Error>),
    /// The device computes something else than the CPU.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// Numbers that are not a whole number of images.
    #[error("{found} numbers were given to the image encoder, which takes 3 x {side} x {side} for an image")]
    Pixels {
        /// How many numbers there are.
        found: usize,
        /// Side of the model input.
        side: usize,
    },
}

/// The image encoder of a checkpoint, on a device.
pub struct Encoder<B: Backend> {
    wiring: Wiring<B>,
    /// Side of the model input in pixels.
    side: usize,
    /// Channels and grid of an embedding, `[C, g, g]`.
    shape: [usize; 3],
    precision: Precision,
    device: B::Device,
}

/// How the encoder computes: the CPU has a wiring of its own, on slices.
enum Wiring<B: Backend> {
    Slices(Box<CpuEncoder>),
    Tensors(Box<ImageEncoder<B>>),
}

impl<B: EncoderBackend> Encoder<B> {
    /// Loads the encoder, and nothing else of the checkpoint. The operands of its products are rounded to `precision`.
    ///
    /// # Errors
    /// Tensors that cannot be read.
    pub fn load(
        checkpoint: &Checkpoint,
        precision: Precision,
        device: &B::Device,
    ) -> Result<Self, EncodeError> {
        let failed = |error: resect_sam::Error| EncodeError::Model(error.into());
        let wiring = if TypeId::of::<B>() == TypeId::of::<Cpu>() {
            Wiring::Slices(Box::new(CpuEncoder::load(checkpoint, precision).map_err(failed)?))
        } else {
            let encoder = ImageEncoder::load(checkpoint, device).map_err(failed)?;
            Wiring::Tensors(Box::new(encoder.with_precision(precision)))
        };
        let config = checkpoint.config();
        Ok(Self {
            wiring,
            side: config.image_size(),
            shape: [config.embedding_channels(), config.grid(), config.grid()],
            precision,
            device: device.clone(),
        })
    }

    /// Side of the model input in pixels.
    pub fn side(&self) -> usize {
        self.side
    }

    /// What the operands of products are rounded to.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Pixels `[n, 3, S, S]`, normalised and padded ([`resect_sam::normalise`]), to embeddings `[n, C, g, g]`. A GPU computes
    /// them after this returns; reading the tensor waits for it.
    ///
    /// # Errors
    /// Numbers that are not a whole number of images.
    pub fn forward(&self, pixels: Vec<f32>) -> Result<Tensor<B, 4>, EncodeError> {
        let side = self.side;
        let images = pixels.len() / (3 * side * side);
        if pixels.len() != images * 3 * side * side {
            return Err(EncodeError::Pixels { found: pixels.len(), side });
        }
        Ok(match &self.wiring {
            Wiring::Slices(encoder) => {
                let [channels, height, width] = self.shape;
                let embeddings = TensorData::new(encoder.forward(&pixels), [images, channels, height, width]);
                Tensor::from_data(embeddings, &self.device)
            }
            Wiring::Tensors(encoder) => encoder
                .forward(Tensor::from_data(TensorData::new(pixels, [images, 3, side, side]), &self.device)),
        })
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
pub fn compare_with_cpu<B: EncoderBackend>(
    encoder: &Encoder<B>,
    checkpoint: &Checkpoint,
    what: &str,
    pixels: Vec<f32>,
) -> Result<Agreement, EncodeError> {
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
