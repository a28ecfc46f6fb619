//! What reads data from outside, piece by piece and without threads or artifacts: for `fuzz/`.

use crate::error::IngestError;
use crate::{mask, readers, sample, split};
use resect_geometry::{Mask, Size};
use resect_ingest_params::{IngestParams, MaskParams};
use resect_pixels::Grey;

/// The masks of a grey mask's pieces.
///
/// # Errors
/// Why the mask is of no use.
pub fn pieces(size: Size, values: Vec<u8>, params: &MaskParams) -> Result<Vec<Mask>, String> {
    let found = mask::segment(&Grey { size, values }, params)?;
    Ok(found.pieces.iter().map(|piece| piece.runs.to_mask()).collect())
}

/// How many samples of a dataset can be used, and why the others cannot.
///
/// # Errors
/// When the dataset is not laid out as stated, or a file cannot be read.
pub fn samples(
    dataset: &std::path::Path,
    params: &IngestParams,
) -> Result<(usize, Vec<String>), IngestError> {
    let dataset = readers::open(dataset, &params.layout, &params.ingest)?;
    let plan = split::plan(dataset.samples(), &params.split)?;
    let (mut usable, mut reasons) = (0, Vec::new());
    reasons.extend(dataset.flawed().map(|(_, rejected)| rejected.reason));
    for batch in dataset.batches(4)? {
        for raw in batch? {
            match sample::prepare(raw, dataset.samples(), &plan, params).outcome {
                Ok(_) => usable += 1,
                Err(rejected) => reasons.push(rejected.reason),
            }
        }
    }
    Ok((usable, reasons))
}
