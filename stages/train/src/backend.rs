//! What training asks of a backend beyond the layers of a model.

mod cpu;

use crate::adamw::{self, AdamWStep};
use crate::average;
use crate::loss::Objective;
use crate::resident::OnDevice;
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, DType, FloatDType, Tensor, TensorData, f16};
use burn_autodiff::Autodiff;
use resect_embeddings::Embedding;
use resect_geometry::Size;
use resect_layers::{Cpu, Layers, Reference};
use std::sync::{Mutex, PoisonError};

/// A backend on which a decoder learns: with gradients, of which the loss is gone back from, and the one below it, which holds weights
/// and moments.
///
/// Methods have defaults in tensors. The CPU, and backends for GPUs, replace them by a few kernels.
pub trait TrainingBackend: Layers {
    /// Whether it computes where other devices are compared with it when training starts.
    const IS_REFERENCE: bool = false;

    /// Steps after which their results should be asked for, at the latest. Until then a device need not be waited for.
    const STEPS_AT_ONCE: usize = 32;

    /// Samples that pass the decoder together, at most, where memory sets no other limit.
    const SAMPLES_AT_ONCE: usize = usize::MAX;

    /// Runs a step, which includes a backward pass, on the threads of [`Layers::within`]. The process runs one step at a time.
    ///
    /// burn's backward pass locks its graph while kernels run, and afterwards locks every graph of the process in turn. A thread of the
    /// CPU's pool that waits for a kernel runs other jobs of the pool. If such a job is a whole step of another trainer, that step
    /// locks a graph whose backward pass cannot end before the step does. Backends do not differ here: the kernels of a backward pass
    /// that runs outside the pool run in the pool, too.
    ///
    /// The lock is taken outside the pool. Do not call this in a job of the pool.
    fn within_step<R: Send>(step: impl FnOnce() -> R + Send) -> R {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        // A step that panicked left nothing behind that the next one depends on.
        let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        Self::within(step)
    }

    /// The embeddings of samples, `[n, C, g, g]` in single precision: of each its row among all and its numbers.
    fn embeddings(
        place: &OnDevice<Self>,
        samples: &[(usize, Embedding<'_>)],
        shape: [usize; 3],
    ) -> Tensor<Self, 4> {
        place.embeddings(samples, shape)
    }

    /// The masks of samples, of 0 and 1, `[n, 1, side, side]`, in a format in which they are exact.
    fn mask_batch(device: &Self::Device, samples: &[&[u8]], side: usize) -> Tensor<Self, 4> {
        let mask = |&mask: &u8| if mask == 0 { f16::ZERO } else { f16::ONE };
        let values: Vec<f16> = samples.iter().copied().flatten().map(mask).collect();
        let data = TensorData::new(values, [samples.len(), 1, side, side]);
        Tensor::from_data(data, (device, DType::F16))
    }

    /// The loss of logits `[n, 1, s, s]` against masks of 0 and 1 of the same shape, in any format: the weighted terms summed over
    /// samples, times `share`, `[1]`. Beside it each sample's Dice term and pixel-wise term, `[n, 2]`, which are there to be shown.
    /// `images` says how much of the grid each sample's image covers.
    fn loss(
        objective: Objective,
        logits: Tensor<Self, 4>,
        masks: Tensor<Self, 4>,
        images: &[Size],
        share: f64,
    ) -> (Tensor<Self, 1>, Tensor<Self, 2>) {
        loss(objective, logits, masks, images, share)
    }

    /// A vector of `length` numbers in single precision: pieces that do not overlap, each from its start on, and zeros elsewhere.
    fn join(
        mut pieces: Vec<(usize, Tensor<Self, 1>)>,
        length: usize,
        device: &Self::Device,
    ) -> Tensor<Self, 1> {
        pieces.sort_by_key(|(start, _)| *start);
        let (mut parts, mut end) = (Vec::with_capacity(2 * pieces.len() + 1), 0);
        let fill = |parts: &mut Vec<_>, from: usize, to: usize| {
            if to > from {
                parts.push(Tensor::zeros([to - from], device));
            }
        };
        for (start, piece) in pieces {
            fill(&mut parts, end, start);
            end = start + piece.dims()[0];
            parts.push(piece.cast(FloatDType::F32));
        }
        fill(&mut parts, end, length);
        Tensor::cat(parts, 0)
    }

    /// The Euclidean norm of a vector of parameters, `[1]`.
    fn norm(vector: &Tensor<Self, 1>) -> Tensor<Self, 1> {
        adamw::norm(vector)
    }

    /// The weights after a step of AdamW, whose moments it changes; all as they were where the step is not taken.
    fn adamw(
        step: &AdamWStep<Self>,
        weights: Tensor<Self, 1>,
        gradient: Tensor<Self, 1>,
        moments: &mut [Tensor<Self, 1>; 2],
    ) -> Tensor<Self, 1> {
        adamw::stepped(step, weights, gradient, moments)
    }

    /// The moving average after a step; as it was where the step is not taken. `began` tells whether there is an average yet.
    fn average(
        decay: f64,
        average: Tensor<Self, 1>,
        weights: &Tensor<Self, 1>,
        [began, taken]: [&Tensor<Self, 1, Bool>; 2],
    ) -> Tensor<Self, 1> {
        average::averaged(decay, average, weights, [began, taken])
    }
}

/// [`TrainingBackend::loss`] in tensors.
pub(crate) fn loss<B: Backend>(
    objective: Objective,
    logits: Tensor<B, 4>,
    masks: Tensor<B, 4>,
    images: &[Size],
    share: f64,
) -> (Tensor<B, 1>, Tensor<B, 2>) {
    let terms = objective.terms(logits, masks.cast(FloatDType::F32), images);
    let loss = objective.sum(&terms).mul_scalar(share);
    (loss, Tensor::stack(vec![terms.dice, terms.pixelwise], 1))
}

/// In tensors, for tests.
impl TrainingBackend for Reference {}

/// The kernels of the graph; what [`Reference`] keeps weights in.
impl TrainingBackend for Autodiff<Cpu> {
    fn loss(
        objective: Objective,
        logits: Tensor<Self, 4>,
        masks: Tensor<Self, 4>,
        images: &[Size],
        share: f64,
    ) -> (Tensor<Self, 1>, Tensor<Self, 2>) {
        cpu::loss(objective, logits, masks, images, share)
    }
}

#[cfg(test)]
mod tests;
