//! Products of matrices, attention, norms and activations on slices of `f32`: what is left of a model when nothing else is.
//!
//! Loops are compiled for the widest vectors that the processor has ([`vectorised`]), products are those of the `gemm` crate
//! ([`matmul()`]). Nothing here has memory of its own: callers bring it. Sums run in an order that depends on sizes alone, so no
//! result depends on the number of threads.
//!
//! `resect-tape` makes layers with gradients of these, `resect-sam` the image encoder, which has none.

mod attention;
mod blocks;
mod matmul;
mod norm;
mod rounding;
mod transpose;
mod vector;

pub use attention::{Positions, Scratch, Square, attend};
pub use blocks::{by_rows, on_lanes};
pub use matmul::{Into, Matrix, matmul};
pub use norm::normalise_rows;
pub use rounding::{operand, round};
pub use transpose::transpose;
pub use vector::{
    dot, each, each2, exp_negative, gelu, gelu_in_place, ln_1p_unit, relu_in_place, squares_about, sum,
    vectorised,
};
