//! The two decoders, one prompt encoder and the image embeddings: boxes to mask logits.

use std::path::{Path, PathBuf};

use burn::tensor::{Tensor, TensorData, backend::Backend};
use resect_checkpoint::{Checkpoint, NamedTensor, Part, TensorFile};
use resect_data::checkpoint::DECODER_FILE;
use resect_data::embeddings::Embeddings;
use resect_geometry::{Mask, Size, View, upscale_logits};
use resect_kernels::on_lanes;
use resect_sam::{Cpu, MaskDecoder, PromptEmbeddings, PromptEncoder, Prompts, Run, TapeDecoder};

use crate::samples::Sample;
use crate::{EvaluateError, Method, flow};

/// Mask logits of one target on the low-res grid.
pub(crate) struct Logits {
    pub untuned: Vec<f32>,
    pub tuned: Vec<f32>,
}

/// What turns a box on an image into masks: once as the base checkpoint does it, once as the tuned decoder does.
pub(crate) trait Decode {
    /// What is read of a batch before it is decoded.
    type Gathered: Send;

    /// Reads it, on any thread.
    fn gather(embeddings: &Embeddings, samples: &[Sample<'_>]) -> Self::Gathered;

    /// The logits of each target, prompted with its tight box.
    fn decode(
        &mut self,
        samples: &[Sample<'_>],
        gathered: Self::Gathered,
    ) -> Result<Vec<Logits>, EvaluateError>;
}

/// Decodes all targets, `batch` at a time, and hands the logits of each batch to `consume` while the next one is decoded.
pub(crate) fn each_batch<D: Decode>(
    samples: &[Sample<'_>],
    batch: usize,
    decoders: &mut D,
    embeddings: &Embeddings,
    consume: impl FnMut(&[Sample<'_>], Vec<Logits>) -> Result<(), EvaluateError> + Send,
) -> Result<(), EvaluateError> {
    let gather = |samples: &[Sample<'_>]| D::gather(embeddings, samples);
    flow::run(samples, batch, gather, |samples, gathered| decoders.decode(samples, gathered), consume)
}

/// Decodes on the CPU, each target on any thread.
pub(crate) struct OnTapes<'a> {
    embeddings: &'a Embeddings,
    prompts: PromptEncoder<Cpu>,
    untuned: TapeDecoder,
    tuned: TapeDecoder,
    /// The memory of the targets that are decoded together.
    lanes: Vec<(Run, Vec<f32>)>,
}

impl<'a> OnTapes<'a> {
    /// Loads the base checkpoint's prompt encoder and decoder, and the decoder of the checkpoint artifact in `tuned`.
    pub(crate) fn load(
        base: &Checkpoint,
        tuned: &Path,
        embeddings: &'a Embeddings,
    ) -> Result<Self, EvaluateError> {
        let prompts = prompt_encoder(base, &Default::default())?;
        let (path, tensors) = tuned_tensors(tuned)?;
        let tuned = TapeDecoder::from_tensors(base.config(), tensors, &prompts)
            .map_err(|e| EvaluateError::TunedModel { path, source: e.into() })?;
        let tensors = base.part(Part::MaskDecoder).map_err(|e| EvaluateError::Base(e.into()))?;
        let untuned = TapeDecoder::from_tensors(base.config(), tensors, &prompts)
            .map_err(|e| EvaluateError::BaseModel(e.into()))?;
        Ok(Self { embeddings, prompts, untuned, tuned, lanes: Vec::new() })
    }
}

impl Decode for OnTapes<'_> {
    /// Nothing: each thread reads the embedding of its target.
    type Gathered = ();

    fn gather(_: &Embeddings, _: &[Sample<'_>]) {}

    fn decode(&mut self, samples: &[Sample<'_>], (): ()) -> Result<Vec<Logits>, EvaluateError> {
        let Self { embeddings, prompts, untuned, tuned, lanes } = self;
        let tokens = embed_boxes(prompts, samples, &Default::default())?.tokens();
        let length = tokens.len() / samples.len().max(1);
        let prompted: Vec<_> = samples.iter().zip(tokens.chunks(length.max(1))).collect();
        let together = rayon::current_num_threads();
        let decoded = on_lanes(lanes, together, &prompted, |(run, embedding), (sample, tokens)| {
            embedding.clear();
            embeddings.append_to(&sample.target.pixel_hash, View::Identity, embedding);
            let mut logits = |decoder: &TapeDecoder, method| {
                decoder.predict(embedding, tokens, run);
                finite(run.logits(), sample, method)
            };
            let untuned = logits(untuned, Method::Untuned)?;
            Ok(Logits { untuned, tuned: logits(tuned, Method::Tuned)? })
        });
        decoded.into_iter().collect()
    }
}

/// Decodes on the device of a backend, all targets together.
pub(crate) struct OnTensors<B: Backend> {
    prompts: PromptEncoder<B>,
    /// The encoding of every place of the grid, `[1, C, g, g]`.
    position: Tensor<B, 4>,
    untuned: MaskDecoder<B>,
    tuned: MaskDecoder<B>,
    device: B::Device,
}

impl<B: Backend> OnTensors<B> {
    /// As [`OnTapes::load`].
    pub(crate) fn load(base: &Checkpoint, tuned: &Path, device: &B::Device) -> Result<Self, EvaluateError> {
        let (path, tensors) = tuned_tensors(tuned)?;
        let tuned = MaskDecoder::from_tensors(base.config(), tensors, device)
            .map_err(|e| EvaluateError::TunedModel { path, source: e.into() })?;
        let untuned = MaskDecoder::load(base, device).map_err(|e| EvaluateError::BaseModel(e.into()))?;
        let prompts = prompt_encoder(base, device)?;
        let position = prompts.image_positional_encoding();
        Ok(Self { prompts, position, untuned, tuned, device: device.clone() })
    }
}

impl<B: Backend> Decode for OnTensors<B> {
    /// The embeddings of a batch, `[n, C, g, g]`.
    type Gathered = TensorData;

    fn gather(embeddings: &Embeddings, samples: &[Sample<'_>]) -> TensorData {
        let [channels, height, width] = embeddings.shape();
        let mut values = Vec::with_capacity(samples.len() * channels * height * width);
        for Sample { target, .. } in samples {
            embeddings.append_to(&target.pixel_hash, View::Identity, &mut values);
        }
        TensorData::new(values, [samples.len(), channels, height, width])
    }

    fn decode(&mut self, samples: &[Sample<'_>], gathered: TensorData) -> Result<Vec<Logits>, EvaluateError> {
        let embeddings = Tensor::from_data(gathered, &self.device);
        let prompts = embed_boxes(&self.prompts, samples, &self.device)?;
        let logits = |decoder: &MaskDecoder<B>| {
            decoder.forward_single_mask(embeddings.clone(), self.position.clone(), &prompts)
        };
        // One way back from the device for both.
        let logits = Tensor::cat(vec![logits(&self.untuned), logits(&self.tuned)], 0);
        let [_, _, height, width] = logits.dims();
        let logits: Vec<f32> = logits.into_data().convert::<f32>().iter().collect();
        let (untuned, tuned) = logits.split_at(samples.len() * height * width);
        let rows = untuned.chunks(height * width).zip(tuned.chunks(height * width));
        let rows = samples.iter().zip(rows).map(|(sample, (untuned, tuned))| {
            let untuned = finite(untuned, sample, Method::Untuned)?;
            Ok(Logits { untuned, tuned: finite(tuned, sample, Method::Tuned)? })
        });
        rows.collect()
    }
}

fn prompt_encoder<B: Backend>(
    base: &Checkpoint,
    device: &B::Device,
) -> Result<PromptEncoder<B>, EvaluateError> {
    PromptEncoder::load(base, device).map_err(|e| EvaluateError::BaseModel(e.into()))
}

/// The tuned decoder's file and what is in it.
fn tuned_tensors(checkpoint: &Path) -> Result<(PathBuf, Vec<NamedTensor>), EvaluateError> {
    let path = checkpoint.join(DECODER_FILE);
    if !path.exists() {
        return Err(EvaluateError::NoDecoder { path });
    }
    let tensors = TensorFile::open(&path).and_then(|file| file.read_all());
    Ok((path, tensors.map_err(|e| EvaluateError::Tuned(e.into()))?))
}

/// The tight boxes as the decoder takes them.
fn embed_boxes<B: Backend>(
    prompts: &PromptEncoder<B>,
    samples: &[Sample<'_>],
    device: &B::Device,
) -> Result<PromptEmbeddings<B>, EvaluateError> {
    let boxes: Vec<[f32; 4]> = samples
        .iter()
        .map(|Sample { target, .. }| target.bounding_box().to_model(target.original(), target.resized()))
        .collect();
    let boxes = Prompts::boxes(&boxes, device).map_err(|e| EvaluateError::Prompt(e.into()))?;
    Ok(prompts.forward(&boxes))
}

/// Logits that are numbers. A comparison with NaN is false: unnoticed, it would pass for background.
fn finite(logits: &[f32], sample: &Sample<'_>, method: Method) -> Result<Vec<f32>, EvaluateError> {
    match logits.iter().all(|logit| logit.is_finite()) {
        true => Ok(logits.to_vec()),
        false => Err(EvaluateError::NotFinite { id: sample.target.id.clone(), method }),
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
