//! SAM checkpoints on disk, as Hugging Face's `transformers` lays them out:
//!
//! ```text
//! checkpoint/
//!   config.json                the sizes of the model: [`SamConfig`]
//!   model.safetensors          every weight, by the names of `SamModel.state_dict()`: [`tensors`]
//!   preprocessor_config.json   how images are resized and normalised; written, never needed here
//! ```
//!
//! and as the original code does: one file, safetensors or PyTorch's `.pth`, with names of its own ([`original_names`]) and no
//! `config.json`, whose sizes are read off the shapes. Whatever was read, tensors go by the names of `transformers` from there on.
//!
//! The crate knows names, shapes and bytes. It does not know burn, devices or what a layer computes; `resect-encoder` and
//! `resect-sam` build the model out of what is read here.
//!
//! Reading is strict. A checkpoint that lacks a tensor, holds one too many or one of another shape is refused with one
//! error that names them all, because a model that is half loaded in silence looks exactly like one that trains badly.

#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod checkpoint;
mod config;
mod error;
mod file;
mod original;
mod pickle;
mod random;
mod state_dict;
mod table;

pub use checkpoint::{CONFIG_FILE, Checkpoint, Layout, PREPROCESSOR_FILE, Replaced, WEIGHTS_FILE};
pub use config::{DecoderConfig, NAMED_CONFIGS, PromptConfig, SamConfig, VisionConfig};
pub use error::{ConfigError, Error, Mismatch, Misshapen};
pub use file::{NamedTensor, TensorFile, check_shapes, check_tensors, write_safetensors};
pub use original::original_names;
pub use pickle::PickleError;
#[doc(hidden)]
pub use pickle::{pickle_of, pickled_shapes};
pub use random::{random, write_random};
pub use state_dict::StateDictError;
pub use table::{
    POSITIONAL_EMBEDDING, POSITIONAL_EMBEDDING_ALIAS, ParameterCounts, Part, TensorSpec, parameter_counts,
    part_tensors, tensors,
};
