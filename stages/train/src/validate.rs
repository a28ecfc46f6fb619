//! The score of a decoder on the validation part: tight boxes, low-res grid.

use crate::TrainError;
use crate::batch::Samples;
use crate::loss::dice_ce_of;
use burn::tensor::backend::Backend;
use resect_params::Runtime;
use resect_sam::{MaskDecoder, PromptEncoder};

/// Means over the validation part.
#[derive(Clone, Copy, Debug)]
pub struct Score {
    pub loss: f64,
    pub dice: f64,
}

/// Scores a decoder; none when there is nothing to score on.
pub fn score<B: Backend>(
    decoder: &MaskDecoder<B>,
    encoder: &PromptEncoder<B>,
    samples: &Samples<'_>,
    chosen: &[usize],
    runtime: &Runtime,
) -> Result<Option<Score>, TrainError> {
    let device = Default::default();
    let targets = samples.targets();
    let cells = (targets.low_res_size() * targets.low_res_size()) as usize;
    let (mut loss, mut dice) = (0.0, 0.0);
    for chosen in chosen.chunks(runtime.decode_batch.max(1)) {
        let boxes: Vec<_> = chosen.iter().map(|&i| targets.rows()[i].bounding_box()).collect();
        let prompts = encoder.forward(&samples.prompts(chosen, &boxes, &device)?);
        let embeddings = samples.embeddings(chosen, &device);
        let logits = decoder.forward_single_mask(embeddings, encoder.image_positional_encoding(), &prompts);
        let logits: Vec<f32> = logits.into_data().iter::<f32>().collect();
        for (&i, logits) in chosen.iter().zip(logits.chunks_exact(cells)) {
            let mask = targets.low_res(i);
            loss += dice_ce_of(logits, mask).total();
            dice += hard_dice(logits, mask);
        }
    }
    let n = chosen.len() as f64;
    Ok((!chosen.is_empty()).then(|| Score { loss: loss / n, dice: dice / n }))
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
