//! What a person points at in an image, and what `cargo xtask predict` and its program say to each other.
//!
//! - [`WrittenPrompt`]: a [`Prompt`] whose mask is a file, and where it was written.
//! - [`file::read`]: many of them, from CSV or JSON.
//! - [`job`]: the work that the runner hands to the program, and the lines that come back.
//!
//! The crate checks what can be checked without pixels. It knows neither the model nor where images are kept.

#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod arrange;
pub mod file;
pub mod job;
mod written;

pub use arrange::{ArrangeError, arrange};
pub use resect_prompt::{BoxPrompt, Label, PointPrompt, Prompt, PromptError};
pub use written::WrittenPrompt;
