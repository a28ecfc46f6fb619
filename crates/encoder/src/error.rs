//! What can be wrong with the encoder's inputs.

use resect_layers::LoadError;

/// The encoder could not be loaded, or was given an image that it cannot take.
#[derive(Debug, thiserror::Error)]
pub enum EncoderError {
    /// A tensor of the checkpoint could not be read, or is of no use.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The configuration describes no model that can be built.
    #[error(transparent)]
    Config(#[from] resect_checkpoint::ConfigError),
    /// An image does not have the size it claims, or is too large for the model.
    #[error("image of {height} x {width} pixels and {bytes} bytes: {message}")]
    Image {
        /// Its height in pixels.
        height: usize,
        /// Its width in pixels.
        width: usize,
        /// Its length in bytes.
        bytes: usize,
        /// What is wrong with it.
        message: String,
    },
    /// The device computes something else than the CPU.
    #[error(transparent)]
    Device(#[from] resect_device::DeviceError),
    /// Numbers that are not a whole number of images.
    #[error("{found} numbers were given to the image encoder, which takes 3 x {side} x {side} for an image")]
    Pixels {
        /// How many numbers there are.
        found: usize,
        /// Side of the model input.
        side: usize,
    },
}
