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
mod names;
mod picture;
mod plan;
mod stored;
mod write;

use resect_checkpoint::Checkpoint;
use resect_device::Device;
use resect_layers::{Cpu, Layers};
use resect_prompts::job::{FailedImage, Job, Line};

pub use error::PredictError;

use coco::Coco;
use image::{ImageError, Images};

/// Predicts every image of a job and passes on what there is to say; whether all of them could be read. `stopped` is asked before
/// each image. On a GPU, the first image is encoded and its first prompt decoded on the CPU, too, and both must agree
/// ([`resect_device::compare`]).
///
/// # Errors
/// A device that cannot be used or that computes something else than the CPU, a checkpoint that cannot be used, prompts that do not
/// fit their images, names that clash, a failing disk, a stop. An image that cannot be read is no error here: it is passed on as
/// [`Line::Failed`].
pub fn run(job: &Job, say: impl FnMut(Line), stopped: impl Fn() -> bool) -> Result<bool, PredictError> {
    match job.device {
        Device::Cpu => run_with::<Cpu>(&Default::default(), false, job, say, stopped),
        #[cfg(feature = "cuda")]
        Device::Cuda(index) => {
            let (device, gpu) = resect_layers::open_cuda(index)?;
            let checkpoint = open(job)?;
            let model = checkpoint.config();
            let needed = |prompts| {
                resect_encoder::memory::encoding(model, resect_numeric::Precision::F32, 1)
                    + resect_sam::memory::decoding(model, prompts)
            };
            resect_device::check_memory(index, needed, job.decode_batch.max(1), "--decode-batch")?;
            let mut say = say;
            say(Line::Note(format!("computes on {gpu}")));
            run_with::<resect_layers::Cuda>(&device, true, job, say, stopped)
        }
        #[cfg(not(feature = "cuda"))]
        Device::Cuda(_) => Err(resect_device::DeviceError::NotBuilt { device: job.device }.into()),
    }
}

/// [`run`] on the device of a backend; `compared` with the CPU's results or not.
///
/// # Errors
/// As there.
pub fn run_with<B: Layers>(
    device: &B::Device,
    compared: bool,
    job: &Job,
    mut say: impl FnMut(Line),
    stopped: impl Fn() -> bool,
) -> Result<bool, PredictError> {
    let checkpoint = open(job)?;
    let images = plan::check(job, checkpoint.config())?;
    let mut predictor = Images::<B>::new(job, checkpoint, device, compared, &mut say)?;
    let mut coco = Coco::new(&job.category, job.heads_trained);
    let mut failed = 0;
    for (index, planned) in images.iter().enumerate() {
        if stopped() {
            return Err(PredictError::Stopped);
        }
        match predictor.predict(planned, &mut coco, &mut say) {
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

/// Opens the base checkpoint and checks it whole.
fn open(job: &Job) -> Result<Checkpoint, PredictError> {
    Checkpoint::open(&job.base).map_err(|error| PredictError::Checkpoint(error.into()))
}

#[cfg(test)]
mod tests;
