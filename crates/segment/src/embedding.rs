use burn::tensor::{Tensor, TensorData, backend::Backend};
use resect_embeddings::Embedding;
use resect_layers::Resident;

use crate::SegmentError;

/// The encoding of an image on a device, `C * g * g` numbers in the format that it came in: half or single precision.
#[derive(Clone, Debug)]
pub struct ImageEmbedding<B: Backend> {
    pub(crate) values: Tensor<B, 1>,
    /// Whether it is in half precision.
    pub(crate) half: bool,
}

impl<B: Backend> ImageEmbedding<B> {
    /// Brings a stored embedding of `expected` numbers to a device.
    pub(crate) fn new(
        stored: Embedding<'_>,
        expected: usize,
        device: &B::Device,
    ) -> Result<Self, SegmentError> {
        checked(stored, expected)?;
        let data = data(stored);
        let dtype = data.dtype;
        Ok(Self { values: Tensor::from_data(data, (device, dtype)), half: is_half(stored) })
    }

    /// Takes a stored embedding from those that are on a device, or brings it there.
    pub(crate) fn resident(
        stored: Stored<'_>,
        expected: usize,
        resident: &Resident<B>,
    ) -> Result<Self, SegmentError> {
        let Stored { row, embedding, read } = stored;
        checked(embedding, expected)?;
        let values = resident.get(row, || read.unwrap_or_else(|| data(embedding)));
        Ok(Self { values, half: is_half(embedding) })
    }
}

/// A stored embedding on its way to a device: read, unless the device has it.
pub struct Stored<'a> {
    row: usize,
    embedding: Embedding<'a>,
    read: Option<TensorData>,
}

impl<'a> Stored<'a> {
    /// Reads the embedding of number `row` among all that `resident` can hold, unless it does. This can be done on another thread
    /// than decodes.
    pub fn read<B: Backend>(row: usize, embedding: Embedding<'a>, resident: &Resident<B>) -> Self {
        let read = (!resident.holds(row)).then(|| data(embedding));
        Self { row, embedding, read }
    }
}

fn data(embedding: Embedding<'_>) -> TensorData {
    match embedding {
        Embedding::F16(values) => TensorData::new(values.to_vec(), [values.len()]),
        Embedding::F32(values) => TensorData::new(values.to_vec(), [values.len()]),
    }
}

fn is_half(embedding: Embedding<'_>) -> bool {
    match embedding {
        Embedding::F16(_) => true,
        Embedding::F32(_) => false,
    }
}

fn checked(embedding: Embedding<'_>, expected: usize) -> Result<(), SegmentError> {
    let found = match embedding {
        Embedding::F16(values) => values.len(),
        Embedding::F32(values) => values.len(),
    };
    if found == expected { Ok(()) } else { Err(SegmentError::EmbeddingLength { found, expected }) }
}
