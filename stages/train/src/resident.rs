//! Embeddings that stay in a device's memory, from when they are first needed.

use crate::batch::Sample;
use burn::tensor::backend::Backend;
use burn::tensor::{DType, FloatDType, Tensor, TensorData};
use resect_data::embeddings::Embedding;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

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
    /// whole if a half of the memory holds it; of what is left a quarter stays free, for what an allocator wastes.
    pub(crate) fn of(free: u64, group: usize, training: impl Fn(usize) -> u64) -> Self {
        let together = (1..=group).rev().find(|&samples| training(samples) <= free / 2).unwrap_or(1);
        let room = free.saturating_sub(training(together)) / 4 * 3;
        Self { together, room }
    }
}

/// A device, how much of its memory may be filled with embeddings, and those that are there.
///
/// Clones share them: the decoder that learns, the one that is checked before it, and the averaged ones that are scored.
#[derive(Clone, Debug)]
pub struct OnDevice<B: Backend> {
    pub(crate) device: B::Device,
    /// Samples that may pass the decoder together.
    pub(crate) together: usize,
    /// Bytes of embeddings.
    room: u64,
    resident: Arc<Mutex<HashMap<usize, Tensor<B, 1>>>>,
}

impl<B: Backend> Default for OnDevice<B> {
    /// The first device, of whose memory there is no end.
    fn default() -> Self {
        Self::new(B::Device::default(), usize::MAX, u64::MAX)
    }
}

impl<B: Backend> OnDevice<B> {
    /// A device on which at most `together` samples pass at once and `room` bytes of embeddings stay.
    pub fn new(device: B::Device, together: usize, room: u64) -> Self {
        Self { device, together: together.max(1), room, resident: Arc::default() }
    }

    /// Embeddings that are in the device's memory.
    pub fn resident(&self) -> usize {
        self.resident.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The embeddings of some samples, `[n, C, g, g]`, in single precision. Those that are not on the device are brought there, and
    /// stay while there is room.
    pub(crate) fn embeddings(&self, samples: &[Sample<'_>], [c, h, w]: [usize; 3]) -> Tensor<B, 4> {
        let mut resident = self.resident.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = samples.iter().map(|sample| {
            if let Some(row) = resident.get(&sample.row) {
                return row.clone();
            }
            let row = brought(sample.embedding, &self.device);
            let bytes = (c * h * w * row.dtype().size()) as u64;
            if (resident.len() as u64 + 1) * bytes <= self.room {
                resident.insert(sample.row, row.clone());
            }
            row
        });
        let rows = Tensor::cat(rows.collect(), 0).cast(FloatDType::F32);
        rows.reshape([samples.len(), c, h, w])
    }
}

/// An embedding in the format that it is stored in.
fn brought<B: Backend>(embedding: Embedding<'_>, device: &B::Device) -> Tensor<B, 1> {
    match embedding {
        Embedding::F16(values) => {
            Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), (device, DType::F16))
        }
        Embedding::F32(values) => Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), device),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_comes_first_and_embeddings_have_what_is_left() {
        let training = |samples: usize| 10 + 20 * samples as u64;
        assert_eq!(Share::of(400, 4, training), Share { together: 4, room: 231 });
        assert_eq!(Share::of(120, 4, training), Share { together: 2, room: 51 });
        assert_eq!(Share::of(20, 4, training), Share { together: 1, room: 0 });
    }
}
