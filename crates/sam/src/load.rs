//! Weights into the model and out of it.
//!
//! Fields are named as in `transformers`, so the way to a parameter is its name in the checkpoint. What differs is burn's:
//! a norm's weight and bias are `gamma` and `beta`, and a linear weight is `[in, out]`, the transpose of PyTorch's.

use std::collections::{BTreeMap, HashMap};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Tensor, TensorData, backend::Backend};
use resect_checkpoint::{Checkpoint, NamedTensor, Part, SamConfig, check_tensors, part_tensors, random};
use resect_kernels::transpose;

use crate::{Error, ImageEncoder, MaskDecoder, PromptEncoder, Sam};

const VISION_ENCODER: &str = "vision_encoder";
const PROMPT_ENCODER: &str = "prompt_encoder";
const MASK_DECODER: &str = "mask_decoder";

impl<B: Backend> Sam<B> {
    /// Loads the whole model.
    ///
    /// # Errors
    /// A tensor that cannot be read.
    pub fn load(checkpoint: &Checkpoint, device: &B::Device) -> Result<Self, Error> {
        Ok(Self {
            vision_encoder: ImageEncoder::load(checkpoint, device)?,
            prompt_encoder: PromptEncoder::load(checkpoint, device)?,
            mask_decoder: MaskDecoder::load(checkpoint, device)?,
        })
    }

    /// The whole model with the random weights of [`resect_checkpoint::random`].
    ///
    /// # Errors
    /// A configuration of which no model can be built.
    pub fn random(config: &SamConfig, seed: u64, device: &B::Device) -> Result<Self, Error> {
        config.validate()?;
        let mut source = random_source(config, seed);
        Ok(Self {
            vision_encoder: loaded(ImageEncoder::new(config, device), VISION_ENCODER, &mut source, device)?,
            prompt_encoder: loaded(PromptEncoder::new(config, device), PROMPT_ENCODER, &mut source, device)?,
            mask_decoder: loaded(MaskDecoder::new(config, device), MASK_DECODER, &mut source, device)?,
        })
    }
}

impl<B: Backend> ImageEncoder<B> {
    /// Loads the image encoder alone.
    ///
    /// # Errors
    /// A tensor that cannot be read.
    pub fn load(checkpoint: &Checkpoint, device: &B::Device) -> Result<Self, Error> {
        let source = &mut |name: &str| Ok(checkpoint.tensor(name)?);
        loaded(Self::new(checkpoint.config(), device), VISION_ENCODER, source, device)
    }
}

impl<B: Backend> PromptEncoder<B> {
    /// Loads the prompt encoder alone, the shared positional frequencies with it.
    ///
    /// # Errors
    /// A tensor that cannot be read.
    pub fn load(checkpoint: &Checkpoint, device: &B::Device) -> Result<Self, Error> {
        let source = &mut |name: &str| Ok(checkpoint.tensor(name)?);
        loaded(Self::new(checkpoint.config(), device), PROMPT_ENCODER, source, device)
    }
}

impl<B: Backend> MaskDecoder<B> {
    /// Loads the mask decoder alone.
    ///
    /// # Errors
    /// A tensor that cannot be read.
    pub fn load(checkpoint: &Checkpoint, device: &B::Device) -> Result<Self, Error> {
        let source = &mut |name: &str| Ok(checkpoint.tensor(name)?);
        loaded(Self::new(checkpoint.config(), device), MASK_DECODER, source, device)
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
        let source = &mut |name: &str| tensors.remove(name).ok_or_else(|| unknown(name));
        loaded(Self::new(config, device), MASK_DECODER, source, device)
    }

    /// Every parameter by its Hugging Face name and in its layout, to be saved.
    pub fn tensors(&self) -> Vec<NamedTensor> {
        named_tensors(self, MASK_DECODER)
    }

    /// The Hugging Face name of every parameter, beside the identity by which an optimiser knows it.
    ///
    /// Identities are drawn anew each time a model is built: whatever is kept per parameter on disk has to be kept by name.
    pub fn parameter_names(&self) -> Vec<(String, ParamId)> {
        let mut names = Names { path: Path::new(MASK_DECODER), found: Vec::new() };
        self.visit(&mut names);
        names.found
    }
}

/// The random tensors of a configuration, by their names.
pub(crate) fn random_source(
    config: &SamConfig,
    seed: u64,
) -> impl FnMut(&str) -> Result<NamedTensor, Error> + use<> {
    let tensors: HashMap<_, _> = random(config, seed).map(|t| (t.name.clone(), t)).collect();
    move |name| {
        let name = if name == resect_checkpoint::POSITIONAL_EMBEDDING_ALIAS {
            resect_checkpoint::POSITIONAL_EMBEDDING
        } else {
            name
        };
        tensors.get(name).cloned().ok_or_else(|| unknown(name))
    }
}

fn unknown(name: &str) -> Error {
    Error::Parameter { name: name.into(), message: "no tensor of this name".into() }
}

/// Replaces every parameter of a module by the tensor of its name.
fn loaded<B: Backend, M: Module<B>>(
    module: M,
    prefix: &'static str,
    source: &mut dyn FnMut(&str) -> Result<NamedTensor, Error>,
    device: &B::Device,
) -> Result<M, Error> {
    let mut loader = Loader::<B> { path: Path::new(prefix), source, device, failed: None };
    let module = module.map(&mut loader);
    match loader.failed {
        Some(error) => Err(error),
        None => Ok(module),
    }
}

fn named_tensors<B: Backend, M: Module<B>>(module: &M, prefix: &'static str) -> Vec<NamedTensor> {
    let mut saver = Saver { path: Path::new(prefix), found: Vec::new() };
    module.visit(&mut saver);
    saver.found
}

/// Where a walk over a module's parameters is.
struct Path {
    prefix: &'static str,
    fields: Vec<String>,
    /// The type of what each field belongs to, as burn names it.
    owners: Vec<String>,
}

impl Path {
    fn new(prefix: &'static str) -> Self {
        Self { prefix, fields: Vec::new(), owners: Vec::new() }
    }

    fn enter(&mut self, field: &str, owner: &str) {
        self.fields.push(field.into());
        self.owners.push(owner.into());
    }

    fn exit(&mut self) {
        self.fields.pop();
        self.owners.pop();
    }

    /// The parameter's name in the checkpoint.
    fn name(&self) -> String {
        let mut parts = vec![self.prefix];
        parts.extend(self.fields.iter().map(String::as_str));
        if self.owner() == "Struct:LayerNorm"
            && let Some(last) = parts.last_mut()
        {
            *last = match *last {
                "gamma" => "weight",
                "beta" => "bias",
                other => other,
            };
        }
        parts.join(".")
    }

    /// Whether the checkpoint holds the parameter transposed.
    fn is_transposed(&self) -> bool {
        self.owner() == "Struct:Linear" && self.fields.last().is_some_and(|field| field == "weight")
    }

    fn owner(&self) -> &str {
        self.owners.last().map_or("", String::as_str)
    }
}

struct Loader<'a, B: Backend> {
    path: Path,
    source: &'a mut dyn FnMut(&str) -> Result<NamedTensor, Error>,
    device: &'a B::Device,
    /// The first thing that went wrong; a mapper cannot return it.
    failed: Option<Error>,
}

impl<B: Backend> Loader<'_, B> {
    fn read<const D: usize>(&mut self, expected: &[usize]) -> Result<Tensor<B, D>, Error> {
        let name = self.path.name();
        let mut tensor = (self.source)(&name)?;
        if self.path.is_transposed() {
            tensor = transposed(tensor);
        }
        if tensor.shape != expected {
            let message = format!("the model has the shape {expected:?}, the tensor {:?}", tensor.shape);
            return Err(Error::Parameter { name, message });
        }
        Ok(Tensor::from_data(TensorData::new(tensor.data, tensor.shape), self.device))
    }
}

impl<B: Backend> ModuleMapper<B> for Loader<'_, B> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        // The shape is known without drawing the random weights that burn would start from, and they are never drawn.
        let shape: Vec<usize> = param.lazy_shape().to_vec();
        match self.read(&shape) {
            Ok(tensor) => Param::initialized(param.id, tensor.require_grad()),
            Err(error) => {
                self.failed.get_or_insert(error);
                param
            }
        }
    }
}

struct Saver {
    path: Path,
    found: Vec<NamedTensor>,
}

impl<B: Backend> ModuleVisitor<B> for Saver {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let value = param.val();
        let shape = value.dims().to_vec();
        let data = value.into_data().convert::<f32>().iter::<f32>().collect();
        let tensor = NamedTensor { name: self.path.name(), shape, data };
        self.found.push(if self.path.is_transposed() { transposed(tensor) } else { tensor });
    }
}

struct Names {
    path: Path,
    found: Vec<(String, ParamId)>,
}

impl<B: Backend> ModuleVisitor<B> for Names {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        self.found.push((self.path.name(), param.id));
    }
}

fn transposed(tensor: NamedTensor) -> NamedTensor {
    let [rows, cols] = tensor.shape[..] else { return tensor };
    let mut data = vec![0.0; tensor.data.len()];
    transpose(&tensor.data, [rows, cols], &mut data);
    NamedTensor { name: tensor.name, shape: vec![cols, rows], data }
}

#[cfg(test)]
mod tests;
