//! Buffers of `f32` whose memory serves again.
//!
//! A step of training takes and drops a few hundred buffers of the same sizes, 90 MiB of them for ViT-B. An allocator that
//! returns such blocks to the system makes each step fault all of them in again. A dropped [`Buffer`] therefore goes to a pool
//! of the process. The pool never makes the process hold more than 5/4 of what buffers once held at the same time, and
//! [`release`] empties it.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Shorter buffers are left to the allocator, which is good at them.
const LEAST: usize = 1 << 12;

/// A slice of `f32` that its owner may write, `len` numbers long.
#[derive(Debug, Default)]
pub struct Buffer {
    /// At least `len` numbers, all initialised.
    storage: Vec<f32>,
    len: usize,
}

impl Buffer {
    /// A buffer whose numbers are left over from earlier use: the caller writes all of them.
    pub fn stale(len: usize) -> Self {
        if len < LEAST {
            return Self { storage: vec![0.0; len], len };
        }
        let size = size_class(len);
        let reused = pool().take(size);
        Self { storage: reused.unwrap_or_else(|| vec![0.0; size]), len }
    }

    /// A buffer of zeros.
    pub fn zeros(len: usize) -> Self {
        let mut buffer = Self::stale(len);
        buffer.fill(0.0);
        buffer
    }

    /// A copy of some numbers.
    pub fn copy_of(numbers: &[f32]) -> Self {
        let mut buffer = Self::stale(numbers.len());
        crate::copy(&mut buffer, numbers);
        buffer
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.storage[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.storage[..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.len >= LEAST {
            pool().put(std::mem::take(&mut self.storage));
        }
    }
}

/// Gives the memory of dropped buffers back to the allocator.
pub fn release() {
    pool().release();
}

/// The length of the storage for `len` numbers: eight sizes for each power of two, so that at most an eighth is wasted and
/// buffers of similar lengths share their memory.
fn size_class(len: usize) -> usize {
    let step = (1usize << len.ilog2()) / 8;
    len.next_multiple_of(step.max(1))
}

/// Storage of dropped buffers, by size. Sizes are counted in numbers.
struct Pool {
    free: BTreeMap<usize, Vec<Vec<f32>>>,
    /// In `free`.
    idle: usize,
    /// In live buffers.
    live: usize,
    /// The largest `live` so far.
    peak: usize,
}

static POOL: Mutex<Pool> = Mutex::new(Pool { free: BTreeMap::new(), idle: 0, live: 0, peak: 0 });

fn pool() -> MutexGuard<'static, Pool> {
    // A panic of a thread that held the lock left a valid pool behind.
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    /// Storage of a size, where there is one; the caller makes it otherwise.
    fn take(&mut self, size: usize) -> Option<Vec<f32>> {
        self.live += size;
        self.peak = self.peak.max(self.live);
        let found = self.free.get_mut(&size).and_then(Vec::pop);
        if found.is_some() {
            self.idle -= size;
        } else {
            self.shrink();
        }
        found
    }

    fn put(&mut self, storage: Vec<f32>) {
        self.live -= storage.len();
        self.idle += storage.len();
        self.free.entry(storage.len()).or_default().push(storage);
        self.shrink();
    }

    /// Frees idle storage, the largest first, while there is more than 5/4 of the peak.
    fn shrink(&mut self) {
        while self.live + self.idle > self.peak + self.peak / 4
            && let Some(mut largest) = self.free.last_entry()
        {
            if let Some(storage) = largest.get_mut().pop() {
                self.idle -= storage.len();
            }
            if largest.get().is_empty() {
                largest.remove();
            }
        }
    }

    fn release(&mut self) {
        self.free.clear();
        self.idle = 0;
        self.peak = self.live;
    }
}

#[cfg(test)]
mod tests;
