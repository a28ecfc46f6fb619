//! The model as a library is used: set an image, ask for masks.

use std::path::PathBuf;
use std::sync::OnceLock;

use burn::tensor::backend::Backend;
use resect_checkpoint::{Checkpoint, SamConfig};
use resect_embeddings::Embedding;
use resect_encoder::Encoder;
use resect_encoder::normalise;
use resect_geometry::Size;
use resect_layers::Layers;
use resect_numeric::Precision;
use resect_prompt::{ModelPrompt, Prompt};

use crate::{Decoders, Frame, ImageEmbedding, Prediction, Query, SegmentError, Weights, tuned};

/// A SAM on a device. Its image encoder is loaded when an image must be encoded for the first time. (`SamPredictor`)
pub struct Predictor<B: Backend> {
    pub(crate) checkpoint: Checkpoint,
    /// The folder of the `checkpoint` artifact, where the weights are tuned.
    tuned: Option<PathBuf>,
    encoder: OnceLock<Encoder<B>>,
    decoders: Decoders<B>,
    device: B::Device,
}

/// An image that is set, and on which prompts can be given.
pub struct Session<'a, B: Backend> {
    predictor: &'a Predictor<B>,
    embedding: ImageEmbedding<B>,
    frame: Frame,
}

impl<B: Layers> Predictor<B> {
    /// Loads the prompt encoder of the base checkpoint and a mask decoder with `weights`. The image encoder is loaded later, with the same
    /// weights. At most `batch` prompts, and at least one, pass the decoder together; it bounds memory.
    ///
    /// # Errors
    /// Tensors that cannot be read or that do not fit the base checkpoint.
    pub fn load(
        checkpoint: Checkpoint,
        weights: Weights<'_>,
        batch: usize,
        device: &B::Device,
    ) -> Result<Self, SegmentError> {
        let decoders = Decoders::load(&checkpoint, &[weights], batch, device)?;
        let tuned = match weights {
            Weights::Base => None,
            Weights::Tuned(dir) => Some(dir.to_owned()),
        };
        Ok(Self { checkpoint, tuned, encoder: OnceLock::new(), decoders, device: device.clone() })
    }

    /// The base checkpoint.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The model's sizes.
    pub fn config(&self) -> &SamConfig {
        self.checkpoint.config()
    }

    /// The prompt encoder and the mask decoder.
    pub fn decoders(&self) -> &Decoders<B> {
        &self.decoders
    }

    /// The image encoder. Threads that ask for it at the same time for the first time may each load it; one is kept.
    ///
    /// # Errors
    /// Tensors that cannot be read.
    pub fn encoder(&self) -> Result<&Encoder<B>, SegmentError> {
        if let Some(encoder) = self.encoder.get() {
            return Ok(encoder);
        }
        let loaded = match &self.tuned {
            None => Encoder::load(&self.checkpoint, Precision::F32, &self.device)?,
            Some(dir) => {
                let tuned = tuned(&self.checkpoint, dir)?;
                let source = &mut |name: &str| Ok(tuned.tensor(name)?);
                Encoder::from_source(self.config(), source, Precision::F32, &self.device)?
            }
        };
        Ok(self.encoder.get_or_init(|| loaded))
    }

    /// Encodes an image. `pixels` are those of the resized image, u8 red, green and blue planes `[3, height, width]` of the size
    /// that [`Frame::new`] gives for an image of size `original`. (`set_torch_image`)
    ///
    /// # Errors
    /// Pixels of another size; an encoder that cannot be loaded.
    pub fn set_image(&self, pixels: &[u8], original: Size) -> Result<Session<'_, B>, SegmentError> {
        let frame = Frame::new(self.config(), original);
        let embedding = self.encoder()?.forward(self.normalised(pixels, &frame)?)?;
        let embedding = ImageEmbedding { values: embedding.flatten::<1>(0, 3), half: false };
        Ok(Session { predictor: self, embedding, frame })
    }

    /// Sets an image by its stored features: `C * g * g` numbers that this model's encoder gave, for an image of size `original`.
    ///
    /// # Errors
    /// An embedding of another model.
    pub fn set_embedding(
        &self,
        stored: Embedding<'_>,
        original: Size,
    ) -> Result<Session<'_, B>, SegmentError> {
        let embedding = self.decoders.embedding(stored)?;
        Ok(Session { predictor: self, embedding, frame: Frame::new(self.config(), original) })
    }

    /// What the image encoder takes of a resized image, `[1, 3, S, S]`.
    pub(crate) fn normalised(&self, pixels: &[u8], frame: &Frame) -> Result<Vec<f32>, SegmentError> {
        let (resized, side) = (frame.resized(), self.config().image_size());
        normalise(pixels, resized.height as usize, resized.width as usize, side)
            .map_err(|error| SegmentError::Image(error.into()))
    }
}

impl<B: Layers> Session<'_, B> {
    /// How the image lies in the model: what converts its masks to the original size.
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// The prediction for each prompt, in their order. Prompts are in pixels of the original image and may have different parts;
    /// on the CPU, none changes what another gives. With `multimask` a prediction has the masks 1 to 3, the parts of an ambiguous
    /// object; without it mask 0, the best single one.
    ///
    /// # Errors
    /// A prompt that does not fit the image; logits or scores that are NaN or infinite.
    pub fn predict(&self, prompts: &[Prompt], multimask: bool) -> Result<Vec<Prediction>, SegmentError> {
        let prompts = prompts.iter().enumerate().map(|(index, prompt)| {
            self.frame.prompt(prompt).map_err(|source| SegmentError::Prompt { index, source })
        });
        let prompts: Vec<ModelPrompt> = prompts.collect::<Result<_, _>>()?;
        let queries: Vec<Query<'_, B>> =
            prompts.iter().map(|prompt| Query { embedding: &self.embedding, prompt }).collect();
        let decoded = self.predictor.decoders.decode(&queries, multimask)?;
        // A predictor has one decoder.
        let predictions: Vec<Prediction> = decoded.into_iter().flatten().collect();
        match predictions.len() == prompts.len() {
            true => Ok(predictions),
            false => Err(SegmentError::Incomplete { found: predictions.len(), expected: prompts.len() }),
        }
    }
}

#[cfg(test)]
mod tests;
