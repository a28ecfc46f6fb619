//! The model: pixels to an embedding, an embedding and prompts to logits.

use std::path::Path;

use burn::tensor::backend::{Backend, BackendTypes};
use burn::tensor::{Tensor, TensorData};
use resect_checkpoint::{Checkpoint, SamConfig, TensorFile};
use resect_checkpoint_records::DECODER_FILE;
use resect_geometry::{Size, box_to_model, point_to_model};
use resect_numeric::Precision;
use resect_prompts::{Label, PointPrompt, Prompt};
use resect_sam::{
    CpuEncoder, DecoderBackend, EncoderBackend, ImageEncoder, MaskDecoder, Point, PointLabel, PromptEncoder,
    Prompts, normalise, repeat_per_prompt,
};

use crate::PredictError;

/// What turns normalised pixels `[1, 3, S, S]` into an embedding `[1, C, g, g]`.
pub type Encode<B> = Box<dyn Fn(Vec<f32>) -> Tensor<B, 4>>;

/// Loads a checkpoint's image encoder for a device.
pub type Load<B> = fn(&Checkpoint, &<B as BackendTypes>::Device) -> Result<Encode<B>, resect_sam::Error>;

/// The CPU's own encoder.
///
/// # Errors
/// Tensors that cannot be read.
pub fn on_slices<B: Backend>(
    checkpoint: &Checkpoint,
    device: &B::Device,
) -> Result<Encode<B>, resect_sam::Error> {
    let encoder = CpuEncoder::load(checkpoint, Precision::F32)?;
    let (shape, device) = (embedding_shape(checkpoint.config()), device.clone());
    Ok(Box::new(move |pixels| Tensor::from_data(TensorData::new(encoder.forward(&pixels), shape), &device)))
}

/// The encoder on a backend's tensors.
///
/// # Errors
/// Tensors that cannot be read.
pub fn on_tensors<B: EncoderBackend>(
    checkpoint: &Checkpoint,
    device: &B::Device,
) -> Result<Encode<B>, resect_sam::Error> {
    let encoder = ImageEncoder::<B>::load(checkpoint, device)?;
    let (side, device) = (checkpoint.config().image_size(), device.clone());
    Ok(Box::new(move |pixels| {
        encoder.forward(Tensor::from_data(TensorData::new(pixels, [1, 3, side, side]), &device))
    }))
}

fn embedding_shape(config: &SamConfig) -> [usize; 4] {
    [1, config.embedding_channels(), config.grid(), config.grid()]
}

/// The numbers of a tensor, wherever it lies.
pub(crate) fn numbers<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().convert::<f32>().iter().collect()
}

/// A prompt in the model's frame.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ModelPrompt {
    /// `[x0, y0, x1, y1]` in pixels of the model input.
    pub bounds: Option<[f32; 4]>,
    /// Points in pixels of the model input.
    pub points: Vec<Point>,
    /// Logits on the low-res grid.
    pub mask: Option<Vec<f32>>,
}

/// What the decoder makes of one prompt.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Decoded {
    /// Logits of each mask, `masks * low_res * low_res`.
    pub logits: Vec<f32>,
    /// Predicted IoU of each mask.
    pub iou_scores: Vec<f32>,
}

/// Opens a checkpoint and checks it whole.
pub(crate) fn open(dir: &Path) -> Result<Checkpoint, PredictError> {
    Checkpoint::open(dir).map_err(|error| PredictError::Checkpoint(error.into()))
}

/// A prompt scaled as its image is.
pub(crate) fn to_model(
    prompt: &Prompt,
    original: Size,
    resized: Size,
    mask: Option<Vec<f32>>,
) -> ModelPrompt {
    let point = |point: &PointPrompt| {
        let [x, y] = point_to_model([point.x, point.y], original, resized);
        let label = match point.label {
            Label::Foreground => PointLabel::Foreground,
            Label::Background => PointLabel::Background,
            Label::NotAPoint => PointLabel::NotAPoint,
        };
        Point { x, y, label }
    };
    ModelPrompt {
        bounds: prompt.bounds.map(|b| box_to_model([b.x0, b.y0, b.x1, b.y1], original, resized)),
        points: prompt.points.iter().map(point).collect(),
        mask,
    }
}

/// A SAM whose image encoder is loaded when it is first needed.
pub(crate) struct Model<B: Backend> {
    checkpoint: Checkpoint,
    load: Load<B>,
    encoder: Option<Encode<B>>,
    prompts: PromptEncoder<B>,
    /// The encoding of every place of the grid, `[1, C, g, g]`.
    position: Tensor<B, 4>,
    decoder: MaskDecoder<B>,
    /// Prompts that pass the decoder together; it bounds memory.
    batch: usize,
    device: B::Device,
}

impl<B: DecoderBackend> Model<B> {
    /// Loads prompt encoder and decoder, the latter from a `checkpoint` artifact where one is given. `load` gives the image encoder.
    pub(crate) fn load(
        checkpoint: Checkpoint,
        tuned: Option<&Path>,
        batch: usize,
        device: &B::Device,
        load: Load<B>,
    ) -> Result<Self, PredictError> {
        let failed = |error: resect_sam::Error| PredictError::Model(error.into());
        let decoder = match tuned {
            None => MaskDecoder::load(&checkpoint, device).map_err(failed)?,
            Some(dir) => {
                let path = dir.join(DECODER_FILE);
                let tensors = TensorFile::open(&path)
                    .and_then(|file| file.read_weights())
                    .map_err(|error| PredictError::Tuned(error.into()))?;
                MaskDecoder::from_tensors(checkpoint.config(), tensors, device)
                    .map_err(|error| PredictError::TunedModel { path, source: error.into() })?
            }
        };
        let prompts = PromptEncoder::load(&checkpoint, device).map_err(failed)?;
        let position = prompts.image_positional_encoding();
        let (batch, device) = (batch.max(1), device.clone());
        Ok(Self { checkpoint, load, encoder: None, prompts, position, decoder, batch, device })
    }

    /// The model's sizes.
    pub(crate) fn config(&self) -> &SamConfig {
        self.checkpoint.config()
    }

    /// Resized pixels, `[3, height, width]`, to an embedding, `[1, C, g, g]`.
    pub(crate) fn encode(&mut self, pixels: &[u8], size: Size) -> Result<Tensor<B, 4>, PredictError> {
        let failed = |error: resect_sam::Error| PredictError::Model(error.into());
        let side = self.config().image_size();
        let pixels = normalise(pixels, size.height as usize, size.width as usize, side).map_err(failed)?;
        let encoder = match &mut self.encoder {
            Some(encoder) => encoder,
            none => none.insert((self.load)(&self.checkpoint, &self.device).map_err(failed)?),
        };
        Ok(encoder(pixels))
    }

    /// An embedding from its numbers, `C * g * g`.
    pub(crate) fn embedding(&self, values: Vec<f32>) -> Tensor<B, 4> {
        Tensor::from_data(TensorData::new(values, embedding_shape(self.config())), &self.device)
    }

    /// Decodes prompts on one image's embedding.
    ///
    /// Prompts of one form (as many points, a box or none, a mask or none) pass together, so none is padded: a padded point is
    /// a token that attention sees, and a prompt's masks would depend on what else was asked of the image.
    pub(crate) fn decode(
        &self,
        embedding: &Tensor<B, 4>,
        prompts: &[ModelPrompt],
        multimask: bool,
    ) -> Result<Vec<Decoded>, PredictError> {
        let form =
            |prompt: &ModelPrompt| (prompt.bounds.is_some(), prompt.points.len(), prompt.mask.is_some());
        let mut order: Vec<usize> = (0..prompts.len()).collect();
        order.sort_by_key(|index| form(&prompts[*index]));
        let mut decoded: Vec<Option<Decoded>> = vec![None; prompts.len()];
        for alike in order.chunk_by(|a, b| form(&prompts[*a]) == form(&prompts[*b])) {
            for batch in alike.chunks(self.batch) {
                let chosen: Vec<&ModelPrompt> = batch.iter().map(|index| &prompts[*index]).collect();
                let results = self.decode_alike(embedding, &chosen, multimask)?;
                batch.iter().zip(results).for_each(|(index, result)| decoded[*index] = Some(result));
            }
        }
        Ok(decoded.into_iter().flatten().collect())
    }

    fn decode_alike(
        &self,
        embedding: &Tensor<B, 4>,
        prompts: &[&ModelPrompt],
        multimask: bool,
    ) -> Result<Vec<Decoded>, PredictError> {
        let tokens = self.tokens(prompts).map_err(|error| PredictError::Model(error.into()))?;
        let embeddings = repeat_per_prompt(embedding.clone(), prompts.len());
        let tokens = self.prompts.forward(&tokens);
        let output = self.decoder.forward(embeddings, self.position.clone(), &tokens, multimask);
        let [_, masks, height, width] = output.low_res_logits.dims();
        let logits = numbers(output.low_res_logits);
        let scores = numbers(output.iou_scores);
        let per_prompt = logits.chunks_exact(masks * height * width).zip(scores.chunks_exact(masks));
        Ok(per_prompt.map(|(l, s)| Decoded { logits: l.to_vec(), iou_scores: s.to_vec() }).collect())
    }

    fn tokens(&self, prompts: &[&ModelPrompt]) -> Result<Prompts<B>, resect_sam::Error> {
        let mut all = Prompts::none(prompts.len(), &self.device);
        let boxes: Vec<[f32; 4]> = prompts.iter().filter_map(|prompt| prompt.bounds).collect();
        if !boxes.is_empty() {
            all = all.with_boxes(&boxes)?;
        }
        let points: Vec<Vec<Point>> = prompts.iter().map(|prompt| prompt.points.clone()).collect();
        all = all.with_points(&points)?;
        let masks: Vec<f32> =
            prompts.iter().filter_map(|prompt| prompt.mask.as_deref()).flatten().copied().collect();
        if !masks.is_empty() {
            let side = self.config().low_res();
            let masks = TensorData::new(masks, [prompts.len(), 1, side, side]);
            all = all.with_masks(Tensor::from_data(masks, &self.device))?;
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests;
