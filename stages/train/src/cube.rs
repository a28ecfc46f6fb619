//! The loss on a GPU, and its gradient, by the kernels of [`kernels`].

mod kernels;

use crate::loss::Objective;
use crate::loss_backend::LossBackend;
use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Tensor, TensorData, TensorPrimitive};
use burn_autodiff::Autodiff;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime, FloatElement, IntElement};
use kernels::Given;
use resect_geometry::Size;
use std::marker::PhantomData;

impl<R, F, I, BT> LossBackend for CubeBackend<R, F, I, BT>
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
        let [logits, masks] = [logits, masks].map(|tensor| into_contiguous(tensor.into_primitive().tensor()));
        let (_, loss, terms) = Given::forward(objective, share, logits, masks, counted);
        (wrapped(loss), wrapped(terms))
    }
}

impl<R, F, I, BT, C> LossBackend for Autodiff<CubeBackend<R, F, I, BT>, C>
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
        let masks = into_contiguous(masks.inner().into_primitive().tensor());
        let logits = logits.into_primitive().tensor();
        let given = into_contiguous(logits.primitive.clone());
        let (given, loss, terms) = Given::forward(objective, share, given, masks, counted);
        let prepared = LossBack::<CubeBackend<R, F, I, BT>>(PhantomData).prepare::<C>([logits.node]);
        let loss = match prepared.compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(given, loss),
            OpsKind::UnTracked(prepared) => prepared.finish(loss),
        };
        (wrapped(loss), Tensor::from_inner(wrapped(terms)))
    }
}

fn wrapped<B: Backend, const D: usize>(tensor: FloatTensor<B>) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(tensor))
}

/// How many rows and columns count of each sample of logits `[n, 1, s, s]`: `[n, 2]`.
fn counted<B: Backend>(objective: Objective, images: &[Size], logits: &Tensor<B, 4>) -> FloatTensor<B> {
    let side = logits.dims()[3];
    let covered = images.iter().flat_map(|image| objective.covered(*image, side));
    let covered = TensorData::new(covered.map(|n| n as f32).collect::<Vec<_>>(), [images.len(), 2]);
    Tensor::<B, 2>::from_data(covered, &logits.device()).into_primitive().tensor()
}

/// The step back from the loss to the logits.
#[derive(Debug)]
struct LossBack<B>(PhantomData<B>);

impl<B, R> Backward<B, 1> for LossBack<B>
where
    B: Backend<FloatTensorPrimitive = CubeTensor<R>>,
    R: CubeRuntime,
{
    type State = Given<R>;

    fn backward(self, ops: Ops<Given<R>, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = into_contiguous(gradients.consume::<B>(&ops.node));
        let [logits] = ops.parents;
        if let Some(logits) = logits {
            gradients.register::<B>(logits.id, ops.state.back(gradient));
        }
    }
}
