//! The targets on which tuning did worst, drawn.

use std::path::Path;

use rayon::prelude::*;
use resect_data::embeddings::Embeddings;
use resect_stage::Reporter;

use crate::decode::{self, Decode, Logits};
use crate::evaluation::{Method, Scores};
use crate::overlay::{self, Prediction};
use crate::samples::Sample;
use crate::{EvaluateError, Grids};

/// The `count` targets of lowest tuned Dice at original resolution, worst first; of equal ones the earlier first.
pub(crate) fn select<'a>(
    samples: &[Sample<'a>],
    scores: &[Scores],
    count: usize,
) -> Vec<(Sample<'a>, Scores)> {
    let mut ranked: Vec<_> = samples.iter().copied().zip(scores.iter().copied()).collect();
    ranked.retain(|(_, scores)| dice(scores, Method::Tuned).is_some());
    let tuned = |scores: &Scores| dice(scores, Method::Tuned).unwrap_or_default();
    ranked.sort_by(|(_, a), (_, b)| tuned(a).total_cmp(&tuned(b)));
    ranked.truncate(count);
    ranked
}

/// Draws them into `dir`. They are decoded again: keeping all masks until the worst are known would need memory for all.
pub(crate) fn draw(
    worst: &[(Sample<'_>, Scores)],
    decoders: &mut impl Decode,
    embeddings: &Embeddings,
    batch: usize,
    grids: Grids,
    dir: &Path,
    report: &Reporter,
) -> Result<(), EvaluateError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| EvaluateError::Overlay { path, source }
    };
    if !worst.is_empty() {
        std::fs::create_dir_all(dir).map_err(failed(dir))?;
    }
    let samples: Vec<Sample<'_>> = worst.iter().map(|(sample, _)| *sample).collect();
    let mut done = 0;
    decode::each_batch(&samples, batch, decoders, embeddings, |batch, logits| {
        let drawn = worst[done..].par_iter().zip(&logits).enumerate();
        drawn.try_for_each(|(index, ((sample, scores), logits))| {
            let path = dir.join(overlay::file_name(done + index + 1, &sample.target.id));
            let [untuned, tuned] = predictions(sample, scores, logits, grids);
            let drawn = resect_overlay::png(&overlay::draw(sample, &untuned, &tuned));
            drawn.and_then(|bytes| std::fs::write(&path, bytes)).map_err(failed(&path))
        })?;
        done += batch.len();
        report.progress("drawing", done as u64, worst.len() as u64, "overlays");
        Ok(())
    })
}

/// What the untuned and the tuned decoder made of a target.
fn predictions(sample: &Sample<'_>, scores: &Scores, logits: &Logits, grids: Grids) -> [Prediction; 2] {
    [(Method::Untuned, &logits.untuned), (Method::Tuned, &logits.tuned)].map(|(method, logits)| Prediction {
        mask: decode::original_mask(logits, grids.low_res, grids.input, sample),
        dice: dice(scores, method),
    })
}

fn dice(scores: &Scores, method: Method) -> Option<f64> {
    scores[method as usize].original.map(|overlap| overlap.dice)
}
