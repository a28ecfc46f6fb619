//! A mask to start from: logits that were predicted before, or a picture.

use std::path::Path;

use resect_checkpoint::TensorFile;
use resect_geometry::{Mask, Size};
use resect_prompt::MaskPrompt;
use resect_prompts::job::Limits;

use crate::picture;

/// From here on a grey value is foreground.
const THRESHOLD: u8 = 128;

/// What can be said of a mask prompt without reading it whole: it must be of the model's grid, or of the image's size.
pub(crate) fn check(path: &Path, image: Size, low_res: usize, limits: Limits) -> Result<(), String> {
    if is_logits(path) {
        return logits_shape(&open(path)?, low_res).map(|_| ());
    }
    same_size(picture::size(path, limits)?, image)
}

/// Reads a mask prompt: the logits of a safetensors file as `predict` writes it (of several masks those of the highest predicted
/// IoU), or the pixels of a picture.
pub(crate) fn read(path: &Path, image: Size, low_res: usize, limits: Limits) -> Result<MaskPrompt, String> {
    if is_logits(path) {
        read_logits(path, low_res).map(MaskPrompt::Logits)
    } else {
        read_picture(path, image, limits).map(MaskPrompt::Pixels)
    }
}

fn is_logits(path: &Path) -> bool {
    path.extension().is_some_and(|kind| kind.eq_ignore_ascii_case("safetensors"))
}

fn open(path: &Path) -> Result<TensorFile, String> {
    TensorFile::open(path).map_err(|error| error.to_string())
}

/// How many masks there are to choose from.
fn logits_shape(file: &TensorFile, low_res: usize) -> Result<usize, String> {
    match file.shape("logits") {
        Some(&[1, masks, height, width]) if masks > 0 && [height, width] == [low_res; 2] => Ok(masks),
        Some(&[prompts, _, height, width]) if prompts > 1 && [height, width] == [low_res; 2] => {
            Err(format!("it holds the logits of {prompts} prompts; a mask prompt is made of one"))
        }
        Some(shape) => {
            Err(format!("its logits have shape {shape:?}, this model takes [1, masks, {low_res}, {low_res}]"))
        }
        None => {
            Err("it holds no tensor `logits`; give a file that `predict --logits` wrote, or a PNG".into())
        }
    }
}

fn read_logits(path: &Path, low_res: usize) -> Result<Vec<f32>, String> {
    let file = open(path)?;
    let masks = logits_shape(&file, low_res)?;
    let tensor = |name: &str| file.tensor(name).map(|tensor| tensor.data).map_err(|error| error.to_string());
    let logits = tensor("logits")?;
    let best = if masks == 1 { 0 } else { best(&tensor("iou_scores")?, masks)? };
    let chosen = logits.chunks_exact(low_res * low_res).nth(best);
    match chosen.filter(|logits| logits.iter().all(|logit| logit.is_finite())) {
        Some(logits) => Ok(logits.to_vec()),
        None if chosen.is_none() => Err(format!("its logits end before mask {best}")),
        None => Err("its logits are not finite".into()),
    }
}

fn best(scores: &[f32], masks: usize) -> Result<usize, String> {
    if scores.len() != masks {
        return Err(format!("it holds {masks} masks and {} scores", scores.len()));
    }
    // Of equal ones the first.
    let best = (0..scores.len()).rev().max_by(|a, b| scores[*a].total_cmp(&scores[*b]));
    best.ok_or_else(|| "it holds no mask".into())
}

fn read_picture(path: &Path, image: Size, limits: Limits) -> Result<Mask, String> {
    let bytes = picture::bytes(path, limits)?;
    let grey = resect_pixels::grey(&bytes, limits.max_pixels, false).map_err(picture::reason)?;
    same_size(grey.size, image)?;
    let brightest = grey.values.iter().copied().max().unwrap_or(0);
    if (1..THRESHOLD).contains(&brightest) {
        return Err(format!(
            "its brightest value is {brightest}, and values below {THRESHOLD} are background; a mask is 0 and 255"
        ));
    }
    Ok(Mask::new(grey.size, grey.values.iter().map(|&value| value >= THRESHOLD).collect()))
}

fn same_size(mask: Size, image: Size) -> Result<(), String> {
    if mask == image { Ok(()) } else { Err(format!("the mask has {mask} pixels, the image {image}")) }
}

#[cfg(test)]
mod tests;
