//! One image, from its bytes to its files.

use std::path::Path;

use resect_checkpoint::{Checkpoint, NamedTensor, write_safetensors};
use resect_geometry::{Mask, Size};
use resect_images::pixel_hash;
use resect_layers::{Cpu, Layers};
use resect_numeric::Dtype;
use resect_prompt::Prompt;
use resect_prompts::job::{EmbeddingSource, ImageReport, Job, Line, PromptReport};
use resect_segment::{Frame, PredictedMask, Prediction, Predictor, SegmentError, Session, Weights};

use crate::coco::{Annotation, Coco};
use crate::draw::{self, Outlined};
use crate::mask_prompt;
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

/// The images of a job, one after the other: the model, and what is kept between them.
pub(crate) struct Images<'a, B: Layers> {
    job: &'a Job,
    predictor: Predictor<B>,
    stored: Stored,
    /// What this device computes has still to be compared with what the CPU does.
    unproven: bool,
}

impl<'a, B: Layers> Images<'a, B> {
    pub(crate) fn new(
        job: &'a Job,
        checkpoint: Checkpoint,
        device: &B::Device,
        compared: bool,
        say: &mut impl FnMut(Line),
    ) -> Result<Self, PredictError> {
        let predictor = Predictor::load(checkpoint, weights(job), job.decode_batch, device)?;
        let stored =
            Stored::open(&job.embeddings, predictor.decoders().shape(), |line| say(Line::Note(line)));
        Ok(Self { job, predictor, stored, unproven: compared })
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
        let resized = Frame::new(self.predictor.config(), size).resized();
        let pixels = resect_pixels::resized(&picture, resized);
        let prompts = self.prompts(planned, size)?;
        if let Some(first) = prompts.first().filter(|_| self.unproven) {
            say(Line::Note(self.compare_with_cpu(path, (&pixels, size), first)?));
            self.unproven = false;
        }
        let (session, source) = self.session(&pixels, size, resized)?;
        let predictions = session.predict(&prompts, self.job.multimask).map_err(|error| match error {
            // Of this image; its weights or its embedding may be sound for others.
            SegmentError::NotFinite { .. } => unusable(error),
            other => ImageError::Fatal(other.into()),
        })?;
        let frame = *session.frame();

        let mut reports = Vec::with_capacity(predictions.len());
        let mut outlined = Vec::new();
        coco.image(path, size)?;
        for (number, (prompt, prediction)) in planned.image.prompts.iter().zip(&predictions).enumerate() {
            let (best, iou_scores) = (prediction.best(), prediction.iou_scores());
            let (mask, files) = self.write_masks(&planned.stem, number, prediction, &frame)?;
            let area = mask.area() as u64;
            let score = iou_scores[best];
            coco.annotation(&Annotation { mask: &mask, score, prompt: number }, &self.job.out)?;
            reports.push(PromptReport {
                number,
                prompt: prompt.clone(),
                iou_scores,
                best,
                area,
                area_fraction: area as f64 / size.pixels() as f64,
                mask_box: mask.bounding_box().map(|b| [b.x0, b.y0, b.x1, b.y1]),
                files,
            });
            if self.job.overlays {
                outlined.push(Outlined::new(&mask, prompt, score, prediction.masks().len()));
            }
        }
        let mut files = Vec::new();
        if self.job.logits {
            files.push(self.write_logits(&planned.stem, &predictions)?);
        }
        if self.job.overlays {
            files.push(self.write_overlay(&planned.stem, &picture, &outlined)?);
        }
        let (width, height) = (size.width, size.height);
        Ok(ImageReport { image: path.clone(), width, height, embedding: source, prompts: reports, files })
    }

    /// Sets the image: by its features where the store has them, else by its pixels.
    fn session(
        &self,
        pixels: &[u8],
        size: Size,
        resized: Size,
    ) -> Result<(Session<'_, B>, EmbeddingSource), PredictError> {
        Ok(match self.stored.find(&pixel_hash(resized, pixels)) {
            Some((embedding, dtype)) => {
                let source = match dtype {
                    Dtype::F16 => EmbeddingSource::StoreF16,
                    Dtype::F32 => EmbeddingSource::StoreF32,
                };
                (self.predictor.set_embedding(embedding, size)?, source)
            }
            None => (self.predictor.set_image(pixels, size)?, EmbeddingSource::Encoded),
        })
    }

    /// Encodes an image and decodes one of its prompts on the CPU, too. The largest differences, in words.
    fn compare_with_cpu(
        &self,
        path: &Path,
        image: (&[u8], Size),
        prompt: &Prompt,
    ) -> Result<String, PredictError> {
        let reference =
            Predictor::<Cpu>::load(crate::open(self.job)?, weights(self.job), 1, &Default::default())?;
        let name = path.display().to_string();
        let agreement =
            self.predictor.compare_with_cpu(&reference, &name, image, prompt, self.job.multimask)?;
        Ok(format!(
            "agrees with the CPU on the first image: the embedding to {:.1e}, the first prompt's masks to {:.1e}",
            agreement.embedding, agreement.prediction
        ))
    }

    fn prompts(&self, planned: &Planned<'_>, size: Size) -> Result<Vec<Prompt>, ImageError> {
        let low_res = self.predictor.config().low_res();
        let prompts = planned.image.prompts.iter().map(|prompt| {
            let mask = prompt.mask.as_ref().map(|path| {
                mask_prompt::read(path, size, low_res, self.job.limits)
                    .map_err(|error| unusable(format!("{}: mask {}: {error}", prompt.from, path.display())))
            });
            Ok(prompt.with_mask(mask.transpose()?))
        });
        prompts.collect()
    }

    /// Writes the masks of a prompt; the one of highest predicted IoU, and the files.
    fn write_masks(
        &self,
        stem: &str,
        number: usize,
        prediction: &Prediction,
        frame: &Frame,
    ) -> Result<(Mask, Vec<String>), PredictError> {
        let (masks, best) = (prediction.masks(), prediction.best());
        let chosen = masks[best].mask(frame)?;
        let mut files = vec![names::mask(stem, number)];
        write::mask(&self.job.out.join(&files[0]), &chosen)?;
        if self.job.multimask {
            for (index, predicted) in masks.iter().enumerate() {
                let name = names::one_of_masks(stem, number, index + 1);
                let path = self.job.out.join(&name);
                if index == best {
                    write::mask(&path, &chosen)?
                } else {
                    write::mask(&path, &predicted.mask(frame)?)?
                }
                files.push(name);
            }
        }
        Ok((chosen, files))
    }

    fn write_logits(&self, stem: &str, predictions: &[Prediction]) -> Result<String, PredictError> {
        let (prompts, side) = (predictions.len(), self.predictor.config().low_res());
        let all: Vec<&PredictedMask> = predictions.iter().flat_map(Prediction::masks).collect();
        let masks = all.len() / prompts.max(1);
        let tensors = [
            NamedTensor {
                name: "logits".into(),
                shape: vec![prompts, masks, side, side],
                data: all.iter().flat_map(|mask| &mask.logits).copied().collect(),
            },
            NamedTensor {
                name: "iou_scores".into(),
                shape: vec![prompts, masks],
                data: all.iter().map(|mask| mask.predicted_iou).collect(),
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

/// The weights of the decoder that a job names.
fn weights(job: &Job) -> Weights<'_> {
    match &job.tuned {
        Some(dir) => Weights::Tuned(dir),
        None => Weights::Base,
    }
}
