//! Training on the CPU, by kernels on slices.

use crate::adamw::AdamWStep;
use crate::loss::Objective;
use crate::resident::OnDevice;
use crate::sample_loss::SampleLoss;
use crate::{TrainingBackend, average};
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Bool, ElementConversion, FloatDType, Tensor};
use burn_autodiff::Autodiff;
use rayon::prelude::*;
use resect_embeddings::Embedding;
use resect_geometry::Size;
use resect_kernels::{Buffer, copy, each_item, vectorised};
use resect_layers::cpu::{Saved, Sink, differentiable, from_buffer, in_order, numbers, numbers_mut, owned};
use resect_layers::{Cpu, primitive, tensor};

/// Numbers of a vector that one thread takes at a time.
const CHUNK: usize = 1 << 16;

impl TrainingBackend for Cpu {
    const IS_REFERENCE: bool = true;

    const STEPS_AT_ONCE: usize = 1;

    /// More samples at once keep no more threads busy, and each takes memory: 150 MB in ViT-B.
    const SAMPLES_AT_ONCE: usize = 8;

    /// Read anew each time, so that memory does not grow with the number of samples.
    fn embeddings(
        _: &OnDevice<Self>,
        samples: &[(usize, Embedding<'_>)],
        [c, h, w]: [usize; 3],
    ) -> Tensor<Self, 4> {
        let mut all = Buffer::stale(samples.len() * c * h * w);
        let chunks = all.chunks_mut(c * h * w).zip(samples).flat_map(|(out, (_, embedding))| {
            out.chunks_mut(CHUNK).enumerate().map(move |(i, out)| (i * CHUNK, out, *embedding))
        });
        each_item(chunks.collect(), |(start, out, embedding)| embedding.copy_part(start, out));
        tensor(from_buffer(all, &[samples.len(), c, h, w]))
    }

    fn mask_batch(_: &Self::Device, samples: &[&[u8]], side: usize) -> Tensor<Self, 4> {
        let mut all = Buffer::stale(samples.len() * side * side);
        each_item(all.chunks_mut(side * side).zip(samples).collect(), |(out, mask)| {
            out.iter_mut().zip(*mask).for_each(|(out, mask)| *out = f32::from(u8::from(*mask != 0)));
        });
        tensor(from_buffer(all, &[samples.len(), 1, side, side]))
    }

    fn join(pieces: Vec<(usize, Tensor<Self, 1>)>, length: usize, _: &Self::Device) -> Tensor<Self, 1> {
        let mut pieces: Vec<_> = pieces
            .into_iter()
            .map(|(start, piece)| (start, in_order(primitive(piece.cast(FloatDType::F32)))))
            .collect();
        pieces.sort_by_key(|(start, _)| *start);
        let mut all = Buffer::stale(length);
        let (mut rest, mut end) = (&mut *all, 0);
        for (start, piece) in &pieces {
            let piece = numbers(piece);
            let (gap, after) = std::mem::take(&mut rest).split_at_mut(start - end);
            gap.fill(0.0);
            let (own, after) = after.split_at_mut(piece.len());
            copy(own, piece);
            (rest, end) = (after, start + piece.len());
        }
        rest.fill(0.0);
        vector(all)
    }

    fn norm(vector: &Tensor<Self, 1>) -> Tensor<Self, 1> {
        let vector = primitive(vector.clone());
        let squares: Vec<f64> = numbers(&vector).par_chunks(CHUNK).map(sum_of_squares).collect();
        let norm = squares.iter().sum::<f64>().sqrt();
        Tensor::from_data([norm as f32], &Default::default())
    }

    fn adamw(
        step: &AdamWStep<Self>,
        weights: Tensor<Self, 1>,
        gradient: Tensor<Self, 1>,
        moments: &mut [Tensor<Self, 1>; 2],
    ) -> Tensor<Self, 1> {
        if !yes(&step.taken) {
            return weights;
        }
        let [norm, rate, spread] = [&step.norm, &step.rate, &step.spread].map(number);
        let scale = match step.clip_norm > 0.0 {
            true => (step.clip_norm / (norm + 1e-6)).min(1.0) as f32,
            false => 1.0,
        };
        let (beta1, beta2) = (step.beta1 as f32, step.beta2 as f32);
        let (rest1, rest2) = ((1.0 - step.beta1) as f32, (1.0 - step.beta2) as f32);
        let kept = (1.0 - step.learning_rate * step.weight_decay) as f32;
        let (rate, spread, epsilon) =
            ((step.learning_rate * rate) as f32, spread as f32, step.epsilon as f32);
        let (weights, gradient) = (primitive(weights), primitive(gradient));
        // Taken out, so that nobody else holds them and they are changed in place.
        let nothing = || Tensor::empty([0], &Default::default());
        let [mut first, mut second] =
            moments.each_mut().map(|moment| owned(primitive(std::mem::replace(moment, nothing()))));
        let mut stepped = Buffer::stale(numbers(&weights).len());
        let inputs = numbers(&weights).chunks(CHUNK).zip(numbers(&gradient).chunks(CHUNK));
        let changed =
            numbers_mut(&mut first).chunks_mut(CHUNK).zip(numbers_mut(&mut second).chunks_mut(CHUNK));
        let chunks = stepped.chunks_mut(CHUNK).zip(inputs).zip(changed).collect();
        each_item(chunks, |((stepped, (weights, gradient)), (first, second))| {
            vectorised(
                #[inline(always)]
                || {
                    let inputs = weights.iter().zip(gradient);
                    for ((p, (w, g)), (m, v)) in
                        stepped.iter_mut().zip(inputs).zip(first.iter_mut().zip(second))
                    {
                        let clipped = g * scale;
                        *m = beta1 * *m + rest1 * clipped;
                        *v = beta2 * *v + rest2 * (clipped * clipped);
                        *p = kept * w - rate * *m / (v.sqrt() * spread + epsilon);
                    }
                },
            );
        });
        *moments = [first, second].map(tensor);
        vector(stepped)
    }

    fn average(
        decay: f64,
        average: Tensor<Self, 1>,
        weights: &Tensor<Self, 1>,
        [began, taken]: [&Tensor<Self, 1, Bool>; 2],
    ) -> Tensor<Self, 1> {
        if !yes(taken) {
            return average;
        }
        if !yes(began) {
            return weights.clone();
        }
        let (mut average, weights) = (owned(primitive(average)), primitive(weights.clone()));
        let weight = (1.0 - decay) as f32;
        let chunks = numbers_mut(&mut average).chunks_mut(CHUNK).zip(numbers(&weights).chunks(CHUNK));
        each_item(chunks.collect(), |(average, weights): (&mut [f32], &[f32])| {
            average.iter_mut().zip(weights).for_each(|(a, w)| *a = average::lerp(*a, *w, weight));
        });
        tensor(average)
    }
}

fn vector(numbers: Buffer) -> Tensor<Cpu, 1> {
    let length = numbers.len();
    tensor(from_buffer(numbers, &[length]))
}

/// The number of a tensor `[1]`.
fn number(tensor: &Tensor<Cpu, 1>) -> f64 {
    tensor.clone().into_scalar().elem()
}

fn yes(flag: &Tensor<Cpu, 1, Bool>) -> bool {
    flag.clone().into_scalar().elem()
}

/// The sum of squares, in a fixed order.
fn sum_of_squares(x: &[f32]) -> f64 {
    /// Sums that run beside one another, as the processor likes it.
    const LANES: usize = 16;
    vectorised(
        #[inline(always)]
        || {
            let mut lanes = [0f64; LANES];
            for chunk in x.chunks(LANES) {
                for (lane, x) in lanes.iter_mut().zip(chunk) {
                    *lane += f64::from(*x) * f64::from(*x);
                }
            }
            lanes.iter().sum()
        },
    )
}

/// The gradient of the loss by logits, which is known with the loss.
#[derive(Clone, Debug)]
struct LossGradient(FloatTensor<Cpu>);

impl Saved<1> for LossGradient {
    fn backward(self, d: FloatTensor<Cpu>, [logits]: [Sink; 1]) -> [Option<FloatTensor<Cpu>>; 1] {
        let scale = numbers(&d)[0];
        let mut gradient = owned(self.0);
        if scale != 1.0 {
            numbers_mut(&mut gradient).iter_mut().for_each(|x| *x *= scale);
        }
        [logits.give(gradient)]
    }
}

/// [`TrainingBackend::loss`], each sample on any thread.
pub(super) fn loss(
    objective: Objective,
    logits: Tensor<Autodiff<Cpu>, 4>,
    masks: Tensor<Autodiff<Cpu>, 4>,
    images: &[Size],
    share: f64,
) -> (Tensor<Autodiff<Cpu>, 1>, Tensor<Autodiff<Cpu>, 2>) {
    let (n, shape) = (images.len(), logits.dims());
    let masks = in_order(primitive(masks.cast(FloatDType::F32)).primitive);
    let masks = numbers(&masks);
    let node = primitive(logits);
    let given = in_order(node.primitive.clone());
    let x = numbers(&given);
    let cells = x.len() / n.max(1);
    let mut gradient = Buffer::stale(x.len());
    let samples = gradient.par_chunks_exact_mut(cells).zip(x.par_chunks_exact(cells));
    let samples = samples.zip(masks.par_chunks_exact(cells)).zip(images).with_max_len(1);
    let values: Vec<_> = samples
        .map(|(((gradient, x), mask), image)| {
            let loss = SampleLoss::of(objective, *image, x, mask, gradient);
            loss.gradient(x, mask, share, gradient);
            loss.values()
        })
        .collect();
    let total: f64 = values.iter().map(|values| values.total()).sum();
    let terms: Vec<f32> = values.iter().flat_map(|values| [values.dice as f32, values.ce as f32]).collect();
    let terms = Tensor::<Cpu, 1>::from_data(terms.as_slice(), &Default::default()).reshape([n, 2]);
    let saved = LossGradient(from_buffer(gradient, &shape));
    let out = primitive(Tensor::<Cpu, 1>::from_data([(total * share) as f32], &Default::default()));
    (differentiable([node], saved, out), Tensor::from_inner(terms))
}

#[cfg(test)]
mod tests;
