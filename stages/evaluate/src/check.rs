//! Whether a GPU decodes as the CPU does.

use resect_data::embeddings::Embeddings;
use resect_device::{DeviceError, SINGLE_TOLERANCE, compare};

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
mod tests {
    use super::*;

    #[test]
    fn the_decoder_that_is_wrong_is_named() {
        let masks = |logit: f32, predicted_iou| vec![MaskLogits { logits: vec![logit, -3.0], predicted_iou }];
        let of = |untuned: f32, tuned: f32| Answer { untuned: masks(untuned, 0.5), tuned: masks(tuned, 0.5) };
        let largest = same("a", &of(2.0, 2.03), &of(2.0, 2.0)).unwrap();
        assert!((largest - 0.01).abs() < 1e-6, "{largest}");
        for (found, what) in [(of(0.0, 2.0), "the untuned decoder"), (of(2.0, f32::NAN), "the tuned decoder")]
        {
            let error = same("polyp-7", &found, &of(2.0, 2.0)).unwrap_err().to_string();
            assert!(error.contains(&format!("{what}'s mask of target polyp-7 differs by")), "{error}");
        }
        let unsure = Answer { untuned: masks(2.0, 0.5), tuned: masks(2.0, 0.1) };
        let error = same("polyp-7", &unsure, &of(2.0, 2.0)).unwrap_err().to_string();
        assert!(error.contains("the tuned decoder's predicted IoU of target polyp-7 differs by"), "{error}");
    }
}
