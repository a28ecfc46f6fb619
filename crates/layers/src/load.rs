//! Weights into a module and out of it.
//!
//! Fields are named as in `transformers`, so the way to a parameter is its name in the checkpoint. A linear weight is `[in, out]`
//! here, the transpose of PyTorch's.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Tensor, TensorData, backend::Backend};
use resect_checkpoint::NamedTensor;
use resect_kernels::transpose;

use crate::LoadError;

/// What gives the tensor of a Hugging Face name.
pub type Source<'a> = &'a mut dyn FnMut(&str) -> Result<NamedTensor, LoadError>;

/// A parameter's Hugging Face name, beside the identity by which burn knows it.
///
/// Identities are drawn anew each time a module is built: whatever is kept per parameter on disk has to be kept by name.
pub type Named = (String, ParamId);

/// The error of a source that lacks a tensor.
impl LoadError {
    /// No tensor has this name.
    pub fn unknown(name: &str) -> Self {
        Self::Parameter { name: name.into(), message: "no tensor of this name".into() }
    }
}

/// A module with every parameter replaced by the tensor of its name. Names begin with `prefix`, unless that is empty.
///
/// # Errors
/// A tensor that the source does not give, or of another shape than the parameter's.
pub fn load_module<B: Backend, M: Module<B>>(
    module: M,
    prefix: &'static str,
    source: Source<'_>,
    device: &B::Device,
) -> Result<M, LoadError> {
    load_parameters(module, prefix, |_| true, source, device)
}

/// [`load_module`] of the parameters whose names are `wanted`. The others stay as they are.
///
/// # Errors
/// As [`load_module`].
pub fn load_parameters<B: Backend, M: Module<B>>(
    module: M,
    prefix: &'static str,
    wanted: impl Fn(&str) -> bool,
    source: Source<'_>,
    device: &B::Device,
) -> Result<M, LoadError> {
    let path = Path::new(prefix);
    let mut loader = Loader::<B> { path, wanted: &wanted, source, device, failed: None };
    let module = module.map(&mut loader);
    match loader.failed {
        Some(error) => Err(error),
        None => Ok(module),
    }
}

/// Every parameter of a module by its Hugging Face name and in its layout, to be saved.
pub fn named_tensors<B: Backend, M: Module<B>>(module: &M, prefix: &'static str) -> Vec<NamedTensor> {
    chosen_tensors(module, prefix, |_| true)
}

/// [`named_tensors`] of the parameters whose names are `wanted`.
pub fn chosen_tensors<B: Backend, M: Module<B>>(
    module: &M,
    prefix: &'static str,
    wanted: impl Fn(&str) -> bool,
) -> Vec<NamedTensor> {
    let mut saver = Saver { path: Path::new(prefix), wanted: &wanted, found: Vec::new() };
    module.visit(&mut saver);
    saver.found
}

/// The name and identity of every parameter of a module, in the order in which burn visits them.
pub fn parameter_names<B: Backend, M: Module<B>>(module: &M, prefix: &'static str) -> Vec<Named> {
    Parameters::of(module, prefix).into_iter().map(|parameter| (parameter.name, parameter.id)).collect()
}

/// The name and the shape of every parameter of a module as checkpoints have them, without making any weight.
pub fn parameter_shapes<B: Backend, M: Module<B>>(
    module: &M,
    prefix: &'static str,
) -> Vec<(String, Vec<usize>)> {
    Parameters::of(module, prefix).into_iter().map(|parameter| (parameter.name, parameter.shape)).collect()
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

    /// The parameter's name in the checkpoint. The factors of a low-rank addition are named as by peft, beside the layer's weight.
    fn name(&self) -> String {
        let mut parts = Vec::with_capacity(self.fields.len() + 1);
        parts.extend((!self.prefix.is_empty()).then_some(self.prefix));
        parts.extend(self.fields.iter().filter_map(|field| match field.as_str() {
            "lora" => None,
            "lora_a" => Some("lora_A"),
            "lora_b" => Some("lora_B"),
            field => Some(field),
        }));
        parts.join(".")
    }

    /// Whether the checkpoint holds the parameter transposed.
    fn is_transposed(&self) -> bool {
        ["Struct:Linear", "Struct:Factor"].contains(&self.owner())
            && self.fields.last().is_some_and(|field| field == "weight")
    }

    fn owner(&self) -> &str {
        self.owners.last().map_or("", String::as_str)
    }
}

struct Loader<'a, B: Backend> {
    path: Path,
    wanted: &'a dyn Fn(&str) -> bool,
    source: Source<'a>,
    device: &'a B::Device,
    /// The first thing that went wrong; a mapper cannot return it.
    failed: Option<LoadError>,
}

impl<B: Backend> Loader<'_, B> {
    fn read<const D: usize>(&mut self, expected: &[usize]) -> Result<Tensor<B, D>, LoadError> {
        let name = self.path.name();
        let mut tensor = (self.source)(&name)?;
        if self.path.is_transposed() {
            tensor = transposed(tensor);
        }
        if tensor.shape != expected {
            let message = format!("the model has the shape {expected:?}, the tensor {:?}", tensor.shape);
            return Err(LoadError::Parameter { name, message });
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
        if !(self.wanted)(&self.path.name()) {
            return param;
        }
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

struct Saver<'a> {
    path: Path,
    wanted: &'a dyn Fn(&str) -> bool,
    found: Vec<NamedTensor>,
}

impl<B: Backend> ModuleVisitor<B> for Saver<'_> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let name = self.path.name();
        if !(self.wanted)(&name) {
            return;
        }
        let value = param.val();
        let shape = value.dims().to_vec();
        let data = value.into_data().convert::<f32>().iter::<f32>().collect();
        let tensor = NamedTensor { name, shape, data };
        self.found.push(if self.path.is_transposed() { transposed(tensor) } else { tensor });
    }
}

/// A parameter as a checkpoint has it.
struct Parameter {
    name: String,
    id: ParamId,
    shape: Vec<usize>,
}

struct Parameters {
    path: Path,
    found: Vec<Parameter>,
}

impl Parameters {
    fn of<B: Backend, M: Module<B>>(module: &M, prefix: &'static str) -> Vec<Parameter> {
        let mut parameters = Self { path: Path::new(prefix), found: Vec::new() };
        module.visit(&mut parameters);
        parameters.found
    }
}

impl<B: Backend> ModuleVisitor<B> for Parameters {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let mut shape = param.lazy_shape().to_vec();
        if self.path.is_transposed() {
            shape.reverse();
        }
        self.found.push(Parameter { name: self.path.name(), id: param.id, shape });
    }
}

fn transposed(tensor: NamedTensor) -> NamedTensor {
    let [rows, cols] = tensor.shape[..] else { return tensor };
    let mut data = vec![0.0; tensor.data.len()];
    transpose(&tensor.data, [rows, cols], &mut data);
    NamedTensor { name: tensor.name, shape: vec![cols, rows], data }
}
