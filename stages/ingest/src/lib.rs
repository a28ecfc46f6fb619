//! Dataset to images and targets: decode, audit, resize, split.
//!
//! One pass over the dataset: samples are decoded on all cores, while those before are written and synced; what is written
//! follows the dataset's order, so it does not depend on the number of threads.
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
#[doc(hidden)]
pub mod outside;
mod readers;
mod sample;
mod split;

pub use audit::{AUDIT_FORMAT, AreaAudit, Audit, DuplicatePair, MaskAudit, SizeAudit, SplitAudit};
pub use error::IngestError;

use look::Look;
use resect_data::DataError;
use resect_images as images;
use resect_ingest_params::IngestParams;
use resect_params::{Problems, Runtime};
use resect_stage::Reporter;
use resect_target_records::{Rejected, Split};
use resect_targets as targets;
use sample::{Prepared, Usable};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

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
    let dataset = readers::open(dataset, &params.layout, &params.ingest)?;
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

/// Decodes on all threads and writes the images, in the dataset's order, as they come.
fn decode(
    dataset: &readers::Dataset,
    plan: &split::Plan,
    params: &IngestParams,
    pool: &rayon::ThreadPool,
    images: images::Writer,
    report: &Reporter,
) -> Result<Decoded, IngestError> {
    let samples = dataset.samples();
    let ahead = ahead(pool);
    std::thread::scope(|threads| {
        // In the dataset's order, for each sample the channel on which it comes. Reading waits while the queue is full.
        let (queue, in_order) = sync_channel::<Receiver<Prepared>>(ahead);
        let writing = threads.spawn(move || collect(in_order, dataset, plan, images, report));
        let read = pool.in_place_scope(move |tasks| {
            for batch in dataset.batches(ahead)? {
                for raw in batch? {
                    let (sender, receiver) = sync_channel(1);
                    if queue.send(receiver).is_err() {
                        // The writer failed, and says why below.
                        return Ok(());
                    }
                    tasks.spawn(move |_| drop(sender.send(sample::prepare(raw, samples, plan, params))));
                }
            }
            Ok(())
        });
        let written = writing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let decoded = written?;
        read.and(Ok(decoded))
    })
}

/// Writes the images of prepared samples, which `in_order` gives, and keeps what else they hold.
fn collect(
    in_order: Receiver<Receiver<Prepared>>,
    dataset: &readers::Dataset,
    plan: &split::Plan,
    mut images: images::Writer,
    report: &Reporter,
) -> Result<Decoded, DataError> {
    let (mut usable, mut looks) = (Vec::new(), Vec::new());
    let mut rejected: BTreeMap<usize, Rejected> = dataset.flawed().collect();
    let mut done = rejected.len();
    // A task that panicked sends nothing; its panic goes on where the tasks are waited for.
    for part in in_order.into_iter().map_while(|prepared| prepared.recv().ok()) {
        if let Some(image) = part.image {
            images.push(image)?;
        }
        let drawn_from = plan.draws() && plan.part[part.sample] == Some(Split::Train);
        looks.extend(part.look.filter(|_| drawn_from).map(|look| (part.sample, look)));
        match part.outcome {
            Ok(found) => usable.extend(found),
            Err(flaw) => drop(rejected.insert(part.sample, flaw)),
        }
        done += 1;
        report.progress("decoding", done as u64, dataset.samples().len() as u64, "images");
    }
    images.finish()?;
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

/// Samples between reader and writer: enough to keep every thread busy while a few images are written, few enough to fit in
/// memory.
fn ahead(pool: &rayon::ThreadPool) -> usize {
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
