//! What can be wrong with a device, in the order in which it is found; each says what to do.

use crate::{Device, Disagreement, Gpu};

/// Where the CPU is always at hand.
const OR_CPU: &str = "or compute on the CPU: --device cpu";

/// A device cannot be used, or must not be.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The program has no backend for GPUs.
    #[error(
        "this program was built without CUDA and cannot compute on {device}\n\
         hint: build it with `cargo build --release --workspace --bins --features {}`, {OR_CPU}",
        CUDA_FEATURES.join(",")
    )]
    NotBuilt {
        /// What was asked for.
        device: Device,
    },
    /// There is no driver.
    #[error(
        "there is no NVIDIA driver: {reason}\n\
         hint: install the driver (`nvidia-smi` must list the GPU; a container needs --gpus all), {OR_CPU}"
    )]
    NoDriver {
        /// What the loader says.
        reason: String,
    },
    /// There is a driver, and it refuses.
    #[error(
        "the NVIDIA driver refuses {what}: {reason}\n\
         hint: see whether `nvidia-smi` works (a driver that was updated needs a restart), {OR_CPU}"
    )]
    Driver {
        /// The function of the driver.
        what: &'static str,
        /// Its error.
        reason: String,
    },
    /// The driver has no GPU.
    #[error(
        "the NVIDIA driver finds no GPU\n\
         hint: see `nvidia-smi` and CUDA_VISIBLE_DEVICES, {OR_CPU}"
    )]
    NoGpu,
    /// There are GPUs, but not so many.
    #[error("there is no cuda:{index}; there are\n{}hint: name one of these, {OR_CPU}", listed(gpus))]
    NoSuchGpu {
        /// What was asked for.
        index: usize,
        /// What there is.
        gpus: Vec<Gpu>,
    },
    /// Kernels cannot be compiled.
    #[error(
        "kernels for {device} cannot be compiled: {reason}\n\
         hint: install NVRTC and the headers of a CUDA toolkit that knows this GPU (packages cuda-nvrtc, cuda-cudart-dev \
         and cuda-nvcc of one version), set CUDA_PATH to it and LD_LIBRARY_PATH to its lib64, {OR_CPU}"
    )]
    Compiler {
        /// What was asked for.
        device: Device,
        /// What the compiler says.
        reason: String,
    },
    /// The GPU's memory does not suffice.
    #[error(
        "{device} has {} free, and {} takes about {}: {}\nhint: {}, {OR_CPU}",
        gigabytes(*free),
        assigned(setting, *batch),
        gigabytes(*needed),
        would_fit(*fitting),
        less(setting, *fitting)
    )]
    Memory {
        /// What was asked for.
        device: Device,
        /// Estimated bytes.
        needed: u64,
        /// Free bytes.
        free: u64,
        /// The setting's value.
        batch: usize,
        /// The largest value that would fit.
        fitting: Option<usize>,
        /// The setting's name in a pipeline file, or the flag.
        setting: &'static str,
    },
    /// It computes something else than the CPU.
    #[error(
        "the GPU does not compute what the CPU does: {0}\n\
         hint: nothing was written. It is a fault of the GPU, the driver or the backend, not of the data: please report it, \
         {OR_CPU}"
    )]
    Disagrees(Disagreement),
}

/// The features that give each program its backend for GPUs.
pub const CUDA_FEATURES: [&str; 4] =
    ["resect-embed/cuda", "resect-train/cuda", "resect-evaluate/cuda", "resect-predict/cuda"];

fn listed(gpus: &[Gpu]) -> String {
    gpus.iter().map(|gpu| format!("  {gpu}\n")).collect()
}

fn gigabytes(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}

fn would_fit(fitting: Option<usize>) -> String {
    match fitting {
        Some(batch) => format!("{batch} would fit"),
        None => "not even 1 would fit".into(),
    }
}

/// A setting, or a flag of the command line, with its value.
fn assigned(setting: &str, value: usize) -> String {
    if is_flag(setting) { format!("{setting} {value}") } else { format!("{setting} = {value}") }
}

fn is_flag(setting: &str) -> bool {
    setting.starts_with("--")
}

fn less(setting: &str, fitting: Option<usize>) -> String {
    match fitting {
        Some(batch) if is_flag(setting) => assigned(setting, batch),
        Some(batch) => format!("--set {setting}={batch}"),
        None => "end what else uses the GPU, take a larger one".into(),
    }
}
