//! Kernels as nodes of burn's graph.

use std::fmt::Debug;
use std::marker::PhantomData;

use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::ops::FloatTensor;
use burn_autodiff::Autodiff;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};
use burn_flex::FlexTensor;
use resect_kernels::{Accumulate, Buffer, add_to};

use super::Cpu;
use super::tensors::{Gradient, from_buffer, in_order, numbers, numbers_mut, owned};
use crate::primitives::tensor;

/// A tensor of the graph.
pub(super) type Tracked = FloatTensor<Autodiff<Cpu>>;

/// What a layer saves of its `N` inputs for the backward pass.
pub trait Saved<const N: usize>: Clone + Debug + Send + 'static {
    /// Computes the gradients by the inputs from the gradient `d` by the result, which is contiguous. Each gradient that is wanted is the
    /// sum of what its sink holds and of this layer's share.
    fn backward(self, d: FlexTensor, sinks: [Sink; N]) -> [Option<FlexTensor>; N];
}

/// The gradient by an input, as far as it is known.
#[derive(Debug)]
pub struct Sink {
    wanted: bool,
    held: Option<FlexTensor>,
}

impl Sink {
    /// Whether this gradient is wanted.
    pub fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// The gradient for a kernel to write or to add to, where it is wanted.
    pub fn open(self, shape: &[usize]) -> Option<Gradient> {
        self.wanted.then(|| match self.held {
            Some(held) => Gradient::onto(held),
            None => Gradient::new(shape),
        })
    }

    /// A gradient as a whole.
    pub fn give(self, d: FlexTensor) -> Option<FlexTensor> {
        if !self.wanted {
            return None;
        }
        match self.held {
            None => Some(d),
            Some(held) => {
                let mut sum = owned(held);
                add_to(numbers_mut(&mut sum), numbers(&in_order(d)));
                Some(sum)
            }
        }
    }

    /// Some numbers as a gradient.
    pub fn give_numbers(self, d: &[f32], shape: &[usize]) -> Option<FlexTensor> {
        let mut gradient = self.open(shape)?;
        let target = gradient.target();
        match target.accumulate {
            Accumulate::No => target.gradient.copy_from_slice(d),
            Accumulate::Yes => add_to(target.gradient, d),
        }
        Some(gradient.into_tensor())
    }
}

/// One gradient for two inputs, without a copy where one will do.
pub(super) fn give_both(d: FlexTensor, [a, b]: [Sink; 2]) -> [Option<FlexTensor>; 2] {
    if a.wanted && b.wanted && a.held.is_none() && b.held.is_none() {
        let copy = from_buffer(Buffer::copy_of(numbers(&d)), &super::tensors::shape(&d));
        return [Some(d), Some(copy)];
    }
    // A sink that holds a gradient reads this one; the other one takes it.
    if a.held.is_some() {
        let a = a.give(d.clone());
        [a, b.give(d)]
    } else {
        let b = b.give(d.clone());
        [a.give(d), b]
    }
}

/// Registers a kernel in the graph: `out` is its result, and `saved` computes the gradients of `inputs`. `saved` is kept if an input is
/// tracked.
pub fn differentiable<C: CheckpointStrategy, S: Saved<N>, const N: usize, const D: usize>(
    inputs: [FloatTensor<Autodiff<Cpu, C>>; N],
    saved: S,
    out: FlexTensor,
) -> Tensor<Autodiff<Cpu, C>, D> {
    let nodes = inputs.map(|input| input.node);
    let prepared = Backward::<Cpu, N>::prepare::<C>(Node::<S, C>(PhantomData), nodes);
    tensor(match prepared.compute_bound().stateful() {
        OpsKind::Tracked(prepared) => prepared.finish(saved, out),
        OpsKind::UnTracked(prepared) => prepared.finish(out),
    })
}

/// Whether any of these has a gradient.
pub(super) fn any_tracked(inputs: &[Tracked]) -> bool {
    inputs.iter().any(|input| input.is_tracked())
}

/// An input, or an untracked one in place of an absent one.
pub(super) fn absent(input: Option<Tracked>) -> Tracked {
    input.unwrap_or_else(untracked)
}

fn untracked() -> Tracked {
    <Autodiff<Cpu> as AutodiffBackend>::from_inner(from_buffer(Buffer::default(), &[0]))
}

/// The numbers of a tensor of the graph, contiguous.
pub(super) fn primitives(input: &Tracked) -> FlexTensor {
    in_order(input.primitive.clone())
}

#[derive(Debug)]
struct Node<S, C>(PhantomData<(S, C)>);

impl<S: Saved<N>, C: CheckpointStrategy, const N: usize> Backward<Cpu, N> for Node<S, C> {
    type State = S;

    fn backward(self, ops: Ops<S, N>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let d = in_order(gradients.consume::<Cpu>(&ops.node));
        // burn adds to a registered gradient in a pass of its own, on one thread. What is held is taken out instead, for kernels
        // to add to. It is found by any untracked tensor that has the parent's node.
        let mut key = untracked();
        let sinks = ops.parents.each_ref().map(|node| match node {
            Some(node) => {
                key.node = node.clone();
                Sink { wanted: true, held: gradients.remove::<Cpu>(&key) }
            }
            None => Sink { wanted: false, held: None },
        });
        for (node, found) in ops.parents.into_iter().zip(ops.state.backward(d, sinks)) {
            if let (Some(node), Some(found)) = (node, found) {
                gradients.register::<Cpu>(node.id, found);
            }
        }
    }
}
