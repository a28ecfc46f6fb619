use crate::{LoraLayer, Tuning, TuningError};
use resect_checkpoint::{Checkpoint, NamedTensor, SamConfig, TensorSpec, check_shapes, tensors};
use std::collections::BTreeMap;

/// A tuned model: a base checkpoint, and the tensors that tuning changed or added.
///
/// [`Tuned::tensor`] gives the tensors of the merged model, which has the base's layers and nothing else.
#[derive(Debug)]
pub struct Tuned<'a> {
    base: &'a Checkpoint,
    tuning: Tuning,
    lora: Vec<LoraLayer>,
    tensors: BTreeMap<String, NamedTensor>,
}

impl Tuning {
    /// The name and shape of every tensor that tuning changes or adds, in the order of the model, additions last.
    ///
    /// # Errors
    /// Blocks that the model does not have.
    pub fn tuned(&self, config: &SamConfig) -> Result<Vec<(String, Vec<usize>)>, TuningError> {
        let blocks = self.blocks(config)?;
        let changed = tensors(config).into_iter().filter(|spec| self.changes(&spec.name, &blocks, config));
        let mut all: Vec<_> = changed.map(|TensorSpec { name, shape, .. }| (name, shape)).collect();
        for layer in self.lora(config)? {
            let shapes = layer.shapes(self.rank());
            all.extend(layer.factors().into_iter().zip(shapes.map(|shape| shape.to_vec())));
        }
        Ok(all)
    }

    /// Tensors by their names, when they are those of [`Tuning::tuned`].
    ///
    /// # Errors
    /// A choice that does not fit the model; tensors that are missing, of another shape, or of no layer that is tuned, all named.
    pub fn matched(
        &self,
        config: &SamConfig,
        tensors: Vec<NamedTensor>,
    ) -> Result<BTreeMap<String, NamedTensor>, TuningError> {
        let expected = self.tuned(config)?;
        let expected = expected.iter().map(|(name, shape)| (name.as_str(), None, shape.as_slice()));
        check_shapes(expected, tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.shape.as_slice())))?;
        Ok(tensors.into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect())
    }
}

impl<'a> Tuned<'a> {
    /// A base with the tensors that `tuning` names.
    ///
    /// # Errors
    /// As [`Tuning::matched`].
    pub fn new(
        base: &'a Checkpoint,
        tuning: &Tuning,
        tensors: Vec<NamedTensor>,
    ) -> Result<Self, TuningError> {
        let config = base.config();
        let (lora, tensors) = (tuning.lora(config)?, tuning.matched(config, tensors)?);
        Ok(Self { base, tuning: tuning.clone(), lora, tensors })
    }

    /// The base checkpoint.
    pub fn base(&self) -> &'a Checkpoint {
        self.base
    }

    /// What was tuned.
    pub fn tuning(&self) -> &Tuning {
        &self.tuning
    }

    /// The tensors that were changed or added, by their names.
    pub fn tensors(&self) -> &BTreeMap<String, NamedTensor> {
        &self.tensors
    }

    /// Whether a tensor of the merged model, by its name, differs from the base's.
    pub fn changes(&self, name: &str) -> bool {
        self.tensors.contains_key(name) || self.lora.iter().any(|layer| layer.weight() == name)
    }

    /// A tensor of the merged model by its name, in single precision.
    ///
    /// # Errors
    /// A tensor that the base does not have, or that cannot be read.
    pub fn tensor(&self, name: &str) -> Result<NamedTensor, resect_checkpoint::Error> {
        if let Some(tensor) = self.tensors.get(name) {
            return Ok(tensor.clone());
        }
        let mut tensor = self.base.tensor(name)?;
        for layer in self.lora.iter().filter(|layer| layer.weight() == name) {
            let [a, b] = layer.factors();
            // Both are there: `new` checked it.
            if let (Some(a), Some(b)) = (self.tensors.get(&a), self.tensors.get(&b)) {
                layer.add_to(&mut tensor.data, [&a.data, &b.data], self.tuning.scale());
            }
        }
        Ok(tensor)
    }
}
