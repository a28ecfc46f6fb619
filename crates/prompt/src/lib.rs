//! What the model is asked: boxes, points and masks.
//!
//! - [`Prompt`] is stated in pixels of the original, upright image, in double precision. People and programs write it.
//! - [`ModelPrompt`] is stated in pixels of the model input, in single precision. The prompt encoder reads it.
//!
//! [`Prompt::to_model`] is the one conversion. The crate parses numbers (`x0,y0,x1,y1`), but no files, and it knows no model.

#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod model;
mod prompt;

pub use model::{CERTAIN, Form, ModelPoint, ModelPrompt, mask_logits};
pub use prompt::{BoxPrompt, Label, MaskPrompt, PointPrompt, Prompt, PromptError};
