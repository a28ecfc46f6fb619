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
mod encodings;
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
use resect_evaluate_params::EvaluateParams;
use resect_evaluation_records::{MaskRow, Method};
use resect_geometry::{Mask, Size};
use resect_images::Images;
use resect_layers::{Cpu, Layers, Resident};
use resect_params::Runtime;
use resect_segment::Prediction;
use resect_stage::Reporter;
use resect_targets::Targets;

use decode::{Answer, Pair, Prompted};
use encodings::{Encodings, Given};
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
    pub embeddings: Option<&'a Path>,
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
    work: &Path,
    report: &Reporter,
) -> Result<(), EvaluateError> {
    match device {
        Device::Cpu => {
            let opened = Opened::open(inputs)?;
            let opened = opened.encoded::<Cpu>(inputs, &Default::default(), false, runtime, work, report)?;
            let decoders = opened.on_cpu(inputs, runtime)?;
            opened.evaluate(&opened.samples()?, &decoders, params, runtime, out, report)
        }
        #[cfg(feature = "cuda")]
        Device::Cuda(index) => {
            let (device, gpu) = resect_layers::open_cuda(index)?;
            let base = open(inputs.base)?;
            let needed = |prompts| resect_sam::memory::decoding(base.config(), prompts);
            resect_device::check_memory(index, needed, runtime.decode_batch.max(1), "runtime.decode_batch")?;
            report.note(format!("computes on {gpu}"));
            let room = resect_layers::room(gpu.free_memory()?, needed(runtime.decode_batch.max(1)));
            let embeddings = Resident::<resect_layers::Cuda>::new(device, room);
            run_with(embeddings.clone(), inputs, params, runtime, out, work, report)?;
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
pub fn run_with<B: Layers>(
    resident: Resident<B>,
    inputs: &Inputs<'_>,
    params: &EvaluateParams,
    runtime: &Runtime,
    out: &Path,
    work: &Path,
    report: &Reporter,
) -> Result<(), EvaluateError> {
    let opened = Opened::open(inputs)?;
    let opened = opened.encoded::<B>(inputs, resident.device(), true, runtime, work, report)?;
    let Encoded { opened: Opened { base, .. }, encodings } = &opened;
    let sets = encodings.sets().len();
    let decoders = Pair::load(base, inputs.checkpoint, sets, runtime.decode_batch, resident)?;
    let reference = opened.on_cpu(inputs, runtime)?;
    let samples = opened.samples()?;
    let first = &samples[..samples.len().min(runtime.decode_batch.max(1))];
    let first: Vec<Prompted<'_>> = first.iter().map(tightly).collect();
    let difference = check::agree(&decoders, &reference, encodings, &first)?;
    report.note(format!("agrees with the CPU on the first batch to {difference:.1e}"));
    opened.evaluate(&samples, &decoders, params, runtime, out, report)
}

/// The artifacts that are read.
struct Opened {
    images: Images,
    targets: Targets,
    base: Checkpoint,
    summary: Summary,
}

impl Opened {
    fn open(inputs: &Inputs<'_>) -> Result<Self, EvaluateError> {
        Ok(Self {
            images: Images::open(inputs.images)?,
            targets: Targets::open(inputs.targets)?,
            base: open(inputs.base)?,
            summary: Summary::read(inputs.checkpoint)?,
        })
    }

    /// Opens or computes the encodings of the test images on a device, `compared` with the CPU or not.
    fn encoded<B: Layers>(
        self,
        inputs: &Inputs<'_>,
        device: &B::Device,
        compared: bool,
        runtime: &Runtime,
        work: &Path,
        report: &Reporter,
    ) -> Result<Encoded, EvaluateError> {
        let Self { images, targets, base, summary } = &self;
        let given = Given { inputs, base, tuning: &summary.tuning, images, targets, work, runtime, report };
        let encodings = Encodings::open::<B>(&given, device, compared)?;
        Ok(Encoded { opened: self, encodings })
    }
}

/// The artifacts that are read, with the encodings of the test images.
struct Encoded {
    opened: Opened,
    encodings: Encodings,
}

impl Encoded {
    /// The decoders on the CPU, where no embedding stays: each is read from its file when it is needed.
    fn on_cpu(&self, inputs: &Inputs<'_>, runtime: &Runtime) -> Result<Pair<Cpu>, EvaluateError> {
        let (base, sets) = (&self.opened.base, self.encodings.sets().len());
        let resident = Resident::new(Default::default(), 0);
        Pair::load(base, inputs.checkpoint, sets, runtime.decode_batch, resident)
    }

    fn samples(&self) -> Result<Vec<Sample<'_>>, EvaluateError> {
        let Opened { images, targets, base, .. } = &self.opened;
        let encodings = self.encodings.first()?;
        samples::check_model(base.config(), images, encodings, targets)?;
        samples::collect(base.config(), images, encodings, targets)
    }

    fn evaluate<B: Layers>(
        &self,
        samples: &[Sample<'_>],
        decoders: &Pair<B>,
        params: &EvaluateParams,
        runtime: &Runtime,
        out: &Path,
        report: &Reporter,
    ) -> Result<(), EvaluateError> {
        let batch = runtime.decode_batch.max(1);
        let (mut scores, mut masks) = (Vec::with_capacity(samples.len()), Vec::new());
        let prompted: Vec<Prompted<'_>> = samples.iter().map(tightly).collect();
        decoders.each_batch(&prompted, batch, false, &self.encodings, |batch, answers| {
            let scored = batch.par_iter().zip(&answers);
            let scored =
                scored.map(|(prompted, answer)| score(&prompted.sample, answer, params.surface_tolerance));
            for (of_target, predicted) in scored.collect::<Result<Vec<_>, EvaluateError>>()? {
                scores.push(of_target);
                masks.extend(predicted);
            }
            decode::release(batch, &self.encodings);
            self.opened.images.release();
            report.progress("scoring", scores.len() as u64, samples.len() as u64, "targets");
            Ok(())
        })?;

        let totaller = Totaller::new(samples, params);
        let encodings = &self.encodings;
        let sweep = Sweep { samples, scores: &scores, encodings, batch, params, report };
        let swept = if params.sweep { Some(sweep.rows(decoders)?) } else { None };
        let points = match &swept {
            Some(rows) => {
                resect_tables::table::write(&out.join("sweep.parquet"), rows)?;
                sweep.points(rows, &totaller)?
            }
            None => Vec::new(),
        };
        let rows = totals::sample_rows(samples, &scores, params.size_bounds);
        let metrics =
            totals::metrics(samples, &scores, &rows, &self.opened.summary, params, &totaller, points);
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

/// A target and its tight box.
fn tightly<'a>(sample: &Sample<'a>) -> Prompted<'a> {
    Prompted { sample: *sample, prompt: prompt::tight(sample.target) }
}

/// The scores of every method on one target, and both decoders' masks.
fn score(
    sample: &Sample<'_>,
    answer: &Answer,
    tolerance: f64,
) -> Result<(Scores, [MaskRow; 2]), EvaluateError> {
    let frame = &sample.frame;
    let (truth, low_res_truth) = (sample.truth(), sample.low_res_truth());
    let (prompt, size) = (sample.target.bounding_box(), sample.target.original());
    let low_res = Size::square(frame.low_res());
    let image = score::image_cells(frame.resized(), frame.low_res(), frame.input());
    let score = |on_image: &Predicted, on_grid: &Predicted, predicted_iou: Option<f64>| Score {
        original: figures(on_image, &truth, tolerance, size),
        low_res: figures(on_grid, &low_res_truth, tolerance, image),
        missed: on_image.mask.area() == 0,
        predicted_iou,
    };
    let baseline = |mask: Mask| {
        let on_grid = Predicted { mask: mask.to_low_res(frame.low_res()), probabilities: None };
        score(&Predicted { mask, probabilities: None }, &on_grid, None)
    };
    let decoded = |prediction: &Prediction, method: Method| {
        let [predicted] = prediction.masks() else {
            let count = prediction.masks().len();
            return Err(EvaluateError::Internal(format!("the {method} decoder gave {count} masks, not one")));
        };
        let on_image = Predicted::of_logits(size, &predicted.upscaled(frame)?);
        let on_grid = Predicted::of_logits(low_res, &predicted.logits);
        let row = MaskRow {
            id: sample.target.id.clone(),
            method,
            height: size.height,
            width: size.width,
            counts: on_image.mask.to_rle(),
        };
        Ok((score(&on_image, &on_grid, Some(f64::from(predicted.predicted_iou))), row))
    };
    let (untuned, untuned_mask) = decoded(&answer.untuned, Method::Untuned)?;
    let (tuned, tuned_mask) = decoded(&answer.tuned, Method::Tuned)?;
    let scores = Method::ALL.map(|method| match method {
        Method::Box => baseline(baselines::filled_box(prompt, size)),
        Method::Ellipse => baseline(baselines::ellipse(prompt, size)),
        Method::Otsu => baseline(baselines::otsu(&sample.image, prompt, size)),
        Method::Untuned => untuned,
        Method::Tuned => tuned,
    });
    Ok((scores, [untuned_mask, tuned_mask]))
}
