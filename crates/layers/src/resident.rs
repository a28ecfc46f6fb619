//! Image embeddings that stay in a device's memory once they are needed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::tensor::{Tensor, TensorData, backend::Backend};

/// How many bytes of embeddings may stay on a device: three quarters of what is free and not needed by other work. A quarter is left for
/// what an allocator wastes.
pub fn room(free: u64, needed: u64) -> u64 {
    free.saturating_sub(needed) / 4 * 3
}

/// The embeddings that are in a device's memory, in the format that they are stored in. Clones share them.
#[derive(Clone, Debug)]
pub struct Resident<B: Backend> {
    device: B::Device,
    /// The most bytes that they take.
    room: u64,
    held: Arc<Mutex<HashMap<usize, Tensor<B, 1>>>>,
}

impl<B: Backend> Resident<B> {
    /// An empty cache of at most `room` bytes.
    pub fn new(device: B::Device, room: u64) -> Self {
        Self { device, room, held: Arc::default() }
    }

    /// The device.
    pub fn device(&self) -> &B::Device {
        &self.device
    }

    /// The number of embeddings.
    pub fn len(&self) -> usize {
        self.held().len()
    }

    /// Whether the cache is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the embedding with this number is on the device.
    pub fn holds(&self, row: usize) -> bool {
        self.held().contains_key(&row)
    }

    /// The embedding with this number, flat. If it is not on the device, it is copied there, and stays while there is room.
    pub fn get(&self, row: usize, embedding: impl FnOnce() -> TensorData) -> Tensor<B, 1> {
        if let Some(held) = self.held().get(&row) {
            return held.clone();
        }
        let embedding = embedding();
        let (bytes, dtype) = (embedding.bytes.len() as u64, embedding.dtype);
        let brought = Tensor::from_data(embedding, (&self.device, dtype));
        let mut held = self.held();
        if (held.len() as u64 + 1) * bytes <= self.room {
            held.insert(row, brought.clone());
        }
        brought
    }

    fn held(&self) -> MutexGuard<'_, HashMap<usize, Tensor<B, 1>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
