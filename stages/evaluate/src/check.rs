//! Whether a GPU decodes as the CPU does.

use resect_data::embeddings::Embeddings;
use resect_device::{DeviceError, SINGLE_TOLERANCE, compare};

use crate::decode::{Decode, Logits};
use crate::samples::Sample;
use crate::{EvaluateError, Method};

/// Decodes a batch on the CPU, too. The largest difference, as a share of the largest logit.
pub(crate) fn agree<D: Decode, R: Decode>(
    decoders: &mut D,
    reference: &mut R,
    embeddings: &Embeddings,
    batch: &[Sample<'_>],
) -> Result<f32, EvaluateError> {
    let found = decoders.decode(batch, D::gather(embeddings, batch))?;
    let expected = reference.decode(batch, R::gather(embeddings, batch))?;
    let mut largest = 0f32;
    for ((sample, found), expected) in batch.iter().zip(&found).zip(&expected) {
        largest = largest.max(same(&sample.target.id, found, expected)?);
    }
    Ok(largest)
}

fn same(id: &str, found: &Logits, expected: &Logits) -> Result<f32, EvaluateError> {
    let both = [
        (Method::Untuned, &found.untuned, &expected.untuned),
        (Method::Tuned, &found.tuned, &expected.tuned),
    ];
    both.into_iter().try_fold(0f32, |largest, (method, found, expected)| {
        let what = format!("the {method} decoder's mask of target {id}");
        let difference = compare(&what, found, expected, SINGLE_TOLERANCE).map_err(DeviceError::Disagrees)?;
        Ok(largest.max(difference))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_decoder_that_is_wrong_is_named() {
        let of = |untuned: f32, tuned: f32| Logits { untuned: vec![untuned, -3.0], tuned: vec![tuned, -3.0] };
        let largest = same("a", &of(2.0, 2.03), &of(2.0, 2.0)).unwrap();
        assert!((largest - 0.01).abs() < 1e-6, "{largest}");
        for (found, what) in [(of(0.0, 2.0), "the untuned decoder"), (of(2.0, f32::NAN), "the tuned decoder")]
        {
            let error = same("polyp-7", &found, &of(2.0, 2.0)).unwrap_err().to_string();
            assert!(error.contains(&format!("{what}'s mask of target polyp-7 differs by")), "{error}");
        }
    }
}
