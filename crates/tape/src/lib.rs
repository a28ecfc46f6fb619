//! Fused layers on slices of `f32`, and their gradients.
//!
//! A [`Tape`] runs the layers of a model on one sample and notes them; [`Tape::backward`] goes back through the notes. Its unit
//! is a whole layer (a product with bias and activation, a norm with the sum before it, an attention with all its heads), so a
//! step is a few dozen products and few passes over memory. All buffers are kept for the next sample. Gradients of
//! parameters are left to [`gradients`], which sums them over the samples of a batch, one parameter after the other.
//!
//! Operands of products are rounded to the tape's [`Precision`](resect_numeric::Precision): the two of each product, and gradients where they enter one.
//!
//! No result depends on the number of threads: sums run in an order that depends on sizes alone.
//!
//! ```
//! use resect_tape::{Activation, Linear, Tape, gradients};
//!
//! let parameters = vec![vec![2.0, 3.0], vec![1.0]]; // a weight [2, 1] and a bias [1]
//! let mut tape = Tape::default();
//! let x = tape.constant(2, &[1.0, 10.0]);
//! let y = tape.linear(&parameters, Linear { weight: 0, bias: 1 }, x, Activation::None);
//! assert_eq!(tape.value(y), [33.0]);
//! tape.backward(&parameters, y, [1.0].into_iter());
//! let mut sums = vec![vec![0.0; 2], vec![0.0; 1]];
//! gradients(&[&tape], &mut sums);
//! assert_eq!(sums, [vec![1.0, 10.0], vec![1.0]]);
//! ```

mod attention;
mod tape;

pub use tape::{Activation, Linear, Norm, Tape, Value, gradients};
