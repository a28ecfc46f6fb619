//! A device, and how its memory is divided between what passes the decoder and embeddings that stay.

use burn::tensor::backend::Backend;
use burn::tensor::{FloatDType, Tensor, TensorData};
use resect_embeddings::Embedding;
use resect_layers::Resident;

use crate::trainer::TrainingDevice;

/// How a device's memory is divided.
#[cfg_attr(not(feature = "cuda"), allow(dead_code))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// Samples that pass the decoder together.
    pub together: usize,
    /// Bytes of embeddings that stay.
    pub room: u64,
}

#[cfg_attr(not(feature = "cuda"), allow(dead_code))]
impl Share {
    /// Of so many free bytes, for groups of `group` samples, where `training` says what some samples need. The group comes first,
    /// whole if a half of the memory holds it.
    pub(crate) fn of(free: u64, group: usize, training: impl Fn(usize) -> u64) -> Self {
        let together = (1..=group).rev().find(|&samples| training(samples) <= free / 2).unwrap_or(1);
        Self { together, room: resect_layers::room(free, training(together)) }
    }
}

/// A device, how many samples pass the decoder there at once, and the embeddings that stay.
///
/// Clones share them: the decoder that learns, the one that is checked before it, and the averaged ones that are scored.
#[derive(Clone, Debug)]
pub struct OnDevice<B: Backend> {
    /// Samples that may pass the decoder together.
    pub(crate) together: usize,
    resident: Resident<B>,
}

impl<B: Backend> Default for OnDevice<B> {
    /// The first device, of whose memory there is no end.
    fn default() -> Self {
        Self::new(B::Device::default(), usize::MAX, u64::MAX)
    }
}

impl<B: Backend> TrainingDevice for OnDevice<B> {
    fn apart(&self) -> Self {
        Self::new(self.device().clone(), self.together, 0)
    }
}

impl<B: Backend> OnDevice<B> {
    /// A device on which at most `together` samples pass at once and `room` bytes of embeddings stay.
    pub fn new(device: B::Device, together: usize, room: u64) -> Self {
        Self { together: together.max(1), resident: Resident::new(device, room) }
    }

    pub(crate) fn device(&self) -> &B::Device {
        self.resident.device()
    }

    /// Embeddings that are in the device's memory.
    pub fn resident(&self) -> usize {
        self.resident.len()
    }

    /// The embeddings of some samples, `[n, C, g, g]`, in single precision. Those that are not on the device are brought there, and
    /// stay while there is room.
    pub(crate) fn embeddings(
        &self,
        samples: &[(usize, Embedding<'_>)],
        [c, h, w]: [usize; 3],
    ) -> Tensor<B, 4> {
        let row = |(row, embedding): &(usize, Embedding<'_>)| self.resident.get(*row, || data(*embedding));
        let rows = Tensor::cat(samples.iter().map(row).collect(), 0).cast(FloatDType::F32);
        rows.reshape([samples.len(), c, h, w])
    }
}

/// An embedding in the format that it is stored in.
fn data(embedding: Embedding<'_>) -> TensorData {
    match embedding {
        Embedding::F16(values) => TensorData::new(values.to_vec(), [values.len()]),
        Embedding::F32(values) => TensorData::new(values.to_vec(), [values.len()]),
    }
}

#[cfg(test)]
mod tests;
