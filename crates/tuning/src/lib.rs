//! What is tuned of a SAM.
//!
//! [`Tuning`] is the choice, as it stands in the settings of `train` and in a checkpoint. [`Tuning::tuned`] resolves it for a model:
//! the tensors that are changed or added, by their names. [`Tuned`] is a tuned model, a base checkpoint with such tensors, and merges
//! them: inference and export read the merged model here, so that there is one way to merge.
//!
//! Names are those of `transformers`; the factors of LoRA are named as by peft, beside the layer's weight. A low-rank addition to the
//! queries of a block, which `transformers` has no layer of its own for, is `vision_encoder.layers.N.attn.q.lora_A.weight`.

mod blocks;
mod choice;
mod error;
mod lora;
mod merge;
mod peft;

pub use blocks::Blocks;
pub use choice::{
    DecoderTune, DecoderTuning, EncoderPart, EncoderTune, EncoderTuning, STRATEGIES, Tuning, table,
};
pub use error::TuningError;
pub use lora::{LoraLayer, LoraTarget};
pub use merge::Tuned;
pub use peft::{Adapter, CONFIG as ADAPTER_CONFIG_FILE, WEIGHTS as ADAPTER_WEIGHTS_FILE, write_peft};
