//! What the settings of all stages share.
//!
//! The settings that shape a stage's output are in a crate for each stage (`ingest-params`, `embed-params`, `train-params`,
//! `evaluate-params`), so that an edit to the settings of one stage leaves the keys of the others alone. This crate has what their
//! checks share ([`Problems`]), and [`Runtime`], the settings that change no byte of any artifact and enter no key.

mod problems;
mod runtime;

pub use problems::{Invalid, Problems, is_share};
pub use runtime::Runtime;
