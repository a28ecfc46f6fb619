//! The score of a decoder on the validation part, on the low-res grid: with tight boxes, most interior points, or both.

use crate::TrainError;
use crate::augment::Seen;
use crate::batch::{Sample, Samples};
use crate::loss::{Objective, Values};
use crate::prompt;
use crate::sample_loss::SampleLoss;
use crate::trainer::Trainer;
use rayon::prelude::*;
use resect_geometry::Size;
use resect_layers::Cpu;
use resect_params::Runtime;
use resect_sam::PromptEncoder;
use resect_train_params::TrainParams;

/// Means over the validation part, or over its prompts where a target has both.
#[derive(Clone, Copy, Debug)]
pub struct Score {
    pub loss: f64,
    /// Of the targets that have a mask on the grid; none where none has.
    pub dice: Option<f64>,
}

/// The validation part with its prompts, the same at every epoch.
pub struct Validation<'a> {
    samples: &'a Samples<'a>,
    objective: Objective,
    /// Of each prompt: its target and its tokens.
    chosen: Vec<Seen>,
    tokens: Vec<Vec<f32>>,
}

impl<'a> Validation<'a> {
    /// Prompts the chosen targets.
    pub fn new(
        samples: &'a Samples<'a>,
        chosen: &[usize],
        encoder: &PromptEncoder<Cpu>,
        params: &TrainParams,
    ) -> Result<Self, TrainError> {
        let (chosen, prompts): (Vec<usize>, Vec<_>) =
            prompt::fixed(samples.targets(), chosen, params)?.into_iter().unzip();
        let chosen: Vec<Seen> = chosen.into_iter().map(Seen::upright).collect();
        let tokens = samples.tokens(&chosen, &prompts, encoder)?;
        Ok(Self { samples, objective: Objective::new(params), chosen, tokens })
    }

    /// Scores a decoder; none when there is nothing to score on.
    ///
    /// # Errors
    /// A target without an embedding.
    pub fn score(&self, trainer: &mut impl Trainer, runtime: &Runtime) -> Result<Option<Score>, TrainError> {
        if self.chosen.is_empty() {
            return Ok(None);
        }
        let together = runtime.decode_batch.max(1);
        let chunks: Vec<_> = self.chosen.chunks(together).zip(self.tokens.chunks(together)).collect();
        let (mut loss, mut dice) = (Values::default(), Vec::new());
        for (i, (chosen, tokens)) in chunks.iter().enumerate() {
            if let Some((next, _)) = chunks.get(i + 1) {
                self.samples.fetch(next);
            }
            let masks = self.samples.masks(chosen);
            let inputs = self.samples.inputs(chosen)?;
            let batch = self.samples.with(chosen, tokens, &masks, &inputs)?;
            let logits = trainer.logits(&batch);
            let scores = logits.into_par_iter().zip(&batch).map(|(logits, sample)| self.of(logits, sample));
            // Summed in their order, whichever thread was first.
            for score in scores.collect::<Vec<_>>() {
                loss += score.0;
                dice.extend(score.1);
            }
            self.samples.release(chosen);
        }
        let n = self.chosen.len() as f64;
        let mean = dice.iter().sum::<f64>() / dice.len() as f64;
        Ok(Some(Score { loss: (loss / n).total(), dice: (!dice.is_empty()).then_some(mean) }))
    }

    /// Loss and Dice of a sample's logits.
    fn of(&self, logits: Vec<f32>, sample: &Sample<'_>) -> (Values, Option<f64>) {
        let (objective, Sample { mask, image, .. }) = (self.objective, *sample);
        let dice = hard_dice(objective, image, &logits, mask);
        let mut probabilities = vec![0.0; logits.len()];
        (SampleLoss::of(objective, image, &logits, mask, &mut probabilities).values(), dice)
    }
}

/// Dice of the mask where logits are positive, over the cells that count. Of a target so small that no cell of the grid has it there is
/// none, as in `evaluate`.
fn hard_dice(objective: Objective, image: Size, logits: &[f32], mask: &[u8]) -> Option<f64> {
    let (mut both, mut predicted, mut truth) = (0u32, 0u32, 0u32);
    for run in objective.runs(image, logits.len().isqrt()) {
        for (&x, &g) in logits[run.clone()].iter().zip(&mask[run]) {
            let p = u32::from(x > 0.0);
            both += p * u32::from(g);
            predicted += p;
            truth += u32::from(g);
        }
    }
    (truth > 0).then(|| 2.0 * f64::from(both) / f64::from(predicted + truth))
}

#[cfg(test)]
mod tests;
