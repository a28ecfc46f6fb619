//! Embeddings and prompts to logits: the one place where masks are decoded for use.

use std::path::Path;

use burn::tensor::{FloatDType, Tensor, backend::Backend};
use resect_checkpoint::{Checkpoint, TensorFile};
use resect_checkpoint_records::Summary;
use resect_embeddings::Embedding;
use resect_encoder::numbers;
use resect_geometry::Mask;
use resect_layers::{Layers, Resident};
use resect_prompt::{Form, ModelPrompt};
use resect_sam::{MaskDecoder, MaskOutput, PromptEncoder, repeat_per_prompt};
use resect_tuning::Tuned;

use crate::{Frame, ImageEmbedding, SegmentError, Stored};

/// Which weights a mask decoder has.
#[derive(Clone, Copy, Debug)]
pub enum Weights<'a> {
    /// Those of the base checkpoint.
    Base,
    /// Tuned ones: the folder of a `checkpoint` artifact.
    Tuned(&'a Path),
}

/// A prompt and the image that it is about.
#[derive(Debug)]
pub struct Query<'a, B: Backend> {
    /// The image's encoding.
    pub embedding: &'a ImageEmbedding<B>,
    /// The prompt in the model's frame ([`Frame::prompt`]).
    pub prompt: &'a ModelPrompt,
}

/// The masks that one prompt gives: mask 0 alone, or with `multimask` the masks 1 to 3, the parts of an ambiguous object.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    masks: Vec<PredictedMask>,
}

/// A mask and its estimated quality.
#[derive(Clone, Debug, PartialEq)]
pub struct PredictedMask {
    /// Logits on the low-res grid `[4g, 4g]`, row by row; the object is where they are positive. They cover the padded model input
    /// and are finite. (`low_res_masks`)
    pub logits: Vec<f32>,
    /// Estimated intersection over union of the mask with the object: a regression, not bound to `[0, 1]`, and finite.
    /// (`iou_predictions`)
    pub predicted_iou: f32,
}

impl Prediction {
    /// A prediction of some masks.
    pub fn new(masks: Vec<PredictedMask>) -> Self {
        Self { masks }
    }

    /// The masks; at least one.
    pub fn masks(&self) -> &[PredictedMask] {
        &self.masks
    }

    /// The place of the mask of highest predicted IoU; of equal ones the first.
    pub fn best(&self) -> usize {
        let mut best = 0;
        for (place, mask) in self.masks.iter().enumerate() {
            if mask.predicted_iou > self.masks[best].predicted_iou {
                best = place;
            }
        }
        best
    }

    /// The predicted IoU of each mask.
    pub fn iou_scores(&self) -> Vec<f32> {
        self.masks.iter().map(|mask| mask.predicted_iou).collect()
    }
}

impl PredictedMask {
    /// The mask at the image's original size.
    ///
    /// # Errors
    /// A frame of another model.
    pub fn mask(&self, frame: &Frame) -> Result<Mask, SegmentError> {
        frame.mask(&self.logits)
    }

    /// The logits at the image's original size, `[height, width]`.
    ///
    /// # Errors
    /// A frame of another model.
    pub fn upscaled(&self, frame: &Frame) -> Result<Vec<f32>, SegmentError> {
        frame.upscaled(&self.logits)
    }
}

/// The prompt encoder of a model, and one or more mask decoders that share it, on a device.
pub struct Decoders<B: Backend> {
    prompts: PromptEncoder<B>,
    /// The encoding of every place of the grid, `[1, C, g, g]`.
    position: Tensor<B, 4>,
    decoders: Vec<MaskDecoder<B>>,
    /// `[C, g, g]`
    shape: [usize; 3],
    /// Prompts that pass a decoder together; it bounds memory.
    batch: usize,
    device: B::Device,
}

impl<B: Layers> Decoders<B> {
    /// Loads the prompt encoder of the base checkpoint and a mask decoder for each of `weights`. At most `batch` prompts, and at
    /// least one, pass a decoder together.
    ///
    /// # Errors
    /// Tensors that cannot be read or that do not fit the base checkpoint.
    pub fn load(
        base: &Checkpoint,
        weights: &[Weights<'_>],
        batch: usize,
        device: &B::Device,
    ) -> Result<Self, SegmentError> {
        let failed = |error: resect_sam::Error| SegmentError::Model(error.into());
        let decoder = |weights: &Weights<'_>| match weights {
            Weights::Base => MaskDecoder::load(base, device).map_err(failed),
            Weights::Tuned(dir) => {
                let tuned = tuned(base, dir)?;
                MaskDecoder::from_source(base.config(), &mut |name| Ok(tuned.tensor(name)?), device)
                    .map_err(failed)
            }
        };
        let decoders = weights.iter().map(decoder).collect::<Result<_, _>>()?;
        let prompts = PromptEncoder::load(base, device).map_err(failed)?;
        let position = prompts.image_positional_encoding();
        let config = base.config();
        let shape = [config.embedding_channels(), config.grid(), config.grid()];
        Ok(Self { prompts, position, decoders, shape, batch: batch.max(1), device: device.clone() })
    }

    /// Shape of an embedding, `[C, g, g]`.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Brings a stored embedding to the device.
    ///
    /// # Errors
    /// An embedding of another model.
    pub fn embedding(&self, stored: Embedding<'_>) -> Result<ImageEmbedding<B>, SegmentError> {
        ImageEmbedding::new(stored, self.shape.iter().product(), &self.device)
    }

    /// Takes a stored embedding from those that stay on the device, or brings it there.
    ///
    /// # Errors
    /// An embedding of another model.
    pub fn resident(
        &self,
        stored: Stored<'_>,
        resident: &Resident<B>,
    ) -> Result<ImageEmbedding<B>, SegmentError> {
        ImageEmbedding::resident(stored, self.shape.iter().product(), resident)
    }
}

impl<B: Layers> Decoders<B> {
    /// The predictions of each decoder for each query, decoders in the order in which they were loaded. With `multimask` a
    /// prediction has the masks 1 to 3, without it mask 0.
    ///
    /// Prompts of one form pass together. On the CPU, what a query gives depends on nothing but itself, to the bit: neither on the
    /// other queries nor on the batch.
    ///
    /// # Errors
    /// A prompt that the model does not take; logits or scores that are NaN or infinite.
    pub fn decode(
        &self,
        queries: &[Query<'_, B>],
        multimask: bool,
    ) -> Result<Vec<Vec<Prediction>>, SegmentError> {
        let kind = |query: &Query<'_, B>| -> (Form, bool) { (query.prompt.form(), query.embedding.half) };
        let mut order: Vec<usize> = (0..queries.len()).collect();
        order.sort_by_key(|index| kind(&queries[*index]));
        let mut decoded: Vec<(usize, Vec<Prediction>)> = Vec::with_capacity(queries.len());
        for alike in order.chunk_by(|a, b| kind(&queries[*a]) == kind(&queries[*b])) {
            for batch in alike.chunks(self.batch) {
                let chosen: Vec<&Query<'_, B>> = batch.iter().map(|index| &queries[*index]).collect();
                let predictions = B::within(|| self.decode_alike(&chosen, multimask))?;
                decoded.extend(batch.iter().copied().zip(predictions));
            }
        }
        if decoded.len() != queries.len() {
            return Err(SegmentError::Incomplete { found: decoded.len(), expected: queries.len() });
        }
        for (index, predictions) in &decoded {
            check_finite(*index, predictions)?;
        }
        decoded.sort_by_key(|(index, _)| *index);
        Ok(decoded.into_iter().map(|(_, predictions)| predictions).collect())
    }

    /// The embedding of each query in single precision, `[n, C, g, g]`.
    fn embeddings(&self, queries: &[&Query<'_, B>]) -> Tensor<B, 4> {
        let (n, [channels, height, width]) = (queries.len(), self.shape);
        match queries {
            // All on one image: a single copy makes them.
            [first, rest @ ..] if rest.iter().all(|query| std::ptr::eq(query.embedding, first.embedding)) => {
                let embedding = first.embedding.values.clone().cast(FloatDType::F32);
                repeat_per_prompt(embedding.reshape([1, channels, height, width]), n)
            }
            _ => {
                let embeddings = queries.iter().map(|query| query.embedding.values.clone());
                let embeddings = Tensor::cat(embeddings.collect(), 0).cast(FloatDType::F32);
                embeddings.reshape([n, channels, height, width])
            }
        }
    }

    /// The predictions of queries whose prompts have one form and whose embeddings one format.
    fn decode_alike(
        &self,
        queries: &[&Query<'_, B>],
        multimask: bool,
    ) -> Result<Vec<Vec<Prediction>>, SegmentError> {
        let n = queries.len();
        let embeddings = self.embeddings(queries);
        let prompts: Vec<&ModelPrompt> = queries.iter().map(|query| query.prompt).collect();
        let prompts = self.prompts.forward(&prompts).map_err(|error| SegmentError::Prompts(error.into()))?;
        let (mut rows, mut masks, mut cells) = (Vec::with_capacity(self.decoders.len()), 0, 0);
        for decoder in &self.decoders {
            let MaskOutput { low_res_logits, iou_scores } =
                decoder.forward(embeddings.clone(), self.position.clone(), &prompts, multimask);
            let [_, m, height, width] = low_res_logits.dims();
            (masks, cells) = (m, height * width);
            // A mask and its score in a row.
            let logits = low_res_logits.reshape([n * m, cells]);
            rows.push(Tensor::cat(vec![logits, iou_scores.reshape([n * m, 1])], 1));
        }
        // The results of all decoders come from the device at once.
        let rows = match rows.len() {
            0 => return Ok(vec![Vec::new(); n]),
            1 => numbers(rows.remove(0)),
            _ => numbers(Tensor::cat(rows, 0)),
        };
        let prediction = |rows: &[f32]| {
            let masks = rows
                .chunks_exact(cells + 1)
                .map(|row| PredictedMask { logits: row[..cells].to_vec(), predicted_iou: row[cells] });
            Prediction::new(masks.collect())
        };
        let of_query = masks * (cells + 1);
        let mut predictions = vec![Vec::with_capacity(self.decoders.len()); n];
        for of_decoder in rows.chunks_exact(n * of_query) {
            for (predictions, rows) in predictions.iter_mut().zip(of_decoder.chunks_exact(of_query)) {
                predictions.push(prediction(rows));
            }
        }
        Ok(predictions)
    }
}

/// All logits and scores must be finite. A comparison with NaN is false: unnoticed, it would pass for background.
fn check_finite(index: usize, predictions: &[Prediction]) -> Result<(), SegmentError> {
    let finite = |mask: &PredictedMask| {
        mask.predicted_iou.is_finite() && mask.logits.iter().all(|logit| logit.is_finite())
    };
    match predictions.iter().position(|prediction| !prediction.masks.iter().all(finite)) {
        None => Ok(()),
        Some(decoder) => Err(SegmentError::NotFinite { index, decoder }),
    }
}

/// The model of a `checkpoint` artifact.
///
/// # Errors
/// An artifact that cannot be read, or that does not fit the base.
pub fn tuned<'a>(base: &'a Checkpoint, dir: &Path) -> Result<Tuned<'a>, SegmentError> {
    let summary = Summary::read(dir)?;
    let path = summary.weights(dir);
    if !path.exists() {
        return Err(SegmentError::NoWeights { path });
    }
    let tensors = TensorFile::open(&path).and_then(|file| file.read_weights());
    let tensors = tensors.map_err(|error| SegmentError::Tuned(error.into()))?;
    Tuned::new(base, &summary.tuning, tensors)
        .map_err(|error| SegmentError::TunedModel { path, source: error.into() })
}

#[cfg(test)]
mod tests;
