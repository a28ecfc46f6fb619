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

mod check;
mod coco;
mod draw;
mod error;
mod image;
mod mask_prompt;
mod model;
mod names;
mod picture;
mod plan;
mod stored;
mod write;

use resect_device::Device;
use resect_prompts::job::{FailedImage, Job, Line};
use resect_sam::{Cpu, DecoderBackend};

pub use error::PredictError;
pub use model::{Encode, Load, on_slices, on_tensors};

use coco::Coco;
use image::{ImageError, Predictor};

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
        Device::Cpu => run_with::<Cpu>(&Default::default(), on_slices, false, job, say, stopped),
        #[cfg(feature = "cuda")]
        Device::Cuda(index) => {
            let (device, gpu) = resect_sam::open_cuda(index)?;
            let checkpoint = model::open(&job.base)?;
            let model = checkpoint.config();
            use resect_sam::Precision;
            let needed = |prompts| {
                resect_sam::memory::encoding(model, Precision::F32, 1)
                    + resect_sam::memory::decoding(model, prompts)
            };
            resect_device::check_memory(index, needed, job.decode_batch.max(1), "--decode-batch")?;
            let mut say = say;
            say(Line::Note(format!("computes on {gpu}")));
            run_with::<resect_sam::Cuda>(&device, on_tensors, true, job, say, stopped)
        }
        #[cfg(not(feature = "cuda"))]
        Device::Cuda(_) => Err(resect_device::DeviceError::NotBuilt { device: job.device }.into()),
    }
}

/// [`run`] on the device of a backend, with an image encoder that `load` gives; `compared` with the CPU's results or not.
///
/// # Errors
/// As there.
pub fn run_with<B: DecoderBackend>(
    device: &B::Device,
    load: Load<B>,
    compared: bool,
    job: &Job,
    mut say: impl FnMut(Line),
    stopped: impl Fn() -> bool,
) -> Result<bool, PredictError> {
    let checkpoint = model::open(&job.base)?;
    let images = plan::check(job, checkpoint.config())?;
    let mut predictor = Predictor::<B>::new(job, checkpoint, device, load, compared, &mut say)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use ::image::{Rgb, RgbImage};
    use resect_checkpoint::{SamConfig, TensorFile, write_random};
    use resect_prompts::job::ImageJob;
    use resect_prompts::{PointPrompt, Prompt};
    use std::path::Path;

    /// A job on a picture, with prompts of two forms, in a folder that has the model.
    fn job(dir: &Path, out: &str) -> Job {
        let picture =
            RgbImage::from_fn(120, 90, |x, y| Rgb([(x * y % 251) as u8, (2 * x) as u8, (y * y % 256) as u8]));
        let path = dir.join("polyp.png");
        picture.save(&path).unwrap();
        let prompt = |bounds: &str, points: &[&str]| Prompt {
            bounds: Some(bounds.parse().unwrap()),
            points: points.iter().map(|point| point.parse::<PointPrompt>().unwrap()).collect(),
            mask: None,
            from: "a test".into(),
        };
        let prompts = vec![prompt("10,10,60,50", &[]), prompt("40,30,110,80", &["60,50,1"])];
        let mut job = Job::new(dir.join("base"), dir.join(out));
        job.images = vec![ImageJob { path, prompts }];
        job.logits = true;
        job
    }

    #[test]
    fn another_device_is_compared_with_the_cpu_and_gives_what_it_gives() {
        let dir = tempfile::tempdir().unwrap();
        write_random(&dir.path().join("base"), &SamConfig::named("tiny").unwrap(), 5).unwrap();
        let [default, tensors] = ["default", "tensors"].map(|out| job(dir.path(), out));
        assert!(run(&default, |line| assert!(!matches!(line, Line::Note(_)), "{line:?}"), || false).unwrap());
        let mut notes = Vec::new();
        let say = |line: Line| {
            if let Line::Note(note) = line {
                notes.push(note);
            }
        };
        assert!(run_with::<Cpu>(&Default::default(), on_tensors, true, &tensors, say, || false).unwrap());

        let [note] = notes.try_into().unwrap();
        let differences =
            note.split(" to ").skip(1).map(|part| part.split(',').next().unwrap().parse().unwrap());
        let differences: Vec<f32> = differences.collect();
        assert!(differences.len() == 2 && differences.iter().all(|difference| *difference < 1e-4), "{note}");
        let logits = [&default, &tensors].map(|job| {
            let file = TensorFile::open(&job.out.join("polyp.safetensors")).unwrap();
            file.tensor("logits").unwrap().data
        });
        resect_device::compare("the logits", &logits[1], &logits[0], 1e-4).unwrap();
        for file in ["polyp.png", "polyp-1.png", "overlays/polyp.png", "coco.json", "coco-polygons.json"] {
            assert!(tensors.out.join(file).is_file(), "{file}");
        }
    }

    #[test]
    fn the_decoder_takes_any_number_of_prompts_at_once() {
        let dir = tempfile::tempdir().unwrap();
        write_random(&dir.path().join("base"), &SamConfig::named("tiny").unwrap(), 5).unwrap();
        let logits = [0, 1, 8].map(|decode_batch| {
            let job = Job { decode_batch, ..job(dir.path(), &format!("by-{decode_batch}")) };
            run(&job, |_| {}, || false).unwrap();
            std::fs::read(job.out.join("polyp.safetensors")).unwrap()
        });
        assert!(logits.iter().all(|of| *of == logits[0]));
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn without_a_backend_for_gpus_nothing_starts() {
        let dir = tempfile::tempdir().unwrap();
        let job = Job { device: Device::Cuda(1), ..job(dir.path(), "out") };
        let error = run(&job, |_| {}, || false).unwrap_err();
        let PredictError::Device(error) = error else { panic!("{error}") };
        assert!(error.to_string().contains("resect-predict/cuda"), "{error}");
        assert!(!job.out.exists());
    }
}
