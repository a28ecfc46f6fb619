//! The score of a decoder on the validation part: tight boxes, low-res grid.

use crate::TrainError;
use crate::augment::Seen;
use crate::batch::Samples;
use crate::loss::SampleLoss;
use crate::trainer::Trainer;
use resect_params::Runtime;
use resect_sam::{Cpu, PromptEncoder};

/// Means over the validation part.
#[derive(Clone, Copy, Debug)]
pub struct Score {
    pub loss: f64,
    pub dice: f64,
}

/// Scores a decoder; none when there is nothing to score on.
pub fn score(
    trainer: &mut impl Trainer,
    encoder: &PromptEncoder<Cpu>,
    samples: &Samples<'_>,
    chosen: &[usize],
    runtime: &Runtime,
) -> Result<Option<Score>, TrainError> {
    if chosen.is_empty() {
        return Ok(None);
    }
    let boxes: Vec<_> = chosen.iter().map(|&i| samples.targets().rows()[i].bounding_box()).collect();
    let chosen: Vec<Seen<'_>> = chosen.iter().map(|&i| Seen::upright(samples.targets(), i)).collect();
    let tokens = samples.tokens(&chosen, &boxes, encoder)?;
    let (mut loss, mut dice, mut probabilities) = (0.0, 0.0, Vec::new());
    for batch in samples.with_tokens(&chosen, &tokens).chunks(runtime.decode_batch.max(1)) {
        for (logits, sample) in trainer.logits(batch).iter().zip(batch) {
            probabilities.resize(logits.len(), 0.0);
            loss += SampleLoss::of(logits, sample.mask, &mut probabilities).values().total();
            dice += hard_dice(logits, sample.mask);
        }
    }
    let n = chosen.len() as f64;
    Ok(Some(Score { loss: loss / n, dice: dice / n }))
}

/// Dice of the mask where logits are positive. Two empty masks agree: 1.
fn hard_dice(logits: &[f32], mask: &[u8]) -> f64 {
    let (mut both, mut either) = (0u32, 0u32);
    for (&x, &g) in logits.iter().zip(mask) {
        let p = u32::from(x > 0.0);
        both += p * u32::from(g);
        either += p + u32::from(g);
    }
    if either == 0 { 1.0 } else { 2.0 * f64::from(both) / f64::from(either) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dice_of_small_masks() {
        assert_eq!(hard_dice(&[1.0, 1.0, -1.0, 0.0], &[1, 0, 1, 0]), 0.5);
        assert_eq!(hard_dice(&[-1.0], &[0]), 1.0);
        assert_eq!(hard_dice(&[-1.0], &[1]), 0.0);
    }
}
