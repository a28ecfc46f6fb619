//! Weights into the model and out of it.
//!
//! Fields are named as in `transformers`, so the way to a parameter is its name in the checkpoint ([`resect_layers::load_module`]).

use std::collections::{BTreeMap, HashMap};

use burn::module::ParamId;
use burn::tensor::backend::Backend;
use resect_checkpoint::{
    Checkpoint, NamedTensor, POSITIONAL_EMBEDDING, POSITIONAL_EMBEDDING_ALIAS, Part, SamConfig,
    check_tensors, part_tensors, random,
};
use resect_layers::{LoadError, Source, load_module, named_tensors, parameter_names};

use crate::{Error, MaskDecoder, PromptEncoder};

const PROMPT_ENCODER: &str = "prompt_encoder";
const MASK_DECODER: &str = "mask_decoder";

impl<B: Backend> PromptEncoder<B> {
    /// Loads the prompt encoder alone, the shared positional frequencies with it.
    ///
    /// # Errors
    /// A tensor that cannot be read.
    pub fn load(checkpoint: &Checkpoint, device: &B::Device) -> Result<Self, Error> {
        let source = &mut |name: &str| checkpoint.tensor(name).map_err(LoadError::from);
        Ok(load_module(Self::new(checkpoint.config(), device), PROMPT_ENCODER, source, device)?)
    }

    /// A prompt encoder with the random weights of [`resect_checkpoint::random`].
    ///
    /// # Errors
    /// A configuration of which no model can be built.
    pub fn random(config: &SamConfig, seed: u64, device: &B::Device) -> Result<Self, Error> {
        config.validate()?;
        let tensors: HashMap<_, _> = random(config, seed).map(|t| (t.name.clone(), t)).collect();
        let source = &mut |name: &str| {
            let name = if name == POSITIONAL_EMBEDDING_ALIAS { POSITIONAL_EMBEDDING } else { name };
            tensors.get(name).cloned().ok_or_else(|| LoadError::unknown(name))
        };
        Ok(load_module(Self::new(config, device), PROMPT_ENCODER, source, device)?)
    }
}

impl<B: Backend> MaskDecoder<B> {
    /// Loads the mask decoder alone.
    ///
    /// # Errors
    /// A tensor that cannot be read.
    pub fn load(checkpoint: &Checkpoint, device: &B::Device) -> Result<Self, Error> {
        let source = &mut |name: &str| checkpoint.tensor(name).map_err(LoadError::from);
        Self::from_source(checkpoint.config(), source, device)
    }

    /// A decoder whose tensors a source gives by their Hugging Face names.
    ///
    /// # Errors
    /// A tensor that the source does not give, or of another shape.
    pub fn from_source(config: &SamConfig, source: Source<'_>, device: &B::Device) -> Result<Self, Error> {
        Ok(load_module(Self::new(config, device), MASK_DECODER, source, device)?)
    }

    /// Builds a decoder from tensors in memory: a tuned one, read with [`resect_checkpoint::TensorFile::read_weights`].
    ///
    /// # Errors
    /// A configuration of which no model can be built; tensors that are missing, unused or misshapen, all named.
    pub fn from_tensors(
        config: &SamConfig,
        tensors: Vec<NamedTensor>,
        device: &B::Device,
    ) -> Result<Self, Error> {
        config.validate()?;
        let specs = part_tensors(config, Part::MaskDecoder);
        check_tensors(&specs, tensors.iter().map(|t| (t.name.as_str(), t.shape.as_slice())))?;
        let mut tensors: BTreeMap<String, NamedTensor> =
            tensors.into_iter().map(|t| (t.name.clone(), t)).collect();
        let source = &mut |name: &str| tensors.remove(name).ok_or_else(|| LoadError::unknown(name));
        Ok(load_module(Self::new(config, device), MASK_DECODER, source, device)?)
    }

    /// Every parameter by its Hugging Face name and in its layout, to be saved.
    pub fn tensors(&self) -> Vec<NamedTensor> {
        named_tensors(self, MASK_DECODER)
    }

    /// The Hugging Face name of every parameter, beside the identity by which an optimiser knows it.
    ///
    /// Identities are drawn anew each time a model is built: whatever is kept per parameter on disk has to be kept by name.
    pub fn parameter_names(&self) -> Vec<(String, ParamId)> {
        parameter_names(self, MASK_DECODER)
    }
}

#[cfg(test)]
mod tests;
