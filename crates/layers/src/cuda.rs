//! The backend for NVIDIA GPUs, behind the feature `cuda`: the one place that names it.
//!
//! `burn-cuda` writes kernels as CUDA C++ and has NVRTC compile them at run time. Without a driver, without NVRTC or without
//! the headers it panics in a thread of its own, so [`open`] looks for each first.

use std::panic::{catch_unwind, set_hook, take_hook};

use cudarc::nvrtc::{CompileError, CompileOptions, compile_ptx_with_opts};
use resect_device::{Device, DeviceError, Gpu};

pub use burn_cuda::CudaDevice;

/// The CUDA backend in single precision; products of matrices may run in TF32.
pub type Cuda = burn_cuda::Cuda<f32, i32>;

/// A GPU that is present and for which a kernel compiles.
///
/// # Errors
/// In this order: no driver, no GPU of that number, no compiler, or headers that it does not find.
pub fn open(index: usize) -> Result<(CudaDevice, Gpu), DeviceError> {
    let gpu = Gpu::find(index)?;
    let device = Device::Cuda(index);
    compile(gpu.capability).map_err(|reason| DeviceError::Compiler { device, reason })?;
    Ok((CudaDevice::new(index), gpu))
}

/// Compiles a small kernel with the options and the headers that kernels are compiled with. Products include `mma.h`, and that one
/// headers of `nvcc`, which other packages of a toolkit lack. (`cubecl-cuda`, `compute/context.rs`)
fn compile((major, minor): (u32, u32)) -> Result<(), String> {
    let headers = cubecl_cuda::install::cuda_path()
        .ok_or("there is no CUDA toolkit at CUDA_PATH, /usr/local/cuda or /opt/cuda")?
        .join("include");
    // From 9.0 on, kernels use features of a GPU that its successors may lack.
    let exact = if major >= 9 { "a" } else { "" };
    let options = CompileOptions {
        options: vec![format!("--gpu-architecture=sm_{major}{minor}{exact}")],
        include_paths: vec![headers.to_string_lossy().into_owned()],
        ..Default::default()
    };
    let source = "#include <cuda_fp16.h>\n#include <mma.h>\n\
                  extern \"C\" __global__ void probe(__half *x) { *x = __hadd(*x, *x); }";
    // Where there is no NVRTC, loading it panics. That is an answer, not a fault to be reported as one.
    let hook = take_hook();
    set_hook(Box::new(|_| {}));
    let compiled = catch_unwind(|| compile_ptx_with_opts(source, options));
    set_hook(hook);
    match compiled {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(CompileError::CompileError { log, .. })) => Err(log.to_string_lossy().trim().to_owned()),
        Ok(Err(error)) => Err(format!("NVRTC says {error:?}")),
        Err(_) => Err("the library of NVRTC cannot be loaded".into()),
    }
}

#[cfg(test)]
mod tests;
