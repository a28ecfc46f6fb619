//! The parameters of a model as one vector: what takes some kernels for each of a hundred tensors takes as many for all.

use crate::TrainingBackend;
use crate::model::{Model, Role, Roles};
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{FloatDType, Tensor};
use resect_layers::parameter_shapes;
use std::ops::Range;

/// Parameters begin at multiples of so many numbers, which are 512 bytes in half precision: as memory must be aligned for a slice of
/// it to be a view and no copy. (`burn-cubecl`, `kernel/index/slice.rs`; `cubecl-cuda`, `runtime.rs`)
pub(crate) const ALIGNMENT: usize = 256;

/// Where the parameters of a model lie in a vector: first those that enter products, then the others that learn, then those that
/// only decay. What is frozen, or what a single mask does not teach at all, is not in it.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Of each parameter, in the order in which a model is visited.
    places: Vec<Option<Range<usize>>>,
    /// Numbers of the vector, with gaps between parameters.
    length: usize,
    /// How many of them come first, for those that enter products.
    operands: usize,
    /// How many of them come before those that only decay.
    learning: usize,
}

impl Layout {
    /// The layout of the parameters of a model that have a role, the same for every model of its configuration.
    pub fn new<B: Backend>(model: &Model<B>, roles: &Roles) -> Self {
        let shapes = parameter_shapes(model, "");
        let sizes: Vec<usize> = shapes.iter().map(|(_, shape)| shape.iter().product()).collect();
        let kinds: Vec<Option<Role>> = shapes.iter().map(|(name, _)| roles.of(name)).collect();
        let mut layout = Self { places: vec![None; kinds.len()], length: 0, operands: 0, learning: 0 };
        for kind in [Role::Operand, Role::Other, Role::Idle] {
            for (place, size) in (0..).zip(&sizes).filter(|(place, _)| kinds[*place] == Some(kind)) {
                let numbers = layout.length..layout.length + size;
                layout.length = numbers.end.next_multiple_of(ALIGNMENT);
                layout.places[place] = Some(numbers);
            }
            match kind {
                Role::Operand => layout.operands = layout.length,
                Role::Other => layout.learning = layout.length,
                Role::Idle => {}
            }
        }
        // A matrix of such rows can be cut into such matrices.
        layout.length = layout.length.next_multiple_of(ALIGNMENT * ALIGNMENT);
        layout
    }

    /// A vector of zeros, `[length]`.
    pub fn zeros<B: Backend>(&self, device: &B::Device) -> Tensor<B, 1> {
        Tensor::zeros([self.length], device)
    }

    /// The parameters of a model, `[length]`.
    pub fn gathered<B: TrainingBackend>(&self, model: &Model<B>, device: &B::Device) -> Tensor<B, 1> {
        let mut parameters = Parameters { places: self.places.iter(), found: Vec::new() };
        model.visit(&mut parameters);
        self.joined(parameters.found, device)
    }

    /// The gradients of a model's parameters, `[length]`, in single precision; zero where there is none.
    ///
    /// Beside them, the number of a parameter that is to learn and has no gradient, in the order in which a model is visited.
    pub fn gradients<B: AutodiffBackend<InnerBackend: TrainingBackend>>(
        &self,
        model: &Model<B>,
        gradients: B::Gradients,
        device: &B::Device,
    ) -> (Tensor<B::InnerBackend, 1>, Option<usize>) {
        let mut gradients = Gradients::<B> { places: self.places.iter(), all: gradients, found: Vec::new() };
        model.visit(&mut gradients);
        let lacking = self.places.iter().zip(&gradients.found).position(|(place, found)| {
            found.is_none() && place.as_ref().is_some_and(|place| place.start < self.learning)
        });
        (self.joined(gradients.found, device), lacking)
    }

    /// A model like `model` with the parameters of a vector.
    pub fn spread<B: Backend>(&self, vector: Tensor<B, 1>, model: Model<B>) -> Model<B> {
        model.map(&mut Spread { places: self.places.iter(), vector })
    }

    /// A model like `model` with the parameters of a vector, each a leaf of the graph. With a narrow format those that enter
    /// products are stored in it, so that products need not round them each time.
    pub fn spread_to_learn<B: AutodiffBackend>(
        &self,
        vector: Tensor<B::InnerBackend, 1>,
        narrow: Option<FloatDType>,
        model: Model<B>,
    ) -> Model<B> {
        let operands = narrow.map(|format| vector.clone().slice_dim(0, 0..self.operands).cast(format));
        let operands = operands.unwrap_or_else(|| vector.clone());
        model.map(&mut SpreadToLearn::<B> {
            places: self.places.iter(),
            rest: self.operands,
            operands,
            vector,
        })
    }

    /// One vector of what each parameter has, with zeros where it has nothing and in gaps.
    fn joined<B: TrainingBackend>(
        &self,
        values: Vec<Option<Tensor<B, 1>>>,
        device: &B::Device,
    ) -> Tensor<B, 1> {
        let pieces = self.places.iter().zip(values);
        let pieces = pieces.filter_map(|(place, values)| Some((place.as_ref()?.start, values?)));
        B::join(pieces.collect(), self.length, device)
    }
}

struct Parameters<'a, B: Backend> {
    places: std::slice::Iter<'a, Option<Range<usize>>>,
    found: Vec<Option<Tensor<B, 1>>>,
}

impl<B: Backend> ModuleVisitor<B> for Parameters<'_, B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let place = self.places.next().and_then(Option::as_ref);
        self.found.push(place.map(|_| param.val().flatten(0, D - 1)));
    }
}

struct Gradients<'a, B: AutodiffBackend> {
    places: std::slice::Iter<'a, Option<Range<usize>>>,
    all: B::Gradients,
    found: Vec<Option<Tensor<B::InnerBackend, 1>>>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Gradients<'_, B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let place = self.places.next().and_then(Option::as_ref);
        let gradient = place.and_then(|_| param.val().grad_remove(&mut self.all));
        self.found.push(gradient.map(|gradient| gradient.flatten(0, D - 1)));
    }
}

struct Spread<'a, B: Backend> {
    places: std::slice::Iter<'a, Option<Range<usize>>>,
    vector: Tensor<B, 1>,
}

impl<B: Backend> ModuleMapper<B> for Spread<'_, B> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let Some(numbers) = self.places.next().cloned().flatten() else { return param };
        let tensor = self.vector.clone().slice([numbers]).reshape(param.lazy_shape());
        Param::initialized(param.id, tensor)
    }
}

struct SpreadToLearn<'a, B: AutodiffBackend> {
    places: std::slice::Iter<'a, Option<Range<usize>>>,
    /// Where the rest begins.
    rest: usize,
    operands: Tensor<B::InnerBackend, 1>,
    vector: Tensor<B::InnerBackend, 1>,
}

impl<B: AutodiffBackend> ModuleMapper<B> for SpreadToLearn<'_, B> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let Some(numbers) = self.places.next().cloned().flatten() else { return param };
        let from = if numbers.start < self.rest { &self.operands } else { &self.vector };
        // Cut without a graph: a slice of a graph would be a node to go back through.
        let tensor = from.clone().slice([numbers]).reshape(param.lazy_shape());
        Param::initialized(param.id, Tensor::from_inner(tensor).require_grad())
    }
}

#[cfg(test)]
mod tests;
