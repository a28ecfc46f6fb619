//! The image encoder of the Segment Anything Model (Kirillov et al., 2023): images to embeddings.
//!
//! ```text
//! image [b, 3, S, S] ──▶ image_encoder ──▶ embedding [b, C, g, g]
//! ```
//!
//! `S` is the side of the square input in pixels, `g = S / patch` the grid, `C` the embedding's channels, `b` images. Prompt encoder and
//! mask decoder are in `resect-sam`: a stage that encodes does not depend on them.
//!
//! The encoder is wired once, on the layers of `resect-layers`, and computes on any backend, with gradients where the backend keeps a
//! graph. It computes in single precision, or with the operands of its products rounded to a narrower format
//! ([`ImageEncoder::with_precision`]).

mod device;
mod error;
mod image_encoder;
pub mod memory;
mod preprocess;

pub use device::{Agreement, Encoder, compare_with_cpu, numbers};
pub use error::EncoderError;
pub use image_encoder::{ImageEncoder, VISION_ENCODER, feature_shape};
pub use preprocess::{IMAGE_MEAN, IMAGE_STD, normalise};
