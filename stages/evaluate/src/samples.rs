//! The test split: each target with its image, and the checks that all inputs speak of the same model.

use std::collections::HashMap;

use resect_checkpoint::SamConfig;
use resect_embeddings::Embeddings;
use resect_geometry::{Mask, Size, View};
use resect_images::{ImageRef, Images};
use resect_segment::Frame;
use resect_target_records::{Split, Target};
use resect_targets::Targets;

use crate::EvaluateError;

/// One target of the test split.
#[derive(Clone, Copy)]
pub(crate) struct Sample<'a> {
    pub target: &'a Target,
    pub image: ImageRef<'a>,
    pub targets: &'a Targets,
    /// Row of the target.
    pub index: usize,
    /// How the image lies in the model.
    pub frame: Frame,
}

impl Sample<'_> {
    /// The truth at original resolution.
    pub fn truth(&self) -> Mask {
        self.targets.mask(self.index)
    }

    /// The truth on the low-res grid.
    pub fn low_res_truth(&self) -> Mask {
        let cells = self.targets.low_res(self.index).iter().map(|&cell| cell != 0).collect();
        Mask::new(Size::square(self.targets.low_res_size()), cells)
    }
}

/// The targets of the test split in order; every one of them has an image and an embedding.
pub(crate) fn collect<'a>(
    config: &SamConfig,
    images: &'a Images,
    embeddings: &Embeddings,
    targets: &'a Targets,
) -> Result<Vec<Sample<'a>>, EvaluateError> {
    let mut by_hash = HashMap::new();
    for image in images.iter() {
        by_hash.entry(image.pixel_hash).or_insert(image);
    }
    let (mut samples, mut no_image, mut no_embedding) = (Vec::new(), Vec::new(), Vec::new());
    for index in targets.of(Split::Test) {
        let target = &targets.rows()[index];
        if !embeddings.contains(&target.pixel_hash, View::Identity) {
            no_embedding.push(target.id.clone());
        }
        let Some(&image) = by_hash.get(target.pixel_hash.as_str()) else {
            no_image.push(target.id.clone());
            continue;
        };
        if image.resized != target.resized() {
            let (id, stated, found) = (target.id.clone(), target.resized(), image.resized);
            return Err(EvaluateError::ImageSize { id, stated, found });
        }
        let frame = Frame::of_resized(config, target.original(), image.resized)?;
        samples.push(Sample { target, image, targets, index, frame });
    }
    for (what, targets) in [("image", no_image), ("embedding", no_embedding)] {
        if !targets.is_empty() {
            return Err(EvaluateError::Lacking { what, targets });
        }
    }
    if samples.is_empty() {
        return Err(EvaluateError::NoTest { targets: targets.rows().len() });
    }
    Ok(samples)
}

/// Every input must have been made for the model of the base checkpoint.
pub(crate) fn check_model(
    config: &SamConfig,
    images: &Images,
    embeddings: &Embeddings,
    targets: &Targets,
) -> Result<(), EvaluateError> {
    let (grid, channels) = (config.grid(), config.embedding_channels());
    for (what, found, expected) in [
        ("the images' longest side", images.longest_side().to_string(), config.image_size().to_string()),
        ("the targets' low-res grid", targets.low_res_size().to_string(), config.low_res().to_string()),
        (
            "the embeddings' shape",
            format!("{:?}", embeddings.shape()),
            format!("{:?}", [channels, grid, grid]),
        ),
    ] {
        if found != expected {
            return Err(EvaluateError::Unfit { what, found, expected });
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
