//! Dataset to images and targets: decode, audit, resize, split.
//!
//! One pass over the dataset, a batch of samples at a time, on all cores, while the batch before is written; what is
//! written follows the dataset's order, so it does not depend on the number of threads.
//!
//! - The `images` artifact depends on the dataset, its layout, the limits and the image size alone: an image whose
//!   mask is unusable is in it all the same, so that no mask or split setting costs an encoder pass.
//! - Splits are planned from names, before anything is decoded; what is drawn, is drawn from names and from what images
//!   look like, so that near-duplicates stay together: no mask setting moves a sample to another split.
//! - A sample that cannot be used is left out with its place, its name and the reason (`rejected.json`); too many
//!   of them stop the stage.

mod alike;
mod audit;
mod error;
mod look;
mod mask;
mod readers;
mod sample;
mod split;

pub use audit::{AUDIT_FORMAT, AreaAudit, Audit, DuplicatePair, MaskAudit, SizeAudit, SplitAudit};
pub use error::IngestError;

use look::Look;
use rayon::prelude::*;
use resect_data::DataError;
use resect_data::images::{self, Image};
use resect_data::targets::{self, Rejected, Split};
use resect_params::{IngestParams, Problems, Runtime};
use resect_stage::Reporter;
use sample::Usable;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

/// Reads the dataset in a folder and writes the `images` and `targets` artifacts into two existing folders.
///
/// # Errors
/// When the dataset is not laid out as stated, too much of it is unusable, a part of the split is empty, or a
/// file cannot be read or written.
pub fn run(
    dataset: &Path,
    params: &IngestParams,
    runtime: &Runtime,
    images_out: &Path,
    targets_out: &Path,
    report: &Reporter,
) -> Result<(), IngestError> {
    check(params)?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(runtime.threads).build()?;
    let dataset = readers::open(dataset, &params.layout, params.ingest.limit)?;
    let samples = dataset.samples();
    let plan = split::plan(samples, &params.split)?;

    let images = images::Writer::new(images_out, params.image_size);
    let Decoded { mut usable, rejected, looks } = decode(&dataset, &plan, params, &pool, images, report)?;
    enough(&rejected, samples.len(), params)?;
    let distance = params.ingest.duplicate_distance;
    let parts = plan.drawn(pool.install(|| alike::clusters(samples.len(), &looks, distance)))?;
    for sample in &mut usable {
        sample.split = parts[sample.sample].unwrap_or(sample.split);
    }
    split::none_is_empty(&usable)?;

    let twins = pool.install(|| audit::near_duplicates(&usable, distance));
    let audit = Audit::of(&dataset, &usable, &rejected, &twins);
    let mut out = targets::Writer::create(targets_out, params.low_res_size)?;
    for (index, sample) in usable.iter().enumerate() {
        for (target, runs) in sample.targets(twins.nearest(index, &usable)) {
            out.push(target, &runs.to_mask())?;
        }
    }
    out.finish(&audit, &rejected)?;
    audit.summarise(report);
    Ok(())
}

/// What one pass over the dataset gives, besides `images`.
struct Decoded {
    usable: Vec<Usable>,
    rejected: Vec<Rejected>,
    /// Of the images from which parts of the split are drawn.
    looks: Vec<(usize, Arc<Look>)>,
}

/// Decodes batch after batch and writes the images of each while the next is decoded.
fn decode(
    dataset: &readers::Dataset,
    plan: &split::Plan,
    params: &IngestParams,
    pool: &rayon::ThreadPool,
    mut images: images::Writer,
    report: &Reporter,
) -> Result<Decoded, IngestError> {
    let samples = dataset.samples();
    let (mut usable, mut looks) = (Vec::new(), Vec::new());
    let mut rejected: BTreeMap<usize, Rejected> = dataset.flawed().collect();
    let mut done = rejected.len();
    std::thread::scope(|scope| {
        // Nothing waits between the two: one batch is being decoded, one written, and there is no third in memory.
        let (sender, receiver) = sync_channel::<Vec<Image>>(0);
        let writing = scope.spawn(move || -> Result<images::Writer, DataError> {
            receiver.into_iter().flatten().try_for_each(|image| images.push(image))?;
            Ok(images)
        });
        let decoding = || -> Result<(), IngestError> {
            // Moved in here, so that the writer ends with the loop, however that ends.
            let sender = sender;
            for batch in dataset.batches(batch_size(pool))? {
                let batch = batch?;
                let prepare = |raw| sample::prepare(raw, samples, plan, params);
                let prepared: Vec<_> = pool.install(|| batch.into_par_iter().map(prepare).collect());
                done += prepared.len();
                let mut batch = Vec::with_capacity(prepared.len());
                for part in prepared {
                    batch.extend(part.image);
                    let drawn_from = plan.draws() && plan.part[part.sample] == Some(Split::Train);
                    looks.extend(part.look.filter(|_| drawn_from).map(|look| (part.sample, look)));
                    match part.outcome {
                        Ok(found) => usable.extend(found),
                        Err(flaw) => drop(rejected.insert(part.sample, flaw)),
                    }
                }
                if sender.send(batch).is_err() {
                    // The writer failed, and says why below.
                    break;
                }
                report.progress("decoding", done as u64, samples.len() as u64, "images");
            }
            Ok(())
        };
        let decoded = decoding();
        let written = writing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let images = written?;
        decoded?;
        Ok::<(), IngestError>(images.finish()?)
    })?;
    Ok(Decoded { usable, rejected: rejected.into_values().collect(), looks })
}

/// The runner has checked the settings; a library user may not have.
fn check(params: &IngestParams) -> Result<(), IngestError> {
    let mut problems = Problems::default();
    params.mask.check(&mut problems);
    params.split.check(&mut problems);
    params.ingest.check(&mut problems);
    for (name, side) in [("image_size", params.image_size), ("low_res_size", params.low_res_size)] {
        problems.expect((1..=16_384).contains(&side), name, || format!("must be 1 to 16384, is {side}"));
    }
    problems.0.into_iter().next().map_or(Ok(()), |problem| Err(problem.into()))
}

/// Samples read, decoded and held together: enough to keep every thread busy, few enough to fit in memory.
fn batch_size(pool: &rayon::ThreadPool) -> usize {
    (4 * pool.current_num_threads()).clamp(16, 128)
}

/// Fails when more than the accepted share of the samples is unusable.
fn enough(rejected: &[Rejected], samples: usize, params: &IngestParams) -> Result<(), IngestError> {
    if rejected.len() as f64 <= params.ingest.max_rejected * samples as f64 {
        return Ok(());
    }
    Err(IngestError::TooManyRejected {
        rejected: rejected.len(),
        samples,
        accepted: params.ingest.max_rejected,
        first: rejected.iter().take(5).cloned().collect(),
    })
}
