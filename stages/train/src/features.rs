//! What the model takes of an image: features that `embed` stored, or pixels.

use std::collections::HashMap;

use rayon::prelude::*;
use resect_checkpoint::SamConfig;
use resect_embeddings::{Embedding, Embeddings};
use resect_encoder::{EncoderError, feature_shape, normalise};
use resect_geometry::{View, Views};
use resect_images::{ImageRef, Images};
use resect_numeric::Place;

use crate::augment::Seen;
use crate::{Inputs, TrainError};

/// Of each image under each view, the features at the place where the tuned part of a model begins.
pub enum Features {
    /// As `embed` stored them.
    Stored(Embeddings),
    /// Pixels, which are normalised when they are needed.
    Pixels(Pixels),
}

/// The pixels of images.
pub struct Pixels {
    images: Images,
    /// The first image of each pixel hash.
    by_hash: HashMap<String, usize>,
    /// Side of the model input.
    side: usize,
}

impl Features {
    /// Opens the artifact that has the features at a place, and checks that they fit the model.
    ///
    /// # Errors
    /// An artifact that is not given, cannot be read, or is of another model or place.
    pub fn open(inputs: &Inputs<'_>, config: &SamConfig, place: Place) -> Result<Self, TrainError> {
        let missing = |artifact| TrainError::NoInput { place, artifact };
        if place == Place::Pixels {
            let images = Images::open(inputs.images.ok_or_else(|| missing("images"))?)?;
            let (found, side) = (images.longest_side(), config.image_size());
            if found as usize != side {
                return Err(TrainError::Misfit(format!(
                    "images are resized to {found} pixels, the model takes {side}"
                )));
            }
            let mut by_hash = HashMap::new();
            for (index, image) in images.iter().enumerate() {
                by_hash.entry(image.pixel_hash.to_owned()).or_insert(index);
            }
            return Ok(Self::Pixels(Pixels { images, by_hash, side }));
        }
        let stored = Embeddings::open(inputs.embeddings.ok_or_else(|| missing("embeddings"))?)?;
        if stored.place() != place {
            let found = stored.place();
            return Err(TrainError::Misfit(format!(
                "features were taken at {found}, the tuned part of the model begins at {place}"
            )));
        }
        let (found, expected) = (stored.shape(), feature_shape(config, place));
        match found == expected {
            true => Ok(Self::Stored(stored)),
            false => {
                Err(TrainError::Misfit(format!("embeddings are {found:?}, the model's are {expected:?}")))
            }
        }
    }

    /// Whether there are features of an image under a view.
    pub fn contains(&self, pixel_hash: &str, view: View) -> bool {
        match self {
            Self::Stored(stored) => stored.contains(pixel_hash, view),
            Self::Pixels(pixels) => pixels.by_hash.contains_key(pixel_hash),
        }
    }

    /// Those of some images that are not stored as the model takes them, made on several threads. Each image is named by its pixel hash.
    ///
    /// # Errors
    /// Pixels that do not fit the model.
    pub fn prepare(&self, chosen: &[(&str, Seen)]) -> Result<Vec<Option<Vec<f32>>>, TrainError> {
        let Self::Pixels(pixels) = self else { return Ok(vec![None; chosen.len()]) };
        let prepared = chosen.par_iter().with_max_len(1).map(|(hash, seen)| {
            let Some(image) = pixels.get(hash) else { return Ok(None) };
            let normalised = pixels.normalised(&image, seen.view);
            let failed = |error| TrainError::Image { id: image.id.to_owned(), source: Box::new(error) };
            normalised.map(Some).map_err(failed)
        });
        prepared.collect()
    }

    /// The features of an image under a view, where there are some: stored ones, or `prepared` by [`Features::prepare`].
    pub fn get<'s>(
        &'s self,
        pixel_hash: &str,
        view: View,
        prepared: Option<&'s [f32]>,
    ) -> Option<Embedding<'s>> {
        match self {
            Self::Stored(stored) => stored.get(pixel_hash, view),
            Self::Pixels(_) => prepared.map(Embedding::F32),
        }
    }

    /// A number that tells the features of an image under a view from all others.
    pub fn row(&self, pixel_hash: &str, view: View) -> Option<usize> {
        match self {
            Self::Stored(stored) => stored.row(pixel_hash, view),
            Self::Pixels(pixels) => {
                let index = *pixels.by_hash.get(pixel_hash)?;
                let views = Views::All.views();
                Some(index * views.len() + views.iter().position(|other| *other == view)?)
            }
        }
    }

    /// Has the system begin to read what is needed next from disk.
    pub fn fetch(&self, pixel_hash: &str, view: View) {
        if let Self::Stored(stored) = self {
            stored.fetch(pixel_hash, view);
        }
    }

    /// Gives the memory of what was read back to the system.
    pub fn release(&self, pixel_hash: &str, view: View) {
        match self {
            Self::Stored(stored) => stored.release(pixel_hash, view),
            Self::Pixels(pixels) => pixels.images.release(),
        }
    }
}

impl Pixels {
    fn get(&self, pixel_hash: &str) -> Option<ImageRef<'_>> {
        self.by_hash.get(pixel_hash).map(|index| self.images.get(*index))
    }

    fn normalised(&self, image: &ImageRef<'_>, view: View) -> Result<Vec<f32>, EncoderError> {
        let size = view.size(image.resized);
        let (height, width) = (size.height as usize, size.width as usize);
        match view {
            View::Identity => normalise(image.pixels, height, width, self.side),
            view => normalise(&view.planes(image.pixels, image.resized), height, width, self.side),
        }
    }
}
