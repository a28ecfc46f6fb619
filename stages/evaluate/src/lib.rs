//! A tuned decoder's figures beside the untuned one's and three baselines that see no model.
//!
//! Every target of the test split is prompted with its tight box. The box comes from the truth, so a figure alone says little:
//! the box filled, the ellipse in it and Otsu's threshold in it stand beside the model's, and the untuned decoder beside the tuned.
//! Figures are stated at original resolution, where the reader lives, and on the low-res grid, where the decoder was tuned. Then both
//! decoders are tried with other prompts: the sweep.
//!
//! What is written is defined in [`resect_evaluation_records`]. Overlays are the worst targets by tuned Dice, worst first; colours:
//! green truth, orange untuned (left out, and said so, where it is mere speckle), cyan tuned, white box.

#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod baselines;
mod check;
mod decode;
mod error;
mod flow;
mod notes;
mod overlay;
mod prompt;
mod samples;
mod score;
mod sweep;
mod totals;
mod worst;

use std::path::Path;

use rayon::prelude::*;
use resect_checkpoint::Checkpoint;
use resect_checkpoint_records::Summary;
use resect_device::Device;
use resect_embeddings::Embeddings;
use resect_evaluate_params::EvaluateParams;
use resect_evaluation_records::{MaskRow, Method};
use resect_geometry::{Mask, Size};
use resect_images::Images;
use resect_params::Runtime;
use resect_sam::{DecoderBackend, Resident};
use resect_stage::Reporter;
use resect_targets::Targets;

use decode::{Answer, Asked, Decode, MaskLogits, Masks, OnTapes, OnTensors};
use prompt::Prompt;
use samples::Sample;
use score::{Predicted, figures};
use sweep::Sweep;
use totals::{Score, Scores, Totaller};

pub use error::EvaluateError;

/// Folders of the artifacts that are read.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The tuned decoder.
    pub checkpoint: &'a Path,
    /// Resized images, for Otsu's threshold and the overlays.
    pub images: &'a Path,
    /// Image embeddings.
    pub embeddings: &'a Path,
    /// Masks, boxes and splits.
    pub targets: &'a Path,
    /// The base checkpoint.
    pub base: &'a Path,
}

/// Scores the test split and writes the artifact into the folder `out`. On a GPU, the first batch is decoded on the CPU, too, and
/// both must agree ([`resect_device::compare`]). While a batch is decoded, the next one is gathered and the last one scored.
///
/// # Errors
/// A device that cannot be used or that computes something else than the CPU, inputs that cannot be read, that lack something or
/// were made for different models, logits that are no numbers, a failing disk.
pub fn run(
    device: Device,
    inputs: &Inputs<'_>,
    params: &EvaluateParams,
    runtime: &Runtime,
    out: &Path,
    report: &Reporter,
) -> Result<(), EvaluateError> {
    match device {
        Device::Cpu => {
            let opened = Opened::open(inputs)?;
            let mut decoders = OnTapes::load(&opened.base, inputs.checkpoint, &opened.embeddings)?;
            opened.evaluate(&opened.samples()?, &mut decoders, params, runtime, out, report)
        }
        #[cfg(feature = "cuda")]
        Device::Cuda(index) => {
            let (device, gpu) = resect_sam::open_cuda(index)?;
            let base = open(inputs.base)?;
            let needed = |prompts| resect_sam::memory::decoding(base.config(), prompts);
            resect_device::check_memory(index, needed, runtime.decode_batch.max(1), "runtime.decode_batch")?;
            report.note(format!("computes on {gpu}"));
            let room = resect_sam::room(gpu.free_memory()?, needed(runtime.decode_batch.max(1)));
            let embeddings = Resident::<resect_sam::Cuda>::new(device, room);
            run_with(embeddings.clone(), inputs, params, runtime, out, report)?;
            report.note(format!("{} embeddings stayed in the GPU's memory", embeddings.len()));
            Ok(())
        }
        #[cfg(not(feature = "cuda"))]
        Device::Cuda(_) => Err(resect_device::DeviceError::NotBuilt { device }.into()),
    }
}

/// [`run`] on the device of a backend, whose first batch is compared with the CPU. `resident` are the embeddings that stay there.
///
/// # Errors
/// As there.
pub fn run_with<B: DecoderBackend>(
    resident: Resident<B>,
    inputs: &Inputs<'_>,
    params: &EvaluateParams,
    runtime: &Runtime,
    out: &Path,
    report: &Reporter,
) -> Result<(), EvaluateError> {
    let opened = Opened::open(inputs)?;
    let Opened { base, embeddings, .. } = &opened;
    let mut decoders = OnTensors::load(base, inputs.checkpoint, resident)?;
    let mut reference = OnTapes::load(base, inputs.checkpoint, embeddings)?;
    let samples = opened.samples()?;
    let first = &samples[..samples.len().min(runtime.decode_batch.max(1))];
    let first: Vec<Asked<'_>> = first.iter().map(tightly).collect();
    let difference = check::agree(&mut decoders, &mut reference, embeddings, &first)?;
    report.note(format!("agrees with the CPU on the first batch to {difference:.1e}"));
    opened.evaluate(&samples, &mut decoders, params, runtime, out, report)
}

/// The artifacts that are read.
struct Opened {
    images: Images,
    embeddings: Embeddings,
    targets: Targets,
    base: Checkpoint,
    summary: Summary,
}

impl Opened {
    fn open(inputs: &Inputs<'_>) -> Result<Self, EvaluateError> {
        Ok(Self {
            images: Images::open(inputs.images)?,
            embeddings: Embeddings::open(inputs.embeddings)?,
            targets: Targets::open(inputs.targets)?,
            base: open(inputs.base)?,
            summary: Summary::read(inputs.checkpoint)?,
        })
    }

    fn samples(&self) -> Result<Vec<Sample<'_>>, EvaluateError> {
        samples::check_model(self.base.config(), &self.images, &self.embeddings, &self.targets)?;
        samples::collect(&self.images, &self.embeddings, &self.targets)
    }

    fn evaluate(
        &self,
        samples: &[Sample<'_>],
        decoders: &mut impl Decode,
        params: &EvaluateParams,
        runtime: &Runtime,
        out: &Path,
        report: &Reporter,
    ) -> Result<(), EvaluateError> {
        let grids = Grids { low_res: self.targets.low_res_size(), input: self.images.longest_side() };
        let batch = runtime.decode_batch.max(1);
        let (mut scores, mut masks) = (Vec::with_capacity(samples.len()), Vec::new());
        let asked: Vec<Asked<'_>> = samples.iter().map(tightly).collect();
        decode::each_batch(&asked, batch, Masks::Single, decoders, &self.embeddings, |batch, answers| {
            let scored = batch.par_iter().zip(&answers);
            let scored =
                scored.map(|(asked, answer)| score(&asked.sample, answer, grids, params.surface_tolerance));
            for (of_target, predicted) in scored.collect::<Vec<_>>() {
                scores.push(of_target);
                masks.extend(predicted);
            }
            decode::release(batch, &self.embeddings);
            self.images.release();
            report.progress("scoring", scores.len() as u64, samples.len() as u64, "targets");
            Ok(())
        })?;

        let totaller = Totaller::new(samples, params);
        let embeddings = &self.embeddings;
        let sweep = Sweep { samples, scores: &scores, embeddings, grids, batch, params, report };
        let swept = if params.sweep { Some(sweep.rows(decoders)?) } else { None };
        let points = swept.as_ref().map(|rows| sweep.points(rows, &totaller)).unwrap_or_default();
        if let Some(rows) = &swept {
            resect_tables::table::write(&out.join("sweep.parquet"), rows)?;
        }
        let rows = totals::sample_rows(samples, &scores, params.size_bounds);
        let metrics = totals::metrics(samples, &scores, &rows, &self.summary, params, &totaller, points);
        resect_data::write_json(&out.join("metrics.json"), &metrics)?;
        resect_tables::table::write(&out.join("samples.parquet"), &rows)?;
        resect_tables::table::write(&out.join("masks.parquet"), &masks)?;
        let worst = worst::select(samples, &scores, &masks, params.overlays as usize);
        worst::draw(&worst, &out.join("overlays"), report)?;
        notes::notes(&metrics).into_iter().for_each(|line| report.note(line));
        Ok(())
    }
}

fn open(base: &Path) -> Result<Checkpoint, EvaluateError> {
    Checkpoint::open(base).map_err(|e| EvaluateError::Base(e.into()))
}

/// Sides of the two square frames of the model.
#[derive(Clone, Copy)]
struct Grids {
    low_res: u32,
    input: u32,
}

/// A target and its tight box.
fn tightly<'a>(sample: &Sample<'a>) -> Asked<'a> {
    Asked { sample: *sample, prompt: Prompt::tight(sample.target) }
}

/// The scores of every method on one target, and both decoders' masks.
fn score(sample: &Sample<'_>, answer: &Answer, grids: Grids, tolerance: f64) -> (Scores, [MaskRow; 2]) {
    let (truth, low_res_truth) = (sample.truth(), sample.low_res_truth());
    let (prompt, size) = (sample.target.bounding_box(), sample.target.original());
    let low_res = Size::square(grids.low_res);
    let image = score::image_cells(sample.target.resized(), grids.low_res, grids.input);
    let score = |on_image: &Predicted, on_grid: &Predicted, predicted_iou: Option<f64>| Score {
        original: figures(on_image, &truth, tolerance, size),
        low_res: figures(on_grid, &low_res_truth, tolerance, image),
        missed: on_image.mask.area() == 0,
        predicted_iou,
    };
    let baseline = |mask: Mask| {
        let on_grid = Predicted { mask: mask.to_low_res(grids.low_res), probabilities: None };
        score(&Predicted { mask, probabilities: None }, &on_grid, None)
    };
    let decoded = |masks: &[MaskLogits], method: Method| {
        // A single one was asked for.
        let MaskLogits { logits, predicted_iou } = &masks[0];
        let on_image = Predicted::of_logits(size, &decode::original(logits, grids, sample));
        let on_grid = Predicted::of_logits(low_res, logits);
        let row = MaskRow {
            id: sample.target.id.clone(),
            method,
            height: size.height,
            width: size.width,
            counts: on_image.mask.to_rle(),
        };
        (score(&on_image, &on_grid, Some(f64::from(*predicted_iou))), row)
    };
    let (untuned, untuned_mask) = decoded(&answer.untuned, Method::Untuned);
    let (tuned, tuned_mask) = decoded(&answer.tuned, Method::Tuned);
    let scores = Method::ALL.map(|method| match method {
        Method::Box => baseline(baselines::filled_box(prompt, size)),
        Method::Ellipse => baseline(baselines::ellipse(prompt, size)),
        Method::Otsu => baseline(baselines::otsu(&sample.image, prompt, size)),
        Method::Untuned => untuned,
        Method::Tuned => tuned,
    });
    (scores, [untuned_mask, tuned_mask])
}
