//! The parameters of a decoder that gradients reach, in one vector.
//!
//! An optimiser on a device has one vector to change instead of some 130 tensors, with a handful of kernels. The decoder's
//! parameters are slices of it, without a copy where a backend can: each begins at a multiple of 256 bytes.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Shape, Tensor};
use burn_optim::GradientsParams;
use resect_sam::MaskDecoder;
use std::collections::HashMap;

/// Numbers that a parameter's first is a multiple of: 256 bytes.
const ALIGNED: usize = 64;

/// Name of what the loss on a single mask does not reach and nothing changes: it stays as it came.
const UNTOUCHED: &str = "mask_decoder.iou_prediction_head.";

/// Where each parameter lies in the vector.
#[derive(Debug)]
pub(crate) struct Flat {
    places: HashMap<ParamId, Place>,
    /// In the order of the vector.
    order: Vec<ParamId>,
    /// Numbers of the vector, those between parameters among them, which are 0.
    length: usize,
}

#[derive(Clone, Debug)]
struct Place {
    start: usize,
    shape: Shape,
}

impl Place {
    fn end(&self) -> usize {
        self.start + self.shape.num_elements()
    }
}

impl Flat {
    pub(crate) fn new<B: AutodiffBackend>(decoder: &MaskDecoder<B>) -> Self {
        struct Shapes(HashMap<ParamId, Shape>);
        impl<B: AutodiffBackend> ModuleVisitor<B> for Shapes {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
                self.0.insert(param.id, param.val().shape());
            }
        }
        let mut shapes = Shapes(HashMap::new());
        decoder.visit(&mut shapes);
        let (mut places, mut order, mut length) = (HashMap::new(), Vec::new(), 0usize);
        for (name, id) in decoder.parameter_names() {
            if name.starts_with(UNTOUCHED) {
                continue;
            }
            let Some(shape) = shapes.0.remove(&id) else { continue };
            let place = Place { start: length, shape };
            length = place.end().next_multiple_of(ALIGNED);
            places.insert(id, place);
            order.push(id);
        }
        Self { places, order, length }
    }

    /// The parameters.
    pub(crate) fn weights<B: AutodiffBackend>(
        &self,
        decoder: &MaskDecoder<B>,
        device: &B::Device,
    ) -> Tensor<B::InnerBackend, 1> {
        struct Values<B: AutodiffBackend>(HashMap<ParamId, Tensor<B::InnerBackend, 1>>);
        impl<B: AutodiffBackend> ModuleVisitor<B> for Values<B> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
                self.0.insert(param.id, flattened(param.val().inner()));
            }
        }
        let mut values = Values::<B>(HashMap::new());
        decoder.visit(&mut values);
        self.joined::<B>(values.0, device)
    }

    /// The gradients, 0 where there is none.
    pub(crate) fn gradients<B: AutodiffBackend>(
        &self,
        decoder: &MaskDecoder<B>,
        gradients: GradientsParams,
        device: &B::Device,
    ) -> Tensor<B::InnerBackend, 1> {
        struct Found<B: AutodiffBackend> {
            gradients: GradientsParams,
            found: HashMap<ParamId, Tensor<B::InnerBackend, 1>>,
        }
        impl<B: AutodiffBackend> ModuleVisitor<B> for Found<B> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
                if let Some(gradient) = self.gradients.remove::<B::InnerBackend, D>(param.id) {
                    self.found.insert(param.id, flattened(gradient));
                }
            }
        }
        let mut found = Found::<B> { gradients, found: HashMap::new() };
        decoder.visit(&mut found);
        self.joined::<B>(found.found, device)
    }

    fn joined<B: AutodiffBackend>(
        &self,
        mut values: HashMap<ParamId, Tensor<B::InnerBackend, 1>>,
        device: &B::Device,
    ) -> Tensor<B::InnerBackend, 1> {
        let mut joined = Tensor::zeros([self.length], device);
        for id in &self.order {
            if let Some(values) = values.remove(id) {
                let place = &self.places[id];
                joined = joined.slice_assign(place.start..place.end(), values);
            }
        }
        joined
    }

    /// The decoder with other parameters.
    pub(crate) fn decoder<B: AutodiffBackend>(
        &self,
        decoder: MaskDecoder<B>,
        weights: Tensor<B::InnerBackend, 1>,
    ) -> MaskDecoder<B> {
        struct Slices<'a, B: AutodiffBackend>(&'a Flat, Tensor<B::InnerBackend, 1>);
        impl<B: AutodiffBackend> ModuleMapper<B> for Slices<'_, B> {
            fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
                let Some(place) = self.0.places.get(&param.id) else { return param };
                let slice =
                    self.1.clone().slice_dim(0, place.start..place.end()).reshape(place.shape.clone());
                Param::initialized(param.id, Tensor::from_inner(slice).require_grad())
            }
        }
        decoder.map(&mut Slices::<B>(self, weights))
    }
}

fn flattened<B: burn::tensor::backend::Backend, const D: usize>(tensor: Tensor<B, D>) -> Tensor<B, 1> {
    let length = tensor.shape().num_elements();
    tensor.reshape([length])
}
