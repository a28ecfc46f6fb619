//! SAM checkpoints as Hugging Face's `transformers` lays them out on disk.
//!
//! ```text
//! checkpoint/
//!   config.json                the sizes of the model: [`SamConfig`]
//!   model.safetensors          every weight, by the names of `SamModel.state_dict()`: [`tensors`]
//!   preprocessor_config.json   how images are resized and normalised; written, never needed here
//! ```
//!
//! The crate knows names, shapes and bytes. It does not know burn, devices or what a layer computes; `resect-sam` builds
//! the model out of what is read here.
//!
//! Reading is strict. A checkpoint that lacks a tensor, holds one too many or one of another shape is refused with one
//! error that names them all, because a model that is half loaded in silence looks exactly like one that trains badly.

#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod checkpoint;
mod config;
mod error;
mod file;
mod random;
mod table;

pub use checkpoint::{CONFIG_FILE, Checkpoint, PREPROCESSOR_FILE, WEIGHTS_FILE};
pub use config::{Activation, DecoderConfig, NAMED_CONFIGS, PromptConfig, SamConfig, VisionConfig};
pub use error::{ConfigError, Error, Mismatch, Misshapen};
pub use file::{NamedTensor, TensorFile, check_tensors, write_safetensors};
pub use random::{random, write_random};
pub use table::{
    POSITIONAL_EMBEDDING, POSITIONAL_EMBEDDING_ALIAS, ParameterCounts, Part, TensorSpec, parameter_counts,
    part_tensors, tensors,
};
