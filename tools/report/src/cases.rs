//! The targets of the gallery: their pictures, the outlines over them, and their figures.

use std::collections::HashMap;
use std::fmt::Write;

use base64::Engine;
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{FilterType, resize};
use resect_evaluation_records::{MaskRow, Method, Metrics, SampleRow};
use resect_geometry::{Mask, Size};
use resect_images::{ImageRef, Images};
use resect_report_job::Folders;
use resect_tables::table;
use resect_target_records::Target;
use resect_targets::Targets;

use crate::ReportError;

/// Most targets in the gallery, the worst ones: a file of more could not be mailed, nor scrolled.
pub const MOST_CASES: usize = 400;
/// Largest JPEG of the gallery, in bytes, where a quality of [`QUALITIES`] makes it so small: 120 of them, a third larger in
/// Base64, stay below 20 MB with all else.
pub const LARGEST_JPEG: usize = 100_000;
/// Longest side of a picture, in pixels. Smaller images stay as they are.
const LONGEST_SIDE: u32 = 640;
/// JPEG qualities, the first that is small enough is taken.
const QUALITIES: [u8; 4] = [82, 65, 45, 25];
/// A mask whose outline is more than this many times as long as the truth's is speckle: it would hide the picture, so it is left
/// out, as in the overlays of `evaluate`.
const LONGEST_OUTLINE: usize = 4;

/// A target of the gallery.
pub(crate) struct Case {
    pub target: Target,
    /// `data:image/jpeg;base64,...`
    pub picture: String,
    /// Its size, in pixels.
    pub size: Size,
    /// The outline of the truth, as the data of an SVG path in pixels of the original image.
    pub truth: String,
    /// Outlines of the untuned and the tuned mask.
    pub outlines: [Outline; 2],
    /// Rows of the untuned and the tuned decoder.
    pub rows: [SampleRow; 2],
}

/// What is drawn of a predicted mask.
pub(crate) enum Outline {
    Path(String),
    /// Not a single pixel was found.
    Empty,
    /// Too long to be drawn.
    Speckle,
}

impl Case {
    pub fn dice(&self, method: Method) -> Option<f64> {
        self.rows.iter().find(|row| row.method == method)?.dice
    }

    /// Dice of tuned less untuned.
    pub fn gain(&self) -> Option<f64> {
        Some(self.rows[1].dice? - self.rows[0].dice?)
    }

    /// What the audit says of it.
    pub fn flags(&self) -> Vec<&'static str> {
        self.rows[1].flags().collect()
    }
}

/// The worst targets of an evaluation, worst first.
pub(crate) fn read(
    folders: &Folders,
    metrics: &Metrics,
    rows: &[SampleRow],
    targets: &Targets,
) -> Result<Vec<Case>, ReportError> {
    let path = folders.evaluation.join("samples.parquet");
    let disagree = |what: String| ReportError::Disagree { path: path.clone(), what };
    let by_key: HashMap<(&str, &str), &SampleRow> =
        rows.iter().map(|row| ((row.id.as_str(), row.method.name()), row)).collect();
    let mut reported = Vec::new();
    for index in targets.of(metrics.split) {
        let id = targets.rows()[index].id.as_str();
        let row = |method: Method| by_key.get(&(id, method.name())).copied().cloned();
        let pair = row(Method::Untuned).zip(row(Method::Tuned));
        let (untuned, tuned) = pair.ok_or_else(|| disagree(format!("it has no figures of target {id}")))?;
        reported.push((index, [untuned, tuned]));
    }
    if reported.len() != metrics.targets {
        let (says, are) = (metrics.targets, reported.len());
        return Err(disagree(format!("metrics.json counts {says} targets, the targets artifact has {are}")));
    }
    // Nothing found at all is the worst there is; the id decides ties.
    let dice = |rows: &[SampleRow; 2]| rows[1].dice.unwrap_or(-1.0);
    reported.sort_by(|(_, a), (_, b)| dice(a).total_cmp(&dice(b)).then_with(|| a[1].id.cmp(&b[1].id)));
    reported.truncate(MOST_CASES);

    let masks: Vec<MaskRow> = table::read(&folders.evaluation.join("masks.parquet"))?;
    let masks: HashMap<(&str, &str), &MaskRow> =
        masks.iter().map(|row| ((row.id.as_str(), row.method.name()), row)).collect();
    let images = Images::open(&folders.images)?;
    let by_hash: HashMap<String, usize> =
        (0..images.len()).map(|index| (images.get(index).pixel_hash.to_owned(), index)).collect();
    let case = |(index, rows): (usize, [SampleRow; 2])| {
        let target = targets.rows()[index].clone();
        let image = by_hash.get(&target.pixel_hash).ok_or_else(|| ReportError::Disagree {
            path: folders.images.clone(),
            what: format!("it has no image of target {}", target.id),
        })?;
        let (picture, size) = picture(&images.get(*image), &target.id)?;
        images.release();
        let truth = targets.mask(index).outlines();
        let (truth, longest) = (path_data(&truth), LONGEST_OUTLINE * length(&truth));
        let predicted = |method: Method| {
            let mask = decode(masks.get(&(target.id.as_str(), method.name())).copied(), &target, folders)?;
            let outlines = mask.outlines();
            Ok::<_, ReportError>(match length(&outlines) {
                0 => Outline::Empty,
                length if length > longest => Outline::Speckle,
                _ => Outline::Path(path_data(&outlines)),
            })
        };
        let outlines = [predicted(Method::Untuned)?, predicted(Method::Tuned)?];
        Ok(Case { picture, size, truth, outlines, rows, target })
    };
    reported.into_iter().map(case).collect()
}

/// The mask of a row that belongs to a target.
fn decode(row: Option<&MaskRow>, target: &Target, folders: &Folders) -> Result<Mask, ReportError> {
    let disagree =
        |what: String| ReportError::Disagree { path: folders.evaluation.join("masks.parquet"), what };
    let id = &target.id;
    let row = row.ok_or_else(|| disagree(format!("it has no mask of target {id}")))?;
    let size = Size::new(row.height, row.width);
    if size != target.original() {
        return Err(disagree(format!("the mask of target {id} is {size}, its image {}", target.original())));
    }
    Mask::from_rle(size, &row.counts).map_err(|error| disagree(format!("the mask of target {id}: {error}")))
}

/// The image as a data URI, and its size there.
fn picture(image: &ImageRef<'_>, id: &str) -> Result<(String, Size), ReportError> {
    let from = image.resized;
    let mut pixels = resect_overlay::from_planes(image.pixels, from);
    // The model's input may be larger than the image was: nothing is gained by keeping that.
    let longest = LONGEST_SIDE.min(image.original.width.max(image.original.height));
    if longest < from.width.max(from.height) {
        let to = from.with_longest_side(longest);
        pixels = resize(&pixels, to.width, to.height, FilterType::Triangle);
    }
    let mut jpeg = Vec::new();
    for quality in QUALITIES {
        jpeg.clear();
        JpegEncoder::new_with_quality(&mut jpeg, quality)
            .encode(pixels.as_raw(), pixels.width(), pixels.height(), ExtendedColorType::Rgb8)
            .map_err(|source| ReportError::Picture { id: id.into(), source })?;
        if jpeg.len() <= LARGEST_JPEG {
            break;
        }
    }
    let text = base64::engine::general_purpose::STANDARD.encode(&jpeg);
    Ok((format!("data:image/jpeg;base64,{text}"), Size::new(pixels.height(), pixels.width())))
}

/// How long outlines are, in sides of pixels.
fn length(outlines: &[Vec<u32>]) -> usize {
    let sides = outlines.iter().flat_map(|outline| {
        let corners = outline.chunks_exact(2).map(|corner| (corner[0], corner[1]));
        let next = corners.clone().cycle().skip(1);
        corners.zip(next).map(|(a, b)| (a.0.abs_diff(b.0) + a.1.abs_diff(b.1)) as usize)
    });
    sides.sum()
}

/// Outlines as the data of an SVG path: corners are joined by horizontal and vertical lines alone.
fn path_data(outlines: &[Vec<u32>]) -> String {
    let mut data = String::new();
    for outline in outlines {
        let mut corners = outline.chunks_exact(2).map(|corner| (i64::from(corner[0]), i64::from(corner[1])));
        let Some(mut at) = corners.next() else { continue };
        let _ = write!(data, "M{} {}", at.0, at.1);
        for corner in corners {
            let _ = match (corner.0 - at.0, corner.1 - at.1) {
                (0, down) => write!(data, "v{down}"),
                (right, _) => write!(data, "h{right}"),
            };
            at = corner;
        }
        data.push('z');
    }
    data
}

#[cfg(test)]
mod tests;
