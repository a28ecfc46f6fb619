//! One image, from its bytes to its files.

use resect_checkpoint::{Checkpoint, NamedTensor, write_safetensors};
use resect_geometry::{Mask, Size, upscale_logits};
use resect_images::pixel_hash;
use resect_prompts::job::{EmbeddingSource, ImageReport, Job, Line, PromptReport};
use resect_sam::DecoderBackend;

use crate::check;
use crate::coco::{Annotation, Coco};
use crate::draw::{self, Outlined};
use crate::mask_prompt::{self, highest};
use crate::model::{Decoded, Load, Model, ModelPrompt, to_model};
use crate::plan::Planned;
use crate::stored::Stored;
use crate::{PredictError, names, picture, write};

/// An image could not be predicted.
pub(crate) enum ImageError {
    /// The image or a mask prompt cannot be used, in words; others can.
    Unusable(String),
    /// No further image can be predicted either.
    Fatal(PredictError),
}

impl From<PredictError> for ImageError {
    fn from(error: PredictError) -> Self {
        Self::Fatal(error)
    }
}

fn unusable(reason: impl ToString) -> ImageError {
    ImageError::Unusable(reason.to_string())
}

/// The model, and what is kept between images.
pub(crate) struct Predictor<'a, B: DecoderBackend> {
    job: &'a Job,
    model: Model<B>,
    stored: Stored,
    /// What this device computes has still to be compared with what the CPU does.
    unproven: bool,
}

impl<'a, B: DecoderBackend> Predictor<'a, B> {
    pub(crate) fn new(
        job: &'a Job,
        checkpoint: Checkpoint,
        device: &B::Device,
        load: Load<B>,
        compared: bool,
        say: &mut impl FnMut(Line),
    ) -> Result<Self, PredictError> {
        let model = Model::load(checkpoint, job.tuned.as_deref(), job.decode_batch, device, load)?;
        let (channels, grid) = (model.config().embedding_channels(), model.config().grid());
        let stored = Stored::open(&job.embeddings, [channels, grid, grid], |line| say(Line::Note(line)));
        Ok(Self { job, model, stored, unproven: compared })
    }

    /// Predicts an image and writes its files.
    pub(crate) fn predict(
        &mut self,
        planned: &Planned<'_>,
        coco: &mut Coco,
        say: &mut impl FnMut(Line),
    ) -> Result<ImageReport, ImageError> {
        let size = planned.size.clone().map_err(ImageError::Unusable)?;
        let path = &planned.image.path;
        let limits = self.job.limits;
        let bytes = picture::bytes(path, limits).map_err(unusable)?;
        let picture = resect_pixels::rgb(&bytes, limits.max_pixels).map_err(picture::reason);
        let picture = picture.map_err(unusable)?.pixels;
        if (picture.width(), picture.height()) != (size.width, size.height) {
            return Err(unusable("its pixels are not as many as its header says"));
        }
        drop(bytes);
        let resized = size.with_longest_side(self.model.config().image_size() as u32);
        let pixels = resect_pixels::resized(&picture, resized);
        let prompts = self.prompts(planned, size, resized)?;
        if let Some(first) = prompts.first().filter(|_| self.unproven) {
            let agreement = check::agree(&mut self.model, self.job, path, (&pixels, resized), first)?;
            say(Line::Note(agreement));
            self.unproven = false;
        }
        let (embedding, source) = match self.stored.find(&pixel_hash(resized, &pixels)) {
            Some((values, source)) => (self.model.embedding(values), source),
            None => (self.model.encode(&pixels, resized)?, EmbeddingSource::Encoded),
        };
        let decoded = self.model.decode(&embedding, &prompts, self.job.multimask)?;
        check_finite(&decoded)?;

        let mut reports = Vec::with_capacity(decoded.len());
        let mut outlined = Vec::new();
        coco.image(path, size);
        for (number, (prompt, decoded)) in planned.image.prompts.iter().zip(&decoded).enumerate() {
            let best = highest(&decoded.iou_scores);
            let (mask, files) = self.write_masks(&planned.stem, number, decoded, best, resized, size)?;
            let area = mask.area() as u64;
            let score = decoded.iou_scores[best];
            coco.annotation(&Annotation { mask: &mask, score, prompt: number }, &self.job.out)?;
            reports.push(PromptReport {
                number,
                prompt: prompt.clone(),
                iou_scores: decoded.iou_scores.clone(),
                best,
                area,
                area_fraction: area as f64 / size.pixels() as f64,
                mask_box: mask.bounding_box().map(|b| [b.x0, b.y0, b.x1, b.y1]),
                files,
            });
            if self.job.overlays {
                outlined.push(Outlined::new(&mask, prompt, score, decoded.iou_scores.len()));
            }
        }
        let mut files = Vec::new();
        if self.job.logits {
            files.push(self.write_logits(&planned.stem, &decoded)?);
        }
        if self.job.overlays {
            files.push(self.write_overlay(&planned.stem, &picture, &outlined)?);
        }
        let (width, height) = (size.width, size.height);
        Ok(ImageReport { image: path.clone(), width, height, embedding: source, prompts: reports, files })
    }

    fn prompts(
        &self,
        planned: &Planned<'_>,
        size: Size,
        resized: Size,
    ) -> Result<Vec<ModelPrompt>, ImageError> {
        let low_res = self.model.config().low_res();
        let prompts = planned.image.prompts.iter().map(|prompt| {
            let mask = prompt.mask.as_ref().map(|path| {
                mask_prompt::read(path, size, low_res, self.job.limits)
                    .map_err(|error| unusable(format!("{}: mask {}: {error}", prompt.from, path.display())))
            });
            Ok(to_model(prompt, size, resized, mask.transpose()?))
        });
        prompts.collect()
    }

    /// Writes the masks of a prompt; the best one, and the files.
    fn write_masks(
        &self,
        stem: &str,
        number: usize,
        decoded: &Decoded,
        best: usize,
        resized: Size,
        original: Size,
    ) -> Result<(Mask, Vec<String>), PredictError> {
        let (low_res, input) = (self.model.config().low_res(), self.model.config().image_size() as u32);
        let logits: Vec<&[f32]> = decoded.logits.chunks_exact(low_res * low_res).collect();
        let mask = |index: usize| {
            let upscaled = upscale_logits(logits[index], low_res as u32, input, resized, original);
            Mask::new(original, upscaled.into_iter().map(|logit| logit > 0.0).collect())
        };
        let chosen = mask(best);
        let mut files = vec![names::mask(stem, number)];
        write::mask(&self.job.out.join(&files[0]), &chosen)?;
        if self.job.multimask {
            for index in 0..logits.len() {
                let name = names::one_of_masks(stem, number, index + 1);
                let path = self.job.out.join(&name);
                if index == best {
                    write::mask(&path, &chosen)?
                } else {
                    write::mask(&path, &mask(index))?
                }
                files.push(name);
            }
        }
        Ok((chosen, files))
    }

    fn write_logits(&self, stem: &str, decoded: &[Decoded]) -> Result<String, PredictError> {
        let (prompts, side) = (decoded.len(), self.model.config().low_res());
        let masks = decoded.first().map_or(0, |first| first.iou_scores.len());
        let joined = |part: fn(&Decoded) -> &[f32]| decoded.iter().flat_map(part).copied().collect();
        let tensors = [
            NamedTensor {
                name: "logits".into(),
                shape: vec![prompts, masks, side, side],
                data: joined(|decoded| &decoded.logits),
            },
            NamedTensor {
                name: "iou_scores".into(),
                shape: vec![prompts, masks],
                data: joined(|decoded| &decoded.iou_scores),
            },
        ];
        let name = names::logits(stem);
        write::whole(
            &self.job.out.join(&name),
            |aside| write_safetensors(aside, tensors, None),
            |error| PredictError::Logits(error.into()),
        )?;
        Ok(name)
    }

    fn write_overlay(
        &self,
        stem: &str,
        picture: &::image::RgbImage,
        outlined: &[Outlined],
    ) -> Result<String, PredictError> {
        let name = names::overlay(stem);
        let path = self.job.out.join(&name);
        let drawn = draw::overlay(picture, outlined, self.job.heads_trained);
        let bytes = resect_overlay::png(&drawn)
            .map_err(|source| PredictError::Write { path: path.clone(), source })?;
        write::bytes(&path, &bytes)?;
        Ok(name)
    }
}

/// A comparison with NaN is false: unnoticed, it would pass for background.
fn check_finite(decoded: &[Decoded]) -> Result<(), ImageError> {
    let finite =
        |decoded: &Decoded| decoded.logits.iter().chain(&decoded.iou_scores).all(|number| number.is_finite());
    match decoded.iter().position(|decoded| !finite(decoded)) {
        None => Ok(()),
        Some(number) => Err(unusable(format!(
            "the model's answer to prompt {number} is not finite: its weights are damaged, or too large for single \
             precision"
        ))),
    }
}
