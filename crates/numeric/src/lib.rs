//! The names of number formats and activations, defined once for settings, checkpoints, kernels and models.
//!
//! [`Precision`] is the format of the operands of products, [`Dtype`] the format of numbers on disk, [`Activation`] a pointwise
//! nonlinearity of a model.

mod activation;
mod dtype;
mod precision;

pub use activation::Activation;
pub use dtype::Dtype;
pub use precision::Precision;
