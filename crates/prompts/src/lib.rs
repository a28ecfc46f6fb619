//! What a person points at in an image, and what `cargo xtask predict` and its program say to each other.
//!
//! - [`Prompt`]: a box, points and a mask, or any of these, in pixels of the original, upright image.
//! - [`file::read`]: many of them, from CSV or JSON.
//! - [`job`]: the work that the runner hands to the program, and the lines that come back.
//!
//! The crate checks what can be checked without pixels. It knows neither the model nor where images are kept.

#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod arrange;
pub mod file;
pub mod job;
mod prompt;

pub use arrange::{ArrangeError, arrange};
pub use prompt::{BoxPrompt, Label, PointPrompt, Prompt, PromptError};
