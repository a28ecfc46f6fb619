//! Earlier embeddings, and what need not be encoded again because of them.

use std::error::Error;
use std::path::PathBuf;

use resect_embeddings::Embeddings;
use resect_numeric::{Dtype, Place};

use crate::EmbedError;
use crate::rows::Row;

/// Earlier embeddings of the same encoder.
pub(crate) struct Hints {
    earlier: Vec<Embeddings>,
}

impl Hints {
    /// Opens those that can be read and fit; the others are named in the log and left aside.
    pub(crate) fn open(dirs: &[PathBuf], place: Place, shape: [usize; 3], dtype: Dtype) -> Self {
        let fits = |dir: &PathBuf| match Embeddings::open(dir) {
            Ok(found) if (found.place(), found.shape(), found.dtype()) == (place, shape, dtype) => {
                Some(found)
            }
            Ok(found) => {
                let (dir, place) = (dir.display(), found.place());
                let (shape, dtype) = (found.shape(), found.dtype());
                tracing::warn!(
                    "the earlier embeddings in {dir} are left aside: {dtype:?} of shape {shape:?} at {place}"
                );
                None
            }
            Err(error) => {
                let cause = error.source().map(|source| format!(": {source}")).unwrap_or_default();
                tracing::warn!("earlier embeddings are left aside: {error}{cause}");
                None
            }
        };
        Self { earlier: dirs.iter().filter_map(fits).collect() }
    }

    /// Whether an image has an earlier embedding under the same view.
    pub(crate) fn contain(&self, row: &Row<'_>) -> bool {
        let (pixel_hash, view) = row.key();
        self.earlier.iter().any(|earlier| earlier.contains(pixel_hash, view))
    }

    /// The embeddings of `rows`: earlier ones where there are any, else the next one of `encoded`, which holds exactly those.
    ///
    /// Halves become singles and halves again on the way, which is exact for all that are finite, and no other is stored.
    ///
    /// # Errors
    /// More or fewer encoded embeddings than rows without an earlier one.
    pub(crate) fn complete(
        &self,
        rows: &[Row<'_>],
        encoded: &[f32],
        length: usize,
    ) -> Result<Vec<f32>, EmbedError> {
        let mut encoded = encoded.chunks(length);
        let mut all = Vec::with_capacity(rows.len() * length);
        for (pixel_hash, view) in rows.iter().map(Row::key) {
            if !self.earlier.iter().any(|earlier| earlier.append_to(pixel_hash, view, &mut all)) {
                let next = encoded.next().filter(|next| next.len() == length);
                all.extend_from_slice(next.ok_or(EmbedError::Misaligned { rows: rows.len() })?);
            }
        }
        match encoded.next() {
            None => Ok(all),
            Some(_) => Err(EmbedError::Misaligned { rows: rows.len() }),
        }
    }
}

#[cfg(test)]
mod tests;
