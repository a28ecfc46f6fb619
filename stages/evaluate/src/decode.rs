//! Batches of targets through the base's and the tuned decoder.

use std::path::Path;

use resect_checkpoint::Checkpoint;
use resect_embeddings::Embeddings;
use resect_geometry::View;
use resect_layers::{Layers, Resident};
use resect_prompt::{ModelPrompt, Prompt};
use resect_segment::{Decoders, ImageEmbedding, Prediction, Query, SegmentError, Stored, Weights};

use crate::encodings::Encodings;
use crate::samples::Sample;
use crate::{EvaluateError, Method, flow};

/// A target and what it is prompted with.
#[derive(Clone)]
pub(crate) struct Prompted<'a> {
    pub sample: Sample<'a>,
    /// In pixels of the original image.
    pub prompt: Prompt,
}

/// What both decoders predict for one prompt.
pub(crate) struct Answer {
    pub untuned: Prediction,
    pub tuned: Prediction,
}

/// The base's and the tuned decoder on a device.
pub(crate) struct Pair<B: Layers> {
    /// One that has both decoders, or one for each where their image encoders differ.
    decoders: Vec<Decoders<B>>,
    /// Embeddings that stay on the device: the sweep needs each with every form of prompt.
    resident: Resident<B>,
}

impl<B: Layers> Pair<B> {
    /// Loads the base checkpoint's prompt encoder and decoder, and the decoder of the checkpoint artifact in `tuned`, to decode `sets` of
    /// encodings. At most `batch` prompts pass a decoder together.
    pub(crate) fn load(
        base: &Checkpoint,
        tuned: &Path,
        sets: usize,
        batch: usize,
        resident: Resident<B>,
    ) -> Result<Self, EvaluateError> {
        let weights = [Weights::Base, Weights::Tuned(tuned)];
        let together = weights.chunks(weights.len().div_ceil(sets.max(1)));
        let load = |weights: &[Weights<'_>]| Decoders::load(base, weights, batch, resident.device());
        let decoders = together.map(load).collect::<Result<_, _>>()?;
        Ok(Self { decoders, resident })
    }

    /// Decodes all targets, `batch` at a time, and hands the answers of each batch to `consume` while the next one is decoded.
    pub(crate) fn each_batch(
        &self,
        prompted: &[Prompted<'_>],
        batch: usize,
        multimask: bool,
        encodings: &Encodings,
        consume: impl FnMut(&[Prompted<'_>], Vec<Answer>) -> Result<(), EvaluateError> + Send,
    ) -> Result<(), EvaluateError> {
        let resident = self.resident.clone();
        let gather = move |batch: &[Prompted<'_>]| gather(&resident, encodings, batch);
        let decode =
            |batch: &[Prompted<'_>], gathered: Result<_, _>| self.decode(batch, multimask, gathered?);
        flow::run(prompted, batch, gather, decode, consume)
    }

    /// The predictions for a batch, mask 0 of each, read here and now.
    pub(crate) fn predictions(
        &self,
        batch: &[Prompted<'_>],
        encodings: &Encodings,
    ) -> Result<Vec<Answer>, EvaluateError> {
        self.decode(batch, false, gather(&self.resident, encodings, batch)?)
    }

    fn decode(
        &self,
        batch: &[Prompted<'_>],
        multimask: bool,
        gathered: Vec<Vec<Stored<'_>>>,
    ) -> Result<Vec<Answer>, EvaluateError> {
        let prompts = batch.iter().map(|Prompted { sample, prompt }| {
            let id = || sample.target.id.clone();
            sample.frame.prompt(prompt).map_err(|source| EvaluateError::Prompt { id: id(), source })
        });
        let prompts: Vec<ModelPrompt> = prompts.collect::<Result<_, _>>()?;
        let mut decoded: Vec<Vec<Prediction>> = vec![Vec::new(); batch.len()];
        for (first, (decoders, stored)) in self.decoders.iter().zip(gathered).enumerate() {
            let embeddings = stored.into_iter().map(|stored| decoders.resident(stored, &self.resident));
            let embeddings: Vec<ImageEmbedding<B>> = embeddings.collect::<Result<_, _>>()?;
            let queries = embeddings.iter().zip(&prompts);
            let queries: Vec<Query<'_, B>> =
                queries.map(|(embedding, prompt)| Query { embedding, prompt }).collect();
            let found = decoders.decode(&queries, multimask);
            let found = found.map_err(|error| named(error, batch, first))?;
            decoded.iter_mut().zip(found).for_each(|(all, found)| all.extend(found));
        }
        let answer = |predictions: Vec<Prediction>| {
            let [untuned, tuned] = predictions.try_into().map_err(|of: Vec<_>| {
                EvaluateError::Internal(format!("{} decoders gave predictions, not two", of.len()))
            })?;
            Ok(Answer { untuned, tuned })
        };
        decoded.into_iter().map(answer).collect()
    }
}

/// Reads the encodings of a batch that are not on the device, set by set.
fn gather<'e, B: Layers>(
    resident: &Resident<B>,
    encodings: &'e Encodings,
    batch: &[Prompted<'_>],
) -> Result<Vec<Vec<Stored<'e>>>, EvaluateError> {
    let sets = encodings.sets();
    let of_set = |(number, set)| gather_set(resident, (number, sets.len()), set, batch);
    sets.iter().enumerate().map(of_set).collect()
}

/// Reads the encodings of a batch that are not on the device, those of set `number` of `sets`.
fn gather_set<'e, B: Layers>(
    resident: &Resident<B>,
    (number, sets): (usize, usize),
    embeddings: &'e Embeddings,
    batch: &[Prompted<'_>],
) -> Result<Vec<Stored<'e>>, EvaluateError> {
    let stored = batch.iter().map(|Prompted { sample, .. }| {
        let hash = &sample.target.pixel_hash;
        let found = embeddings.row(hash, View::Identity).zip(embeddings.get(hash, View::Identity));
        let (row, embedding) = found.ok_or_else(|| EvaluateError::Lacking {
            what: "embedding",
            targets: vec![sample.target.id.clone()],
        })?;
        Ok(Stored::read(row * sets + number, embedding, resident))
    });
    stored.collect()
}

/// Names the target and the decoder in an error about a prompt of a batch. `first` is the number of the first decoder.
fn named(error: SegmentError, batch: &[Prompted<'_>], first: usize) -> EvaluateError {
    if let SegmentError::NotFinite { index, decoder } = error
        && let (Some(prompted), Some(&method)) = (batch.get(index), Method::DECODERS.get(first + decoder))
    {
        return EvaluateError::NotFinite { id: prompted.sample.target.id.clone(), method };
    }
    error.into()
}

/// Gives the memory of what was read for a batch back to the system: memory does not grow with the number of samples.
pub(crate) fn release(batch: &[Prompted<'_>], encodings: &Encodings) {
    for Prompted { sample, .. } in batch {
        encodings.release(&sample.target.pixel_hash);
    }
    // All samples are of one artifact.
    if let Some(Prompted { sample, .. }) = batch.first() {
        sample.targets.release();
    }
}
