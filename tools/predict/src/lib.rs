//! Images and prompts to masks: what `cargo xtask predict` does.
//!
//! Everything that can be wrong with the work as a whole is found before the model is loaded: prompts outside their images, files
//! that would overwrite one another. Then images pass one after the other: decoded, embedded (or the embedding taken from the
//! store), every prompt decoded on that one embedding, and the files written; so memory does not grow with their number. An
//! image that cannot be read is reported and left out.
//!
//! ```text
//! out/
//!   <stem>.png, <stem>-1.png ...   the mask of each prompt, 8-bit grey, 0 and 255, at the upright image's size
//!   <stem>.mask-1.png ...          with `multimask`: all its masks (of prompt 1: <stem>-1.mask-1.png)
//!   <stem>.safetensors             with `logits`: logits [prompts, masks, 4g, 4g], iou_scores [prompts, masks], F32
//!   overlays/<stem>.png            the image with outlines, prompts and a legend
//!   coco.json                      all masks as run lengths
//!   coco-polygons.json             all masks as polygons, holes filled
//! ```
//!
//! Files hold no time, path or version, and appear whole (written aside, renamed) or not at all.

#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod coco;
mod draw;
mod error;
mod image;
mod mask_prompt;
mod model;
mod names;
mod plan;
mod stored;
mod write;

use burn::tensor::backend::Backend;
use resect_prompts::job::{FailedImage, Job, Line};

pub use error::PredictError;

use coco::Coco;
use image::{ImageError, Predictor};

/// The most pixels an image may have, as `ingest` has it by default.
const MAX_PIXELS: u64 = 100_000_000;

/// Predicts every image of a job and passes on what there is to say; whether all of them could be read. `stopped` is asked before
/// each image.
///
/// # Errors
/// A checkpoint that cannot be used, prompts that do not fit their images, names that clash, a failing disk, a stop. An image
/// that cannot be read is no error here: it is passed on as [`Line::Failed`].
pub fn run<B: Backend>(
    job: &Job,
    mut say: impl FnMut(Line),
    stopped: impl Fn() -> bool,
) -> Result<bool, PredictError> {
    let checkpoint = model::open(&job.base)?;
    let images = plan::check(job, checkpoint.config())?;
    let mut predictor = Predictor::<B>::new(job, checkpoint, &mut say)?;
    let mut coco = Coco::new(&job.category, job.heads_trained);
    let mut failed = 0;
    for (index, planned) in images.iter().enumerate() {
        if stopped() {
            return Err(PredictError::Stopped);
        }
        match predictor.predict(planned, &mut coco) {
            Ok(report) => say(Line::Image(report)),
            Err(ImageError::Unusable(reason)) => {
                failed += 1;
                say(Line::Failed(FailedImage { image: planned.image.path.clone(), reason }));
            }
            Err(ImageError::Fatal(error)) => return Err(error),
        }
        say(Line::Progress { done: index as u64 + 1, total: images.len() as u64 });
    }
    say(Line::Done { files: coco.finish()? });
    Ok(failed == 0)
}
