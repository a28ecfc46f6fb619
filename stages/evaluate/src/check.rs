//! Whether a GPU decodes as the CPU does.

use resect_layers::{Cpu, Layers};
use resect_segment::compare;

use crate::decode::{Answer, Pair, Prompted};
use crate::encodings::Encodings;
use crate::{EvaluateError, Method};

/// Decodes a batch on the CPU, too. The largest difference, as a share of the largest magnitude.
pub(crate) fn agree<B: Layers>(
    decoders: &Pair<B>,
    reference: &Pair<Cpu>,
    encodings: &Encodings,
    batch: &[Prompted<'_>],
) -> Result<f32, EvaluateError> {
    let found = decoders.predictions(batch, encodings)?;
    let expected = reference.predictions(batch, encodings)?;
    let mut largest = 0f32;
    for ((prompted, found), expected) in batch.iter().zip(&found).zip(&expected) {
        largest = largest.max(same(&prompted.sample.target.id, found, expected)?);
    }
    Ok(largest)
}

fn same(id: &str, found: &Answer, expected: &Answer) -> Result<f32, EvaluateError> {
    let both = [
        (Method::Untuned, &found.untuned, &expected.untuned),
        (Method::Tuned, &found.tuned, &expected.tuned),
    ];
    let mut largest = 0f32;
    for (method, found, expected) in both {
        largest = largest.max(compare(&format!("target {id} by the {method} decoder"), found, expected)?);
    }
    Ok(largest)
}

#[cfg(test)]
mod tests;
