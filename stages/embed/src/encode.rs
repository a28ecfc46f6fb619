//! Images through the encoder, and what may not come out of it.

use burn::tensor::{Tensor, backend::Backend};
use resect_encoder::normalise;
use resect_encoder::numbers;
use resect_numeric::Dtype;
use resect_numeric::Precision;

use crate::EmbedError;
use crate::rows::Row;

/// From here on a number rounds to infinity in half precision: half a step above its largest, 65504.
const BEYOND_HALF: f32 = 65520.0;

/// The embeddings of some rows, one after the other, when the device has them.
pub(crate) fn finished<B: Backend>(
    rows: &[Row<'_>],
    embeddings: Tensor<B, 4>,
    dtype: Dtype,
    precision: Precision,
) -> Result<Vec<f32>, EmbedError> {
    let embeddings = numbers(embeddings);
    for (row, embedding) in rows.iter().zip(embeddings.chunks(embeddings.len() / rows.len().max(1))) {
        check(row.image.id, embedding, dtype, precision)?;
    }
    Ok(embeddings)
}

/// What the encoder takes of some rows, `[rows, 3, side, side]`.
pub(crate) fn pixels(rows: &[Row<'_>], side: usize) -> Result<Vec<f32>, EmbedError> {
    let mut pixels = Vec::with_capacity(rows.len() * 3 * side * side);
    for row in rows {
        let (height, width) = (row.size().height as usize, row.size().width as usize);
        let normalised = normalise(&row.pixels(), height, width, side)
            .map_err(|e| EmbedError::Image { id: row.image.id.into(), source: e.into() })?;
        pixels.extend(normalised);
    }
    Ok(pixels)
}

/// An embedding that is stored must be finite, also after it was rounded to the format on disk.
fn check(id: &str, embedding: &[f32], dtype: Dtype, precision: Precision) -> Result<(), EmbedError> {
    if !embedding.iter().all(|value| value.is_finite()) {
        return Err(EmbedError::NotFinite { id: id.into(), precision });
    }
    let largest = embedding.iter().copied().max_by(|a, b| a.abs().total_cmp(&b.abs()));
    match largest.filter(|value| dtype == Dtype::F16 && value.abs() >= BEYOND_HALF) {
        Some(value) => Err(EmbedError::BeyondHalf { id: id.into(), value }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
