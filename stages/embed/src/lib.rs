//! Images to embeddings: the frozen image encoder, once for each distinct image and each view of it.
//!
//! Only the decoder is tuned, so an image's embedding never changes: it is computed here, once, and `train` and `evaluate` read it.
//! Images with equal pixels share one row, in the order in which each first occurs. Augmentation by flips and quarter turns keeps
//! that: each view of an image has a row of its own ([`EmbedParams::views`]). Every image gets all of them, because what is
//! trained on and what is reported is not known here, and must not be.
//!
//! What earlier embeddings hold already is copied from them ([`Inputs::hints`]), so that adding 50 images costs 50. Several machines
//! share the work by that: each embeds a part of the images ([`EmbedParams::shard`]), and who embeds all copies every part.
//!
//! While a batch is encoded, the next one is prepared and the last shard written. Rows are written shard by shard. A start that finds finished shards in its output folder keeps them as they are: the folder
//! belongs to one key, and with the same key every shard has the same bytes.

#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod encode;
mod error;
mod flow;
mod hints;
mod rows;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use resect_checkpoint::{Checkpoint, SamConfig};
use resect_device::Device;
use resect_embed_params::EmbedParams;
use resect_embeddings::{SHARD_ROWS, Writer};
use resect_encoder::{Encoder, compare_with_cpu, feature_shape};
use resect_geometry::View;
use resect_images::{ImageRef, Images};
use resect_layers::{Cpu, Layers};
use resect_numeric::{Dtype, Place};
use resect_params::Runtime;
use resect_stage::Reporter;

pub use error::EmbedError;

use flow::Shard;
use hints::Hints;
use rows::Row;

/// Folders of the artifacts that are read.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// Resized images.
    pub images: &'a Path,
    /// The base checkpoint.
    pub base: &'a Path,
    /// Sound `embeddings` artifacts that this code made with the same checkpoint and settings, views aside, on the same kind of
    /// arithmetic. A row of theirs is copied where pixel hash and view are wanted; one that cannot be read is left aside.
    pub hints: &'a [PathBuf],
}

/// Embeds every distinct image with the encoder of the checkpoint, into the folder `out`. On a GPU, the first image is encoded on
/// the CPU, too, and both must agree ([`resect_device::compare`]).
///
/// # Errors
/// A device that cannot be used or that computes something else than the CPU, inputs that cannot be read or do not fit each other,
/// embeddings that are no numbers or that `params.dtype` cannot hold, a failing disk.
pub fn run(
    device: Device,
    inputs: &Inputs<'_>,
    params: &EmbedParams,
    runtime: &Runtime,
    out: &Path,
    report: &Reporter,
) -> Result<(), EmbedError> {
    match device {
        Device::Cpu => run_with::<Cpu>(&Default::default(), false, inputs, params, runtime, out, report),
        #[cfg(feature = "cuda")]
        Device::Cuda(index) => {
            let (device, gpu) = resect_layers::open_cuda(index)?;
            let checkpoint = open(inputs.base)?;
            let needed =
                |images| resect_encoder::memory::encoding(checkpoint.config(), params.precision, images);
            resect_device::check_memory(index, needed, runtime.embed_batch.max(1), "runtime.embed_batch")?;
            report.note(format!("computes on {gpu}"));
            run_with::<resect_layers::Cuda>(&device, true, inputs, params, runtime, out, report)
        }
        #[cfg(not(feature = "cuda"))]
        Device::Cuda(_) => Err(resect_device::DeviceError::NotBuilt { device }.into()),
    }
}

/// [`run`] on the device of a backend; `compared` with the CPU or not.
///
/// # Errors
/// As there.
pub fn run_with<B: Layers>(
    device: &B::Device,
    compared: bool,
    inputs: &Inputs<'_>,
    params: &EmbedParams,
    runtime: &Runtime,
    out: &Path,
    report: &Reporter,
) -> Result<(), EmbedError> {
    let images = Images::open(inputs.images)?;
    let checkpoint = open(inputs.base)?;
    check(&images, checkpoint.config())?;
    let (place, dtype) = (params.place, params.dtype);
    let (mut distinct, shape) = (distinct(&images), shape(checkpoint.config(), place)?);
    if let Some(shard) = params.shard {
        let range = shard.range(distinct.len());
        if range.is_empty() {
            return Err(EmbedError::EmptyShard { shard, images: distinct.len() });
        }
        report.note(format!("shard {shard}: {} of {} distinct images", range.len(), distinct.len()));
        distinct = distinct[range].to_vec();
    }
    let length = shape.iter().product();
    let views = params.views.views();
    report.note(plan(distinct.len(), images.len(), views.len(), place, shape, dtype));
    let rows = Row::all(&distinct, views);

    remove_unfinished(out)?;
    let writer = Writer::new(out, shape, dtype).at(place);
    let hints = Hints::open(inputs.hints, place, shape, dtype);
    let missing = rows.chunks(SHARD_ROWS).enumerate();
    let missing = missing.filter(|(index, rows)| !writer.has_shard(*index, rows.len()));
    let missing: Vec<Shard<'_>> = missing
        .map(|(index, rows)| {
            let new = rows.iter().filter(|row| !hints.contain(row)).copied().collect();
            Shard { index, rows, new }
        })
        .collect();
    let wanted = missing.iter().map(|shard| shard.rows.len()).sum::<usize>();
    let kept = rows.len() - wanted;
    if kept > 0 {
        report.note(format!("{kept} of {} were embedded by an earlier start and are kept", rows.len()));
    }
    let copied = wanted - missing.iter().map(|shard| shard.new.len()).sum::<usize>();
    if copied > 0 {
        report.note(format!("{copied} of {} copied from earlier embeddings", rows.len()));
    }
    let (began, mut encoded_rows, mut encoder) = (Instant::now(), 0, None);
    flow::run(
        &missing,
        runtime.embed_batch.max(1),
        |rows| encode::pixels(rows, checkpoint.config().image_size()),
        |batch, pixels| {
            // Not loaded before there is something to encode.
            let encoder = match &mut encoder {
                Some(encoder) => encoder,
                none => {
                    let encoder = Encoder::<B>::load(&checkpoint, params.precision, device)?;
                    if compared {
                        let first = encode::pixels(&batch[..1], encoder.side())?;
                        let what = format!("the embedding of image {}", batch[0].image.id);
                        let reference =
                            Encoder::<Cpu>::load(&checkpoint, params.precision, &Default::default())?;
                        let agreement = compare_with_cpu(&encoder, &reference, place, &what, first)?;
                        let difference = agreement.difference;
                        report.note(format!("agrees with the CPU on the first image to {difference:.1e}"));
                    }
                    none.insert(encoder)
                }
            };
            Ok(encoder.forward_to(place, pixels)?)
        },
        |batch, embeddings| {
            let embeddings = encode::finished(batch, embeddings, dtype, params.precision)?;
            encoded_rows += batch.len();
            report.progress(
                "encoding",
                (kept + copied + encoded_rows) as u64,
                rows.len() as u64,
                "embeddings",
            );
            Ok(embeddings)
        },
        |shard, encoded| {
            writer.write_shard(shard.index, &hints.complete(shard.rows, &encoded, length)?)?;
            images.release();
            Ok(())
        },
    )?;
    let rate = encoded_rows as f64 / began.elapsed().as_secs_f64();
    report.timing(&serde_json::json!({
        "images": encoded_rows,
        "images_per_second": (encoded_rows > 0).then_some(rate),
    }));
    let keys: Vec<(&str, View)> = rows.iter().map(Row::key).collect();
    Ok(writer.finish(&keys)?)
}

fn open(base: &Path) -> Result<Checkpoint, EmbedError> {
    Checkpoint::open(base).map_err(|e| EmbedError::Checkpoint(e.into()))
}

/// The images must be there and have been resized for this model.
fn check(images: &Images, config: &SamConfig) -> Result<(), EmbedError> {
    if images.is_empty() {
        return Err(EmbedError::NoImages);
    }
    let (found, expected) = (images.longest_side(), config.image_size());
    if found as usize == expected { Ok(()) } else { Err(EmbedError::Side { found, expected }) }
}

/// The first image of each pixel hash, in order.
fn distinct(images: &Images) -> Vec<ImageRef<'_>> {
    let mut seen = HashSet::new();
    images.iter().filter(|image| seen.insert(image.pixel_hash)).collect()
}

/// The shape of an image's features at a place.
fn shape(config: &SamConfig, place: Place) -> Result<[usize; 3], EmbedError> {
    let blocks = config.vision.num_hidden_layers;
    let is_stored = match place {
        Place::Neck => true,
        Place::Block(block) => block < blocks,
        Place::Pixels => false,
    };
    if is_stored { Ok(feature_shape(config, place)) } else { Err(EmbedError::Place { place, blocks }) }
}

/// What will be done, and the disk it needs.
fn plan(
    distinct: usize,
    images: usize,
    views: usize,
    place: Place,
    shape: [usize; 3],
    dtype: Dtype,
) -> String {
    let [a, b, c] = shape;
    let bytes = views * distinct * a * b * c * dtype.bytes();
    let what = match place {
        Place::Block(block) => format!("tokens that enter block {block}"),
        Place::Neck | Place::Pixels => "embeddings".into(),
    };
    let format = match dtype {
        Dtype::F16 => "f16",
        Dtype::F32 => "f32",
    };
    let each = if views > 1 { format!(" under {views} views each") } else { String::new() };
    format!(
        "{distinct} distinct of {images} images{each}, {what} [{a}, {b}, {c}] in {format}: {} on disk",
        megabytes(bytes)
    )
}

/// A size as disks are sold: decimal.
fn megabytes(bytes: usize) -> String {
    let megabytes = bytes as f64 / 1e6;
    if megabytes < 1000.0 { format!("{megabytes:.1} MB") } else { format!("{:.1} GB", megabytes / 1000.0) }
}

/// Files that a killed start was still writing; finished ones have lost the suffix.
fn remove_unfinished(out: &Path) -> Result<(), EmbedError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| EmbedError::Leftover { path, source }
    };
    for entry in std::fs::read_dir(out).map_err(failed(out))? {
        let path = entry.map_err(failed(out))?.path();
        if path.extension().is_some_and(|extension| extension == "tmp") {
            std::fs::remove_file(&path).map_err(failed(&path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
