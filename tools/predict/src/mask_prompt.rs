//! A mask to start from: logits that were predicted before, or a picture.

use std::path::Path;

use resect_checkpoint::TensorFile;
use resect_geometry::{Mask, Size};
use resect_prompts::job::Limits;

use crate::picture;

/// The logit of foreground in a mask from a picture, and with a minus of background: a probability of 0.999.
const CERTAIN: f32 = 6.906_755;
/// From here on a grey value is foreground.
const THRESHOLD: u8 = 128;

/// What can be said of a mask prompt without reading it whole: it must be of the model's grid, or of the image's size.
pub(crate) fn check(path: &Path, image: Size, low_res: usize, limits: Limits) -> Result<(), String> {
    if is_logits(path) {
        return logits_shape(&open(path)?, low_res).map(|_| ());
    }
    same_size(picture::size(path, limits)?, image)
}

/// The logits of a mask prompt, `low_res * low_res`.
///
/// A safetensors file as `predict` writes it gives its mask, or of several the one of highest predicted IoU. A picture is
/// reduced to the grid with the nearest pixel and padded like the image, and becomes plus or minus [`CERTAIN`].
pub(crate) fn read(path: &Path, image: Size, low_res: usize, limits: Limits) -> Result<Vec<f32>, String> {
    if is_logits(path) { read_logits(path, low_res) } else { read_picture(path, image, low_res, limits) }
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
    let chosen = logits.chunks_exact(low_res * low_res).nth(best).unwrap_or_default().to_vec();
    match chosen.iter().all(|logit| logit.is_finite()) {
        true => Ok(chosen),
        false => Err("its logits are not finite".into()),
    }
}

fn best(scores: &[f32], masks: usize) -> Result<usize, String> {
    if scores.len() != masks {
        return Err(format!("it holds {masks} masks and {} scores", scores.len()));
    }
    Ok(highest(scores))
}

/// The place of the highest score; of equal ones the first.
pub(crate) fn highest(scores: &[f32]) -> usize {
    (0..scores.len()).rev().max_by(|a, b| scores[*a].total_cmp(&scores[*b])).unwrap_or(0)
}

fn read_picture(path: &Path, image: Size, low_res: usize, limits: Limits) -> Result<Vec<f32>, String> {
    let bytes = picture::bytes(path, limits)?;
    let grey = resect_pixels::grey(&bytes, limits.max_pixels, false).map_err(picture::reason)?;
    same_size(grey.size, image)?;
    let brightest = grey.values.iter().copied().max().unwrap_or(0);
    if (1..THRESHOLD).contains(&brightest) {
        return Err(format!(
            "its brightest value is {brightest}, and values below {THRESHOLD} are background; a mask is 0 and 255"
        ));
    }
    let mask = Mask::new(grey.size, grey.values.iter().map(|&value| value >= THRESHOLD).collect());
    let grid = mask.to_low_res(low_res as u32);
    Ok(grid.pixels().iter().map(|&inside| if inside { CERTAIN } else { -CERTAIN }).collect())
}

fn same_size(mask: Size, image: Size) -> Result<(), String> {
    if mask == image { Ok(()) } else { Err(format!("the mask has {mask} pixels, the image {image}")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use resect_checkpoint::{NamedTensor, write_safetensors};

    #[test]
    fn the_mask_of_highest_score_is_taken() {
        assert_eq!(highest(&[0.1, 0.9, 0.9]), 1);
        assert_eq!(highest(&[-3.0]), 0);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.safetensors");
        let write = |prompts: usize, masks: usize, scores: &[f32]| {
            let data = (0..prompts * masks * 16).map(|i| (i / 16) as f32).collect();
            let tensors = [
                NamedTensor { name: "logits".into(), shape: vec![prompts, masks, 4, 4], data },
                NamedTensor { name: "iou_scores".into(), shape: vec![scores.len()], data: scores.to_vec() },
            ];
            write_safetensors(&path, tensors, None).unwrap();
            read(&path, Size::new(9, 9), 4, Limits::default())
        };
        assert_eq!(write(1, 3, &[0.2, 0.1, 0.4]).unwrap(), [2.0; 16]);
        assert_eq!(write(1, 1, &[0.2]).unwrap(), [0.0; 16]);
        assert!(write(2, 1, &[0.2, 0.1]).unwrap_err().contains("the logits of 2 prompts"));
        assert!(write(1, 3, &[0.2]).unwrap_err().contains("3 masks and 1 scores"));
        assert!(
            read(&path, Size::new(9, 9), 8, Limits::default())
                .unwrap_err()
                .contains("this model takes [1, masks, 8, 8]")
        );
    }

    #[test]
    fn a_picture_lies_on_the_grid_as_the_image_does() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.png");
        let mut picture = image::GrayImage::from_fn(8, 4, |x, _| image::Luma([if x < 4 { 255 } else { 0 }]));
        picture.save(&path).unwrap();
        let logits = read(&path, Size::new(4, 8), 4, Limits::default()).unwrap();
        let signs: Vec<bool> = logits.iter().map(|logit| *logit > 0.0).collect();
        let row = [true, true, false, false];
        assert_eq!(signs, [row, row, [false; 4], [false; 4]].concat());
        assert!(logits.iter().all(|logit| (logit.abs() - (0.999f32 / 0.001).ln()).abs() < 1e-4));
        assert!(
            read(&path, Size::new(8, 4), 4, Limits::default())
                .unwrap_err()
                .contains("the mask has 8x4 pixels, the image 4x8")
        );
        picture.pixels_mut().for_each(|pixel| pixel.0[0] = pixel.0[0].min(1));
        picture.save(&path).unwrap();
        assert!(
            read(&path, Size::new(4, 8), 4, Limits::default())
                .unwrap_err()
                .contains("its brightest value is 1")
        );
    }
}
