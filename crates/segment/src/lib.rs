//! Inference: images and prompts to masks. `evaluate`, `predict` and the checks of devices decode through this crate, so a prompt
//! on an image gives the same mask in each of them.
//!
//! Names follow `SamPredictor` of `segment-anything`:
//!
//! ```text
//! Predictor::load(checkpoint, ...)
//!   ├─ set_image(pixels, size)     ──▶ Session     encodes the image
//!   └─ set_embedding(stored, size) ──▶ Session     takes an encoding that was stored
//!                                        └─ predict(prompts, multimask) ──▶ Prediction of each prompt
//! ```
//!
//! What differs: a [`Session`] is a value, so several images can be set at a time; [`Session::predict`] takes several prompts of
//! mixed forms; `set_image` takes pixels that were resized already, because how they are resized is the business of
//! `resect-pixels`.
//!
//! Below that lies [`Decoders::decode`], which [`Session`] uses, too: prompts on images of their own, through one or more mask
//! decoders of a model. `evaluate` compares the base's and the tuned decoder on the same embeddings that way.
//!
//! Prompts of one form (as many points, a box or none, a mask or none) pass the decoder together, so none is padded: a padded point
//! is a token that attention sees, and a prompt's masks would depend on its neighbours.

#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod check;
mod decode;
mod embedding;
mod error;
mod frame;
mod predictor;

pub use check::{Agreement, compare};
pub use decode::{Decoders, PredictedMask, Prediction, Query, Weights, tuned};
pub use embedding::{ImageEmbedding, Stored};
pub use error::SegmentError;
pub use frame::Frame;
pub use predictor::{Predictor, Session};
