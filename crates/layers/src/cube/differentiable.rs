//! Kernels as nodes of burn's graph.

use std::fmt::Debug;
use std::marker::PhantomData;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn_autodiff::Autodiff;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};
use burn_cubecl::CubeRuntime;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::tensor;

/// What a layer of `N` inputs saves for its backward pass.
pub trait Given<R: CubeRuntime, const N: usize>: Clone + Debug + Send + 'static {
    /// Computes the gradients of the inputs from the gradient of the result, which is contiguous. Gradients that are not wanted may be
    /// left out.
    fn back(self, gradient: CubeTensor<R>, wanted: [bool; N]) -> [Option<CubeTensor<R>>; N];
}

/// Registers a kernel in burn's graph: `out` is its result, and `given` computes the gradients of `inputs`.
pub fn differentiable<B, R, C, G, const N: usize, const D: usize>(
    inputs: [FloatTensor<Autodiff<B, C>>; N],
    given: G,
    out: CubeTensor<R>,
) -> Tensor<Autodiff<B, C>, D>
where
    B: Backend<FloatTensorPrimitive = CubeTensor<R>>,
    R: CubeRuntime,
    C: CheckpointStrategy,
    G: Given<R, N>,
{
    let nodes = inputs.map(|input| input.node);
    let prepared = Backward::<B, N>::prepare::<C>(Back::<G>(PhantomData), nodes);
    tensor(match prepared.compute_bound().stateful() {
        OpsKind::Tracked(prepared) => prepared.finish(given, out),
        OpsKind::UnTracked(prepared) => prepared.finish(out),
    })
}

#[derive(Debug)]
struct Back<G>(PhantomData<G>);

impl<B, R, G, const N: usize> Backward<B, N> for Back<G>
where
    B: Backend<FloatTensorPrimitive = CubeTensor<R>>,
    R: CubeRuntime,
    G: Given<R, N>,
{
    type State = G;

    fn backward(self, ops: Ops<G, N>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = into_contiguous(gradients.consume::<B>(&ops.node));
        let wanted = ops.parents.each_ref().map(Option::is_some);
        for (node, gradient) in ops.parents.into_iter().zip(ops.state.back(gradient, wanted)) {
            if let (Some(node), Some(gradient)) = (node, gradient) {
                gradients.register::<B>(node.id, gradient);
            }
        }
    }
}
