//! The encodings of the test images that the base's and the tuned decoder take.
//!
//! Where the image encoder is frozen, both take those that `embed` stored. Where it is tuned, each has its own: they are computed once
//! from what `embed` stored before the first tuned block, or from the pixels, and kept in the work folder while masks are decoded.

use std::collections::HashSet;
use std::path::Path;

use burn::tensor::{Tensor, TensorData};
use resect_checkpoint::{Checkpoint, NamedTensor};
use resect_device::{DeviceError, SINGLE_TOLERANCE};
use resect_embeddings::{Embeddings, SHARD_ROWS, Writer};
use resect_encoder::{Encoder, feature_shape, normalise, numbers};
use resect_geometry::View;
use resect_images::{ImageRef, Images};
use resect_layers::{Cpu, Layers};
use resect_numeric::{Dtype, Place, Precision};
use resect_params::Runtime;
use resect_segment::tuned;
use resect_stage::Reporter;
use resect_target_records::Split;
use resect_targets::Targets;
use resect_tuning::Tuning;

use crate::{EvaluateError, Inputs, Method};

/// The encodings of each decoder, or one set for both.
pub(crate) struct Encodings {
    sets: Vec<Embeddings>,
}

/// What encodings are computed from.
pub(crate) struct Given<'a> {
    pub inputs: &'a Inputs<'a>,
    pub base: &'a Checkpoint,
    pub tuning: &'a Tuning,
    pub images: &'a Images,
    pub targets: &'a Targets,
    /// A folder that stays while the stage is restarted.
    pub work: &'a Path,
    pub runtime: &'a Runtime,
    pub report: &'a Reporter,
}

impl Encodings {
    /// Those of the decoders in their order ([`Method::DECODERS`]): one set for both, or one for each.
    pub fn sets(&self) -> &[Embeddings] {
        &self.sets
    }

    /// The first of them: all have the same images.
    pub fn first(&self) -> Result<&Embeddings, EvaluateError> {
        self.sets.first().ok_or_else(|| EvaluateError::Internal("there are no encodings".into()))
    }

    /// Gives the memory of what was read of an image back to the system.
    pub fn release(&self, pixel_hash: &str) {
        self.sets.iter().for_each(|set| set.release(pixel_hash, View::Identity));
    }

    /// Opens the stored encodings, or computes those of both encoders on a device. `compared` tells whether the first image is encoded
    /// on the CPU, too, and both must agree.
    ///
    /// # Errors
    /// Features that are missing, or of another place or model; encodings that are not finite; a device that computes something else
    /// than the CPU; a failing disk.
    pub fn open<B: Layers>(
        given: &Given<'_>,
        device: &B::Device,
        compared: bool,
    ) -> Result<Self, EvaluateError> {
        let place = given.tuning.place(given.base.config())?;
        let missing = |artifact| EvaluateError::NoInput { place, artifact };
        let stored = match place {
            Place::Pixels => None,
            Place::Neck | Place::Block(_) => {
                let stored = given.inputs.embeddings.ok_or_else(|| missing("embeddings"))?;
                Some(Embeddings::open(stored)?)
            }
        };
        if let Some(stored) = &stored
            && stored.place() != place
        {
            let (found, expected) = (stored.place().to_string(), place.to_string());
            return Err(EvaluateError::Unfit { what: "the place of the stored features", found, expected });
        }
        let stored = match (place, stored) {
            (Place::Neck, Some(stored)) => return Ok(Self { sets: vec![stored] }),
            (_, stored) => stored,
        };
        let features = Features { place, stored: stored.as_ref(), chosen: chosen(given), given };
        let config = given.base.config();
        let numbers = feature_shape(config, Place::Neck).iter().product::<usize>() * features.chosen.len();
        given.report.note(format!(
            "encodes {} images with both encoders: {:.1} MB in the work folder meanwhile",
            features.chosen.len(),
            (2 * numbers * Dtype::F32.bytes()) as f64 / 1e6
        ));
        let tuned = tuned(given.base, given.inputs.checkpoint)?;
        let untuned = &mut |name: &str| given.base.tensor(name);
        let tuned = &mut |name: &str| tuned.tensor(name);
        let sets = [
            features.encoded::<B>(Method::Untuned, untuned, device, compared)?,
            features.encoded::<B>(Method::Tuned, tuned, device, compared)?,
        ];
        Ok(Self { sets: sets.into() })
    }
}

/// The first image of each pixel hash that a target of the test split has, in order.
fn chosen<'a>(given: &Given<'a>) -> Vec<ImageRef<'a>> {
    let rows = given.targets.rows();
    let mut wanted: HashSet<&str> =
        given.targets.of(Split::Test).iter().map(|i| rows[*i].pixel_hash.as_str()).collect();
    given.images.iter().filter(|image| wanted.remove(image.pixel_hash)).collect()
}

/// The features of the test images at the place where the tuned part of the model begins.
struct Features<'a> {
    place: Place,
    stored: Option<&'a Embeddings>,
    chosen: Vec<ImageRef<'a>>,
    given: &'a Given<'a>,
}

type Read<'a> = &'a mut dyn FnMut(&str) -> Result<NamedTensor, resect_checkpoint::Error>;

impl Features<'_> {
    /// The encodings by the encoder whose tensors `read` gives. Shards that an earlier start has written are kept.
    fn encoded<B: Layers>(
        &self,
        method: Method,
        read: Read<'_>,
        device: &B::Device,
        compared: bool,
    ) -> Result<Embeddings, EvaluateError> {
        let Given { base, work, runtime, report, .. } = self.given;
        let config = base.config();
        let shape = feature_shape(config, Place::Neck);
        let dir = work.join(format!("encoded-{method}"));
        std::fs::create_dir_all(&dir).map_err(|source| EvaluateError::Work { path: dir.clone(), source })?;
        let writer = Writer::new(&dir, shape, Dtype::F32);
        let source = &mut |name: &str| Ok(read(name)?);
        let encoder = Encoder::<B>::from_source(config, source, Precision::F32, device)?;
        if compared && let Some(first) = self.chosen.first() {
            let reference = Encoder::<Cpu>::from_source(config, source, Precision::F32, &Default::default())?;
            let what = format!("the {method} encoding of image {}", first.id);
            let one = std::slice::from_ref(first);
            let [found, expected] = [
                numbers(self.forward(&encoder, one, device)?),
                numbers(self.forward(&reference, one, &Default::default())?),
            ];
            resect_device::compare(&what, &found, &expected, SINGLE_TOLERANCE)
                .map_err(DeviceError::Disagrees)?;
        }
        let total = self.chosen.len() as u64;
        for (index, images) in self.chosen.chunks(SHARD_ROWS).enumerate() {
            if !writer.has_shard(index, images.len()) {
                let mut encodings = Vec::new();
                for batch in images.chunks(runtime.embed_batch.max(1)) {
                    encodings.extend(numbers(self.forward(&encoder, batch, device)?));
                }
                for (image, encoding) in images.iter().zip(encodings.chunks(shape.iter().product())) {
                    if !encoding.iter().all(|x| x.is_finite()) {
                        return Err(EvaluateError::Encoding { id: image.id.into(), method });
                    }
                }
                writer.write_shard(index, &encodings)?;
            }
            let done = (index * SHARD_ROWS + images.len()) as u64;
            report.progress(&format!("encoding, {method}"), done, total, "images");
            self.given.images.release();
        }
        let rows: Vec<_> = self.chosen.iter().map(|image| (image.pixel_hash, View::Identity)).collect();
        writer.finish(&rows)?;
        Ok(Embeddings::open(&dir)?)
    }

    /// The encodings of some images, `[n, C, g, g]`.
    fn forward<B: Layers>(
        &self,
        encoder: &Encoder<B>,
        images: &[ImageRef<'_>],
        device: &B::Device,
    ) -> Result<Tensor<B, 4>, EvaluateError> {
        let config = self.given.base.config();
        let (side, [a, b, c]) = (config.image_size(), feature_shape(config, self.place));
        let mut numbers = Vec::with_capacity(images.len() * a * b * c);
        for image in images {
            match self.stored {
                Some(stored) => {
                    if !stored.append_to(image.pixel_hash, View::Identity, &mut numbers) {
                        let targets = vec![image.id.to_owned()];
                        return Err(EvaluateError::Lacking { what: "embedding", targets });
                    }
                    stored.release(image.pixel_hash, View::Identity);
                }
                None => {
                    let (height, width) = (image.resized.height as usize, image.resized.width as usize);
                    numbers.extend(normalise(image.pixels, height, width, side)?);
                }
            }
        }
        let data = TensorData::new(numbers, [images.len(), a, b, c]);
        Ok(encoder.forward_from(self.place, Tensor::from_data(data, device)))
    }
}
