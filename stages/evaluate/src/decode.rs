//! The two decoders, one prompt encoder and the image embeddings: boxes to mask logits.

use std::path::Path;

use burn::tensor::{Tensor, TensorData, backend::Backend};
use resect_checkpoint::{Checkpoint, TensorFile};
use resect_data::checkpoint::DECODER_FILE;
use resect_data::embeddings::Embeddings;
use resect_geometry::{Mask, Size, View, upscale_logits};
use resect_sam::{MaskDecoder, PromptEmbeddings, PromptEncoder, Prompts};

use crate::samples::Sample;
use crate::{EvaluateError, Method};

/// Mask logits of one target on the low-res grid.
pub(crate) struct Logits {
    pub untuned: Vec<f32>,
    pub tuned: Vec<f32>,
}

/// What turns a box on an image into masks: once as the base checkpoint does it, once as the tuned decoder does.
pub(crate) struct Decoders<'a, B: Backend> {
    embeddings: &'a Embeddings,
    prompts: PromptEncoder<B>,
    /// The encoding of every place of the grid, `[1, C, g, g]`.
    position: Tensor<B, 4>,
    untuned: MaskDecoder<B>,
    tuned: MaskDecoder<B>,
    device: B::Device,
}

impl<'a, B: Backend> Decoders<'a, B> {
    /// Loads the base checkpoint's prompt encoder and decoder, and the decoder of the checkpoint artifact in `tuned`.
    pub(crate) fn load(
        base: &Checkpoint,
        tuned: &Path,
        embeddings: &'a Embeddings,
        device: &B::Device,
    ) -> Result<Self, EvaluateError> {
        let path = tuned.join(DECODER_FILE);
        if !path.exists() {
            return Err(EvaluateError::NoDecoder { path });
        }
        let tensors = TensorFile::open(&path)
            .and_then(|file| file.read_all())
            .map_err(|e| EvaluateError::Tuned(e.into()))?;
        let tuned = MaskDecoder::from_tensors(base.config(), tensors, device)
            .map_err(|e| EvaluateError::TunedModel { path, source: e.into() })?;
        let untuned = MaskDecoder::load(base, device).map_err(|e| EvaluateError::BaseModel(e.into()))?;
        let prompts = PromptEncoder::load(base, device).map_err(|e| EvaluateError::BaseModel(e.into()))?;
        let position = prompts.image_positional_encoding();
        Ok(Self { embeddings, prompts, position, untuned, tuned, device: device.clone() })
    }

    /// The logits of each target, prompted with its tight box.
    pub(crate) fn decode(&self, samples: &[Sample<'_>]) -> Result<Vec<Logits>, EvaluateError> {
        let [channels, height, width] = self.embeddings.shape();
        let mut values = Vec::with_capacity(samples.len() * channels * height * width);
        let mut boxes = Vec::with_capacity(samples.len());
        for Sample { target, .. } in samples {
            self.embeddings.append_to(&target.pixel_hash, View::Identity, &mut values);
            boxes.push(target.bounding_box().to_model(target.original(), target.resized()));
        }
        let embeddings = TensorData::new(values, [samples.len(), channels, height, width]);
        let embeddings = Tensor::from_data(embeddings, &self.device);
        let prompts = Prompts::boxes(&boxes, &self.device).map_err(|e| EvaluateError::Prompt(e.into()))?;
        let prompts = self.prompts.forward(&prompts);

        let untuned = self.logits(&self.untuned, embeddings.clone(), &prompts, samples, Method::Untuned)?;
        let tuned = self.logits(&self.tuned, embeddings, &prompts, samples, Method::Tuned)?;
        Ok(untuned.into_iter().zip(tuned).map(|(untuned, tuned)| Logits { untuned, tuned }).collect())
    }

    fn logits(
        &self,
        decoder: &MaskDecoder<B>,
        embeddings: Tensor<B, 4>,
        prompts: &PromptEmbeddings<B>,
        samples: &[Sample<'_>],
        method: Method,
    ) -> Result<Vec<Vec<f32>>, EvaluateError> {
        let logits = decoder.forward_single_mask(embeddings, self.position.clone(), prompts);
        let [_, _, height, width] = logits.dims();
        let all: Vec<f32> = logits.into_data().convert::<f32>().iter().collect();
        let rows = samples.iter().zip(all.chunks(height * width));
        rows.map(|(sample, logits)| match logits.iter().all(|logit| logit.is_finite()) {
            true => Ok(logits.to_vec()),
            // A comparison with NaN is false: unnoticed, it would pass for background.
            false => Err(EvaluateError::NotFinite { id: sample.target.id.clone(), method }),
        })
        .collect()
    }
}

/// The mask on the low-res grid: where the logit is above 0, the padding included.
pub(crate) fn low_res_mask(logits: &[f32], low_res: u32) -> Mask {
    Mask::new(Size::square(low_res), logits.iter().map(|&logit| logit > 0.0).collect())
}

/// The mask at original resolution: logits upscaled as SAM does it, then above 0.
pub(crate) fn original_mask(logits: &[f32], low_res: u32, input: u32, sample: &Sample<'_>) -> Mask {
    let (resized, original) = (sample.target.resized(), sample.target.original());
    let upscaled = upscale_logits(logits, low_res, input, resized, original);
    Mask::new(original, upscaled.into_iter().map(|logit| logit > 0.0).collect())
}
