//! One sample, from bytes to what the artifacts hold of it.

use crate::look::Look;
use crate::mask;
use crate::mask::{Runs, Segmented};
use crate::readers::{Raw, Sample};
use crate::split::Plan;
use resect_geometry::{PixelBox, Size};
use resect_images::{Image, pixel_hash};
use resect_ingest_params::{IngestParams, Targets};
use resect_pixels::PixelError;
use resect_target_records::{Rejected, Split, Target};
use std::sync::Arc;

/// What one sample adds to the artifacts.
pub struct Prepared {
    /// Which sample: its place in the dataset.
    pub sample: usize,
    /// Its row of `images`, where the image is readable.
    pub image: Option<Image>,
    /// What that image looks like.
    pub look: Option<Arc<Look>>,
    /// What to segment in it (nothing, where no part of the split uses it), or why it is left out.
    pub outcome: Result<Option<Usable>, Rejected>,
}

/// A sample with an image, a mask and a part in the split; its pixels are gone.
pub struct Usable {
    /// Which sample: its place in the dataset.
    pub sample: usize,
    /// Name of the sample.
    pub id: String,
    /// What it is used for, once the parts are drawn.
    pub split: Split,
    /// The split the dataset gave it.
    pub given_split: String,
    /// What must not be split.
    pub group: String,
    /// Its image, in `images`.
    pub pixel_hash: String,
    /// Size before resizing.
    pub original: Size,
    /// Size after it.
    pub resized: Size,
    /// What the image looks like.
    pub look: Arc<Look>,
    /// EXIF data said that the image lies on its side.
    pub turned: bool,
    /// What its mask holds.
    pub found: Segmented,
    /// One target for each component, numbered.
    pub numbered: bool,
}

struct Decoded {
    row: Image,
    look: Arc<Look>,
    turned: bool,
}

/// Decodes, resizes and segments one sample.
pub fn prepare(raw: Raw, samples: &[Sample], plan: &Plan, params: &IngestParams) -> Prepared {
    let sample = &samples[raw.sample];
    let decoded = match raw.image.and_then(|bytes| decode_image(&sample.id, &bytes, params)) {
        Ok(decoded) => decoded,
        Err(reason) => {
            let outcome = Err(sample.rejected(reason));
            return Prepared { sample: raw.sample, image: None, look: None, outcome };
        }
    };
    let Decoded { row, look, turned } = decoded;
    let outcome = match plan.part[raw.sample] {
        None => Ok(None),
        Some(split) => raw
            .mask
            .and_then(|bytes| decode_mask(&bytes, row.original, turned, params))
            .map_err(|reason| sample.rejected(reason))
            .map(|found| {
                Some(Usable {
                    sample: raw.sample,
                    id: sample.id.clone(),
                    split,
                    given_split: sample.given_split.clone(),
                    group: plan.group[raw.sample].clone(),
                    pixel_hash: row.pixel_hash.clone(),
                    original: row.original,
                    resized: row.resized,
                    look: look.clone(),
                    turned,
                    found,
                    numbered: params.mask.targets == Targets::Components,
                })
            }),
    };
    Prepared { sample: raw.sample, image: Some(row), look: Some(look), outcome }
}

fn decode_image(id: &str, bytes: &[u8], params: &IngestParams) -> Result<Decoded, String> {
    let image = resect_pixels::rgb(bytes, params.ingest.max_pixels)
        .map_err(|error| format!("the image: {}", reason(error)))?;
    let original = Size::new(image.pixels.height(), image.pixels.width());
    let size = original.with_longest_side(params.image_size);
    let pixels = resect_pixels::resized(&image.pixels, size);
    let look = Arc::new(Look::of(&image.pixels));
    let pixel_hash = pixel_hash(size, &pixels);
    let row = Image { id: id.to_owned(), pixel_hash, original, resized: size, pixels };
    Ok(Decoded { row, look, turned: image.turned })
}

/// Why a picture cannot be used, with the setting that would accept it where there is one.
fn reason(error: PixelError) -> String {
    match error {
        PixelError::TooLarge { width, height, max } => {
            format!("it has {width}x{height} pixels, more than ingest.max_pixels = {max}")
        }
        other => other.to_string(),
    }
}

fn decode_mask(
    bytes: &[u8],
    image: Size,
    image_was_turned: bool,
    params: &IngestParams,
) -> Result<Segmented, String> {
    let as_labels = !params.mask.labels.is_empty();
    let grey = resect_pixels::grey(bytes, params.ingest.max_pixels, as_labels)
        .map_err(|error| format!("the mask: {}", reason(error)))?;
    if grey.size != image {
        let turned = if image_was_turned { " once turned by its EXIF orientation" } else { "" };
        return Err(format!("the mask has {} pixels, the image {image}{turned}", grey.size));
    }
    mask::segment(&grey, &params.mask)
}

impl Usable {
    /// Its rows of `targets`, each with its mask.
    pub fn targets(&self, near_duplicate_of: String) -> impl Iterator<Item = (Target, &Runs)> {
        self.found.pieces.iter().enumerate().filter_map(move |(index, piece)| {
            // A piece always has foreground, so always a box.
            let PixelBox { x0, y0, x1, y1 } = piece.runs.bounding_box()?;
            let id = if self.numbered { format!("{}#{}", self.id, index + 1) } else { self.id.clone() };
            let target = Target {
                id,
                sample: self.id.clone(),
                pixel_hash: self.pixel_hash.clone(),
                split: self.split,
                given_split: self.given_split.clone(),
                group: self.group.clone(),
                height: self.original.height,
                width: self.original.width,
                resized_height: self.resized.height,
                resized_width: self.resized.width,
                x0,
                y0,
                x1,
                y1,
                area_fraction: piece.runs.area_fraction(),
                components: piece.components,
                specks_removed: self.found.specks,
                noisy_mask: self.found.noisy,
                touches_border: piece.runs.touches_border(),
                near_duplicate_of: near_duplicate_of.clone(),
            };
            Some((target, &piece.runs))
        })
    }
}
