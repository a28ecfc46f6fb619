//! The parameters of a decoder as one vector: what takes some kernels for each of a hundred tensors takes as many for all.

use crate::TrainingBackend;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{FloatDType, Tensor};
use resect_sam::{MaskDecoder, is_idle, is_operand};
use std::ops::Range;

/// Parameters begin at multiples of so many numbers, which are 512 bytes in half precision: as memory must be aligned for a slice of
/// it to be a view and no copy. (`burn-cubecl`, `kernel/index/slice.rs`; `cubecl-cuda`, `runtime.rs`)
pub(crate) const ALIGNMENT: usize = 256;

/// Where the parameters of a decoder lie in a vector: first those that enter products, then the others that learn, then those that
/// only decay. What a single mask does not teach at all is not in it.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Of each parameter, in the order in which a decoder is visited.
    places: Vec<Option<Range<usize>>>,
    /// Numbers of the vector, with gaps between parameters.
    length: usize,
    /// How many of them come first, for those that enter products.
    operands: usize,
}

/// What becomes of a parameter.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It enters products, and learns.
    Operand,
    /// It is added or multiplied with, and learns.
    Other,
    /// It decays.
    Idle,
}

/// None for the IoU head, which stays as it came.
fn kind(name: &str) -> Option<Kind> {
    match name {
        _ if name.starts_with("mask_decoder.iou_prediction_head.") => None,
        _ if is_idle(name) => Some(Kind::Idle),
        _ if is_operand(name) => Some(Kind::Operand),
        _ => Some(Kind::Other),
    }
}

/// Whether a parameter, by its Hugging Face name, learns from a single mask.
pub fn learns(name: &str) -> bool {
    matches!(kind(name), Some(Kind::Operand | Kind::Other))
}

impl Layout {
    /// The layout of a decoder, the same for every one of its configuration.
    pub fn new<B: Backend>(decoder: &MaskDecoder<B>) -> Self {
        let mut sizes = Sizes(Vec::new());
        decoder.visit(&mut sizes);
        let kinds: Vec<Option<Kind>> = decoder.parameter_names().iter().map(|(name, _)| kind(name)).collect();
        let mut layout = Self { places: vec![None; kinds.len()], length: 0, operands: 0 };
        for kind in [Kind::Operand, Kind::Other, Kind::Idle] {
            for (place, size) in (0..).zip(&sizes.0).filter(|(place, _)| kinds[*place] == Some(kind)) {
                let numbers = layout.length..layout.length + size;
                layout.length = numbers.end.next_multiple_of(ALIGNMENT);
                layout.places[place] = Some(numbers);
            }
            if kind == Kind::Operand {
                layout.operands = layout.length;
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

    /// The parameters of a decoder, `[length]`.
    pub fn gathered<B: TrainingBackend>(&self, decoder: &MaskDecoder<B>, device: &B::Device) -> Tensor<B, 1> {
        let mut parameters = Parameters(Vec::new());
        decoder.visit(&mut parameters);
        self.joined(parameters.0, device)
    }

    /// The gradients of a decoder's parameters, `[length]`, in single precision; zero where there is none.
    pub fn gradients<B: AutodiffBackend<InnerBackend: TrainingBackend>>(
        &self,
        decoder: &MaskDecoder<B>,
        gradients: B::Gradients,
        device: &B::Device,
    ) -> Tensor<B::InnerBackend, 1> {
        let mut gradients = Gradients::<B> { all: gradients, found: Vec::new() };
        decoder.visit(&mut gradients);
        self.joined(gradients.found, device)
    }

    /// A decoder like `decoder` with the parameters of a vector.
    pub fn spread<B: Backend>(&self, vector: Tensor<B, 1>, decoder: MaskDecoder<B>) -> MaskDecoder<B> {
        decoder.map(&mut Spread { places: self.places.iter(), vector })
    }

    /// A decoder like `decoder` with the parameters of a vector, each a leaf of the graph. With a narrow format those that enter
    /// products are stored in it, so that products need not round them each time.
    pub fn spread_to_learn<B: AutodiffBackend>(
        &self,
        vector: Tensor<B::InnerBackend, 1>,
        narrow: Option<FloatDType>,
        decoder: MaskDecoder<B>,
    ) -> MaskDecoder<B> {
        let operands = narrow.map(|format| vector.clone().slice_dim(0, 0..self.operands).cast(format));
        let operands = operands.unwrap_or_else(|| vector.clone());
        decoder.map(&mut SpreadToLearn::<B> {
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

/// How many numbers each parameter has.
struct Sizes(Vec<usize>);

impl<B: Backend> ModuleVisitor<B> for Sizes {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        self.0.push(param.lazy_shape().num_elements());
    }
}

struct Parameters<B: Backend>(Vec<Option<Tensor<B, 1>>>);

impl<B: Backend> ModuleVisitor<B> for Parameters<B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        self.0.push(Some(param.val().flatten(0, D - 1)));
    }
}

struct Gradients<B: AutodiffBackend> {
    all: B::Gradients,
    found: Vec<Option<Tensor<B::InnerBackend, 1>>>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Gradients<B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let gradient = param.val().grad_remove(&mut self.all);
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
