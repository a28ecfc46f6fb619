//! Training on a GPU: the loss and its gradient by the kernels of [`kernels`], and the vector of all gradients by that of [`joined`].

mod joined;
mod kernels;

use crate::TrainingBackend;
use crate::loss::Objective;
use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{FloatDType, Tensor, TensorData};
use burn_autodiff::Autodiff;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime, FloatElement, IntElement};
use kernels::Loss;
use resect_geometry::Size;
use resect_layers::cube::{contiguous, differentiable};
use resect_layers::{primitive, tensor};

impl<R, F, I, BT> TrainingBackend for CubeBackend<R, F, I, BT>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    BT: BoolElement,
    Self: Backend<FloatTensorPrimitive = CubeTensor<R>>,
{
    fn loss(
        objective: Objective,
        logits: Tensor<Self, 4>,
        masks: Tensor<Self, 4>,
        images: &[Size],
        share: f64,
    ) -> (Tensor<Self, 1>, Tensor<Self, 2>) {
        let counted = counted::<Self>(objective, images, &logits);
        let [logits, masks] = [logits, masks].map(contiguous);
        let (_, loss, terms) = Loss::forward(objective, share, logits, masks, counted);
        (tensor(loss), tensor(terms))
    }

    fn join(pieces: Vec<(usize, Tensor<Self, 1>)>, length: usize, device: &Self::Device) -> Tensor<Self, 1> {
        let zeros = contiguous(Tensor::<Self, 1>::zeros([length], device));
        let pieces =
            pieces.into_iter().map(|(start, piece)| (start, contiguous(piece.cast(FloatDType::F32))));
        tensor(joined::placed(pieces.collect(), zeros))
    }
}

impl<R, F, I, BT, C> TrainingBackend for Autodiff<CubeBackend<R, F, I, BT>, C>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    BT: BoolElement,
    C: CheckpointStrategy,
    CubeBackend<R, F, I, BT>: Backend<FloatTensorPrimitive = CubeTensor<R>>,
{
    fn loss(
        objective: Objective,
        logits: Tensor<Self, 4>,
        masks: Tensor<Self, 4>,
        images: &[Size],
        share: f64,
    ) -> (Tensor<Self, 1>, Tensor<Self, 2>) {
        let counted = counted::<CubeBackend<R, F, I, BT>>(objective, images, &logits.clone().inner());
        let [given, masks] = [logits.clone().inner(), masks.inner()].map(contiguous);
        let (given, loss, terms) = Loss::forward(objective, share, given, masks, counted);
        let loss = differentiable([primitive(logits)], given, loss);
        (loss, Tensor::from_inner(tensor(terms)))
    }
}

/// How many rows and columns count of each sample of logits `[n, 1, s, s]`: `[n, 2]`.
fn counted<B: Backend>(objective: Objective, images: &[Size], logits: &Tensor<B, 4>) -> FloatTensor<B> {
    let side = logits.dims()[3];
    let covered = images.iter().flat_map(|image| objective.covered(*image, side));
    let covered = TensorData::new(covered.map(|n| n as f32).collect::<Vec<_>>(), [images.len(), 2]);
    primitive(Tensor::<B, 2>::from_data(covered, &logits.device()))
}
