//! The names of number formats, activations and places of the model, defined once for settings, checkpoints, kernels and models.
//!
//! [`Precision`] is the format of the operands of products, [`Dtype`] the format of numbers on disk, [`Activation`] a pointwise
//! nonlinearity of a model. [`Place`] and [`BlockLayer`] name
//! places in the image encoder.

mod activation;
mod dtype;
mod place;
mod precision;

pub use activation::Activation;
pub use dtype::Dtype;
pub use place::{BlockLayer, Place};
pub use precision::Precision;
