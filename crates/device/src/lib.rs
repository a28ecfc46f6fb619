//! Where a stage computes: on the CPU, or on an NVIDIA GPU through CUDA.
//!
//! The crate knows the names of devices, what the driver says of its GPUs ([`Gpu`]), how far a device's numbers may lie from
//! the CPU's ([`compare`]), and everything that can be wrong with a device ([`DeviceError`]). It links no CUDA and no backend:
//! the runner asks it for the kind of GPU that enters a stage's key. The backends themselves are named in `resect-layers`.

#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod compare;
mod driver;
mod error;
mod name;

pub use compare::{Disagreement, NARROW_TOLERANCE, SINGLE_TOLERANCE, compare, compare_whole, norm};
pub use driver::{Gpu, gpus};
pub use error::{CUDA_FEATURES, DeviceError};
pub use name::{Choice, Device, Settings, UnknownDevice};

/// Bytes of the host's memory that can be used without taking it from other programs; `None` where the system does not tell.
pub fn free_host_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? * 1024)
}

/// Checks that a GPU has the memory for some work before it is given any.
///
/// `needed` estimates the bytes for so many units that pass together (images, prompts, samples); `setting` is the setting that
/// says how many, now `batch`: its name in a pipeline file, or a flag.
///
/// # Errors
/// [`DeviceError::Memory`], with the largest batch that would fit; what the driver refuses.
pub fn check_memory(
    index: usize,
    needed: impl Fn(usize) -> u64,
    batch: usize,
    setting: &'static str,
) -> Result<(), DeviceError> {
    fits(&Device::Cuda(index), Gpu::find(index)?.free_memory()?, needed, batch, setting)
}

fn fits(
    device: &Device,
    free: u64,
    needed: impl Fn(usize) -> u64,
    batch: usize,
    setting: &'static str,
) -> Result<(), DeviceError> {
    if needed(batch) <= free {
        return Ok(());
    }
    let fitting = (1..batch).rev().find(|smaller| needed(*smaller) <= free);
    Err(DeviceError::Memory { device: *device, needed: needed(batch), free, batch, fitting, setting })
}

#[cfg(test)]
mod tests;
