//! Whether a GPU decodes as the CPU does.

use resect_device::{DeviceError, SINGLE_TOLERANCE, compare};
use resect_embeddings::Embeddings;

use crate::decode::{Answer, Asked, Decode, MaskLogits, Masks};
use crate::{EvaluateError, Method};

/// Decodes a batch on the CPU, too. The largest difference, as a share of the largest logit.
pub(crate) fn agree<D: Decode, R: Decode>(
    decoders: &mut D,
    reference: &mut R,
    embeddings: &Embeddings,
    batch: &[Asked<'_>],
) -> Result<f32, EvaluateError> {
    let found = D::gather(&decoders.held(), embeddings, batch);
    let found = decoders.decode(batch, Masks::Single, found)?;
    let expected = R::gather(&reference.held(), embeddings, batch);
    let expected = reference.decode(batch, Masks::Single, expected)?;
    let mut largest = 0f32;
    for ((asked, found), expected) in batch.iter().zip(&found).zip(&expected) {
        largest = largest.max(same(&asked.sample.target.id, found, expected)?);
    }
    Ok(largest)
}

fn same(id: &str, found: &Answer, expected: &Answer) -> Result<f32, EvaluateError> {
    let both = [
        (Method::Untuned, &found.untuned, &expected.untuned),
        (Method::Tuned, &found.tuned, &expected.tuned),
    ];
    // Logits and the IoU score of a mask, whose magnitudes differ, each by its own.
    let differ = |what: &str, found: &[f32], expected: &[f32]| {
        compare(what, found, expected, SINGLE_TOLERANCE).map_err(DeviceError::Disagrees)
    };
    let mut largest = 0f32;
    for (method, found, expected) in both {
        let logits = |masks: &[MaskLogits]| masks.iter().flat_map(|m| m.logits.clone()).collect::<Vec<_>>();
        let scores = |masks: &[MaskLogits]| masks.iter().map(|m| m.predicted_iou).collect::<Vec<_>>();
        let mask = format!("the {method} decoder's mask of target {id}");
        let score = format!("the {method} decoder's predicted IoU of target {id}");
        largest = largest.max(differ(&mask, &logits(found), &logits(expected))?);
        largest = largest.max(differ(&score, &scores(found), &scores(expected))?);
    }
    Ok(largest)
}

#[cfg(test)]
mod tests;
