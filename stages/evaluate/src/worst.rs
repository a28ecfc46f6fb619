//! The targets on which tuning did worst, drawn.

use std::path::Path;

use rayon::prelude::*;
use resect_evaluation_records::{MaskRow, Method};
use resect_geometry::{Mask, Size};
use resect_stage::Reporter;

use crate::EvaluateError;
use crate::overlay::{self, Prediction};
use crate::samples::Sample;
use crate::totals::Scores;

/// A target with what both decoders made of it.
pub(crate) struct Worst<'a> {
    sample: Sample<'a>,
    scores: Scores,
    masks: &'a [MaskRow],
}

/// The `count` targets of lowest tuned Dice at original resolution, worst first; of equal ones the earlier first. `masks` has the
/// two of each target.
pub(crate) fn select<'a>(
    samples: &[Sample<'a>],
    scores: &[Scores],
    masks: &'a [MaskRow],
    count: usize,
) -> Vec<Worst<'a>> {
    let targets = samples.iter().zip(scores).zip(masks.chunks(Method::DECODERS.len()));
    let targets = targets.map(|((sample, scores), masks)| Worst { sample: *sample, scores: *scores, masks });
    // A target without a figure has no rank.
    let mut ranked: Vec<_> = targets.filter_map(|worst| Some((worst.dice(Method::Tuned)?, worst))).collect();
    ranked.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    ranked.truncate(count);
    ranked.into_iter().map(|(_, worst)| worst).collect()
}

/// Draws them into `dir`.
pub(crate) fn draw(worst: &[Worst<'_>], dir: &Path, report: &Reporter) -> Result<(), EvaluateError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| EvaluateError::Overlay { path, source }
    };
    if worst.is_empty() {
        return Ok(());
    }
    std::fs::create_dir_all(dir).map_err(failed(dir))?;
    worst.par_iter().enumerate().try_for_each(|(index, worst)| {
        let path = dir.join(overlay::file_name(index + 1, &worst.sample.target.id));
        let drawn = resect_overlay::png(&worst.draw()?);
        drawn.and_then(|bytes| std::fs::write(&path, bytes)).map_err(failed(&path))
    })?;
    report.progress("drawing", worst.len() as u64, worst.len() as u64, "overlays");
    Ok(())
}

impl Worst<'_> {
    fn draw(&self) -> Result<image::RgbImage, EvaluateError> {
        let prediction = |row: &MaskRow| {
            let mask = Mask::from_rle(Size::new(row.height, row.width), &row.counts)?;
            Ok(Prediction { mask, dice: self.dice(row.method) })
        };
        let [untuned, tuned] = [0, 1].map(|decoder| prediction(&self.masks[decoder]));
        let of = |prediction: Result<_, _>| prediction.map_err(EvaluateError::Mask);
        Ok(overlay::draw(&self.sample, &of(untuned)?, &of(tuned)?))
    }

    fn dice(&self, method: Method) -> Option<f64> {
        self.scores[method as usize].original.dice
    }
}
