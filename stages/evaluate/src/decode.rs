//! The two decoders, one prompt encoder and the image embeddings: prompts to mask logits.

use std::ops::Range;
use std::path::{Path, PathBuf};

use burn::tensor::{FloatDType, Tensor, TensorData, backend::Backend};
use resect_checkpoint::{Checkpoint, NamedTensor, Part, TensorFile};
use resect_checkpoint_records::DECODER_FILE;
use resect_embeddings::{Embedding, Embeddings};
use resect_geometry::{View, point_to_model, upscale_logits};
use resect_kernels::on_lanes;
use resect_sam::{
    Cpu, DecoderBackend, Heads, MaskDecoder, MaskOutput, Point, PointLabel, PromptEmbeddings, PromptEncoder,
    Prompts, Resident, Run, TapeDecoder,
};

use crate::prompt::Prompt;
use crate::samples::Sample;
use crate::{EvaluateError, Grids, Method, flow};

/// A target and what it is prompted with.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub sample: Sample<'a>,
    pub prompt: Prompt,
}

/// Which of a decoder's masks are wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Masks {
    /// Mask 0, the best single one.
    Single,
    /// The masks 1 to 3, the parts of an ambiguous object.
    Multi,
}

/// A mask on the low-res grid, and its estimated IoU.
#[derive(Clone, Debug)]
pub(crate) struct MaskLogits {
    pub logits: Vec<f32>,
    pub predicted_iou: f32,
}

/// What both decoders answer to one prompt.
pub(crate) struct Answer {
    pub untuned: Vec<MaskLogits>,
    pub tuned: Vec<MaskLogits>,
}

/// What turns a prompt on an image into masks: once as the base checkpoint does it, once as the tuned decoder does.
pub(crate) trait Decode {
    /// What tells which embeddings need not be read.
    type Held: Send;

    /// What is read of a batch before it is decoded.
    type Gathered: Send;

    /// What is held by now, and, as it is shared, later.
    fn held(&self) -> Self::Held;

    /// Reads what a batch needs, on any thread.
    fn gather(held: &Self::Held, embeddings: &Embeddings, batch: &[Asked<'_>]) -> Self::Gathered;

    /// The masks of each target. All prompts of a batch have the same parts.
    fn decode(
        &mut self,
        batch: &[Asked<'_>],
        masks: Masks,
        gathered: Self::Gathered,
    ) -> Result<Vec<Answer>, EvaluateError>;
}

/// Decodes all targets, `batch` at a time, and hands the answers of each batch to `consume` while the next one is decoded.
pub(crate) fn each_batch<D: Decode>(
    asked: &[Asked<'_>],
    batch: usize,
    masks: Masks,
    decoders: &mut D,
    embeddings: &Embeddings,
    consume: impl FnMut(&[Asked<'_>], Vec<Answer>) -> Result<(), EvaluateError> + Send,
) -> Result<(), EvaluateError> {
    let held = decoders.held();
    let gather = move |batch: &[Asked<'_>]| D::gather(&held, embeddings, batch);
    flow::run(asked, batch, gather, |batch, gathered| decoders.decode(batch, masks, gathered), consume)
}

/// Gives the memory of what was read for a batch back to the system: memory does not grow with the number of samples.
pub(crate) fn release(batch: &[Asked<'_>], embeddings: &Embeddings) {
    for Asked { sample, .. } in batch {
        embeddings.release(&sample.target.pixel_hash, View::Identity);
    }
    // All samples are of one artifact.
    if let Some(Asked { sample, .. }) = batch.first() {
        sample.targets.release();
    }
}

/// Decodes on the CPU, each target on any thread.
pub(crate) struct OnTapes<'a> {
    embeddings: &'a Embeddings,
    prompts: PromptEncoder<Cpu>,
    untuned: (TapeDecoder, Heads),
    tuned: (TapeDecoder, Heads),
    /// Masks there are, the single one included.
    count: usize,
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
        let load = |tensors| {
            let decoder = TapeDecoder::from_tensors(base.config(), tensors, &prompts)?;
            let heads = decoder.heads()?;
            Ok((decoder, heads))
        };
        let tuned = load(tensors)
            .map_err(|e: resect_sam::Error| EvaluateError::TunedModel { path, source: e.into() })?;
        let tensors = base.part(Part::MaskDecoder).map_err(|e| EvaluateError::Base(e.into()))?;
        let untuned = load(tensors).map_err(|e| EvaluateError::BaseModel(e.into()))?;
        let count = 1 + base.config().decoder.num_multimask_outputs;
        Ok(Self { embeddings, prompts, untuned, tuned, count, lanes: Vec::new() })
    }
}

impl Decode for OnTapes<'_> {
    type Held = ();

    /// Nothing: each thread reads the embedding of its target.
    type Gathered = ();

    fn held(&self) {}

    fn gather((): &(), _: &Embeddings, _: &[Asked<'_>]) {}

    fn decode(&mut self, batch: &[Asked<'_>], masks: Masks, (): ()) -> Result<Vec<Answer>, EvaluateError> {
        let masks = masks.range(self.count);
        let Self { embeddings, prompts, untuned, tuned, lanes, .. } = self;
        let tokens = embed(prompts, batch, &Default::default())?.tokens();
        let length = tokens.len() / batch.len().max(1);
        let prompted: Vec<_> = batch.iter().zip(tokens.chunks(length.max(1))).collect();
        let together = rayon::current_num_threads();
        let decoded = on_lanes(lanes, together, &prompted, |(run, embedding), (asked, tokens)| {
            embedding.clear();
            embeddings.append_to(&asked.sample.target.pixel_hash, View::Identity, embedding);
            let mut answer = |(decoder, heads): &(TapeDecoder, Heads), method| {
                decoder.predict_masks(heads, embedding, tokens, masks.clone(), run);
                let scores = run.iou_scores();
                let logits = run.logits().chunks(run.logits().len() / scores.len());
                finite(logits.zip(scores.iter().copied()), &asked.sample, method)
            };
            let untuned = answer(untuned, Method::Untuned)?;
            Ok(Answer { untuned, tuned: answer(tuned, Method::Tuned)? })
        });
        decoded.into_iter().collect()
    }
}

impl Masks {
    fn range(self, count: usize) -> Range<usize> {
        match self {
            Self::Single => 0..1,
            Self::Multi => 1..count,
        }
    }
}

/// Decodes on the device of a backend, all targets together.
pub(crate) struct OnTensors<B: Backend> {
    prompts: PromptEncoder<B>,
    /// The encoding of every place of the grid, `[1, C, g, g]`.
    position: Tensor<B, 4>,
    untuned: MaskDecoder<B>,
    tuned: MaskDecoder<B>,
    /// The embeddings stay: the sweep asks for each with every form of prompt.
    embeddings: Resident<B>,
}

impl<B: Backend> OnTensors<B> {
    /// As [`OnTapes::load`].
    pub(crate) fn load(
        base: &Checkpoint,
        tuned: &Path,
        embeddings: Resident<B>,
    ) -> Result<Self, EvaluateError> {
        let device = embeddings.device();
        let (path, tensors) = tuned_tensors(tuned)?;
        let tuned = MaskDecoder::from_tensors(base.config(), tensors, device)
            .map_err(|e| EvaluateError::TunedModel { path, source: e.into() })?;
        let untuned = MaskDecoder::load(base, device).map_err(|e| EvaluateError::BaseModel(e.into()))?;
        let prompts = prompt_encoder(base, device)?;
        let position = prompts.image_positional_encoding();
        Ok(Self { prompts, position, untuned, tuned, embeddings })
    }
}

impl<B: DecoderBackend> Decode for OnTensors<B> {
    type Held = Resident<B>;

    /// The shape of embeddings, `[C, g, g]`; and of each of a batch its number among all, and itself where the device lacks it.
    type Gathered = ([usize; 3], Vec<(usize, TensorData)>);

    fn held(&self) -> Resident<B> {
        self.embeddings.clone()
    }

    fn gather(held: &Resident<B>, embeddings: &Embeddings, batch: &[Asked<'_>]) -> Self::Gathered {
        let one = |Asked { sample, .. }: &Asked<'_>| {
            let hash = &sample.target.pixel_hash;
            // All were seen to be there.
            let row = embeddings.row(hash, View::Identity).unwrap_or_default();
            let read = if held.holds(row) { None } else { embeddings.get(hash, View::Identity) };
            let data = match read {
                Some(Embedding::F16(values)) => TensorData::new(values.to_vec(), [values.len()]),
                Some(Embedding::F32(values)) => TensorData::new(values.to_vec(), [values.len()]),
                None => TensorData::new(Vec::<f32>::new(), [0]),
            };
            (row, data)
        };
        (embeddings.shape(), batch.iter().map(one).collect())
    }

    fn decode(
        &mut self,
        batch: &[Asked<'_>],
        masks: Masks,
        ([channels, height, width], rows): Self::Gathered,
    ) -> Result<Vec<Answer>, EvaluateError> {
        let rows = rows.into_iter().map(|(row, data)| self.embeddings.get(row, || data));
        let embeddings = Tensor::cat(rows.collect(), 0).cast(FloatDType::F32);
        let embeddings = embeddings.reshape([batch.len(), channels, height, width]);
        let prompts = embed(&self.prompts, batch, self.embeddings.device())?;
        let decode = |decoder: &MaskDecoder<B>| {
            let multimask = matches!(masks, Masks::Multi);
            let MaskOutput { low_res_logits, iou_scores } =
                decoder.forward(embeddings.clone(), self.position.clone(), &prompts, multimask);
            let [n, m, height, width] = low_res_logits.dims();
            // A mask and its score in a row.
            let logits = low_res_logits.reshape([n * m, height * width]);
            (Tensor::cat(vec![logits, iou_scores.reshape([n * m, 1])], 1), m, height * width)
        };
        let ((untuned, count, cells), (tuned, ..)) = (decode(&self.untuned), decode(&self.tuned));
        // One way back from the device for both.
        let rows: Vec<f32> =
            Tensor::cat(vec![untuned, tuned], 0).into_data().convert::<f32>().iter().collect();
        let answer = |rows: &[f32], asked: &Asked<'_>, method| {
            let masks = rows.chunks(cells + 1).map(|row| (&row[..cells], row[cells]));
            finite(masks, &asked.sample, method)
        };
        let (untuned, tuned) = rows.split_at(rows.len() / 2);
        let of_target = count * (cells + 1);
        let rows = batch.iter().zip(untuned.chunks(of_target).zip(tuned.chunks(of_target)));
        let answers = rows.map(|(asked, (untuned, tuned))| {
            let untuned = answer(untuned, asked, Method::Untuned)?;
            Ok(Answer { untuned, tuned: answer(tuned, asked, Method::Tuned)? })
        });
        answers.collect()
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
    let tensors = TensorFile::open(&path).and_then(|file| file.read_weights());
    Ok((path, tensors.map_err(|e| EvaluateError::Tuned(e.into()))?))
}

/// The prompts as the decoder takes them.
fn embed<B: Backend>(
    prompts: &PromptEncoder<B>,
    batch: &[Asked<'_>],
    device: &B::Device,
) -> Result<PromptEmbeddings<B>, EvaluateError> {
    let (mut boxes, mut points) = (Vec::new(), Vec::new());
    for Asked { sample, prompt } in batch {
        let (original, resized) = (sample.target.original(), sample.target.resized());
        boxes.extend(prompt.bounds.map(|bounds| bounds.to_model(original, resized)));
        points.extend(prompt.point.map(|point| {
            let [x, y] = point_to_model(point.map(f64::from), original, resized);
            vec![Point { x, y, label: PointLabel::Foreground }]
        }));
    }
    let mut given = Prompts::none(batch.len(), device);
    if !points.is_empty() {
        given = given.with_points(&points).map_err(|e| EvaluateError::Prompt(e.into()))?;
    }
    if !boxes.is_empty() {
        given = given.with_boxes(&boxes).map_err(|e| EvaluateError::Prompt(e.into()))?;
    }
    Ok(prompts.forward(&given))
}

/// Masks, each with its score, all of which are numbers. A comparison with NaN is false: unnoticed, it would pass for background.
fn finite<'a>(
    masks: impl Iterator<Item = (&'a [f32], f32)>,
    sample: &Sample<'_>,
    method: Method,
) -> Result<Vec<MaskLogits>, EvaluateError> {
    let masks = masks.map(|(logits, predicted_iou)| {
        match predicted_iou.is_finite() && logits.iter().all(|logit| logit.is_finite()) {
            true => Ok(MaskLogits { logits: logits.to_vec(), predicted_iou }),
            false => Err(EvaluateError::NotFinite { id: sample.target.id.clone(), method }),
        }
    });
    masks.collect()
}

/// Logits at original resolution, upscaled as SAM does it.
pub(crate) fn original(logits: &[f32], grids: Grids, sample: &Sample<'_>) -> Vec<f32> {
    let (resized, original) = (sample.target.resized(), sample.target.original());
    upscale_logits(logits, grids.low_res, grids.input, resized, original)
}
