//! Fused layers of a model on slices of `f32`, forward and backward: products, attention, norms, activations and what belongs to
//! them.
//!
//! Loops are compiled for the widest vectors that the processor has ([`vectorised`]), products are those of the `gemm` crate
//! ([`matmul()`]). Sums run in an order that depends on sizes alone, so no result depends on the number of threads. Operands of
//! products are rounded to a [`Precision`]: the two of each product, and gradients where they enter one.
//!
//! The crate knows no tensors and no graph: `resect-layers` makes layers of a backend of these.
//!
//! [`Precision`]: resect_numeric::Precision

mod activation;
mod blocks;
mod buffer;
mod cross_attention;
mod elementwise;
mod image;
mod linear;
mod matmul;
mod norm;
mod rounding;
mod square;
mod square_attention;
mod transpose;
mod vector;

pub use activation::{Slope, Upstream, activate_each};
pub use blocks::{by_rows, each_item, each_item_with};
pub use buffer::{Buffer, release};
pub use cross_attention::CrossAttention;
pub use elementwise::{add_to, copy, sum_of};
pub use image::{Masks, neighbourhoods, neighbourhoods_backward, to_rows};
pub use linear::{Linear, Target, norm_mlp};
pub use matmul::{Accumulate, Matrix, matmul};
pub use norm::{Kept, Norm};
pub use rounding::{operand, round};
pub use square::Positions;
pub use square_attention::{SquareAttention, SquareTargets};
pub use transpose::transpose;
pub use vector::{
    dot, each, each2, exp_negative, gelu, gelu_in_place, ln_1p_unit, relu_in_place, squares_about, sum,
    vectorised,
};
