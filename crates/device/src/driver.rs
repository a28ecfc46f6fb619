//! What the CUDA driver says of its GPUs.
//!
//! The driver's library is loaded when it is first asked, so neither building nor running anything else needs it. It is asked
//! itself, and not NVML or `nvidia-smi`, because those number GPUs in another order and do not know `CUDA_VISIBLE_DEVICES`.
//!
//! Reference: the CUDA Driver API, `cuda.h`. Every function used here has had its signature since CUDA 7.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::fmt;
use std::path::Path;
use std::ptr;

use libloading::Library;

use crate::DeviceError;

/// A GPU of the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// Its number in the driver's order.
    pub index: usize,
    /// Such as `NVIDIA H100 80GB HBM3`.
    pub name: String,
    /// Compute capability, major and minor: `(9, 0)`.
    pub capability: (u32, u32),
    /// All its memory, in bytes.
    pub memory: u64,
    /// The newest CUDA that the driver can serve, such as `12.8`.
    pub cuda: String,
}

impl Gpu {
    /// The GPU of a number.
    ///
    /// # Errors
    /// No driver, one that refuses, no GPU of that number.
    pub fn find(index: usize) -> Result<Self, DeviceError> {
        let gpus = gpus()?;
        match gpus.get(index) {
            Some(gpu) => Ok(gpu.clone()),
            None => Err(DeviceError::NoSuchGpu { index, gpus }),
        }
    }

    /// What decides how it rounds: `sm90`.
    pub fn architecture(&self) -> String {
        format!("sm{}{}", self.capability.0, self.capability.1)
    }

    /// The memory that nobody uses now, in bytes. This wakes the GPU, which takes a moment.
    ///
    /// # Errors
    /// No driver, or one that refuses.
    pub fn free_memory(&self) -> Result<u64, DeviceError> {
        Driver::load()?.free_memory(self.index)
    }

    /// What a record says of it: name, architecture, driver and CUDA version.
    pub fn provenance(&self) -> Vec<(&'static str, String)> {
        let known = [
            ("gpu", Some(self.name.clone())),
            ("architecture", Some(self.architecture())),
            ("driver", module_version()),
            ("cuda", Some(self.cuda.clone())),
        ];
        known.into_iter().filter_map(|(field, value)| Some((field, value?))).collect()
    }
}

impl fmt::Display for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let memory = self.memory as f64 / 1e9;
        write!(f, "cuda:{}  {} ({}, {memory:.0} GB)", self.index, self.name, self.architecture())
    }
}

/// All GPUs of the driver, in its order.
///
/// # Errors
/// No driver, one that refuses, or one without a GPU.
pub fn gpus() -> Result<Vec<Gpu>, DeviceError> {
    Driver::load()?.gpus()
}

/// The version of the kernel module, where the system tells it: `570.133.20`.
fn module_version() -> Option<String> {
    Some(std::fs::read_to_string("/sys/module/nvidia/version").ok()?.trim().to_owned())
}

/// `CUresult`
type Status = c_int;
/// `CUdevice`
type Handle = c_int;

const SUCCESS: Status = 0;
/// `CUDA_ERROR_NO_DEVICE`
const NO_DEVICE: Status = 100;
/// `CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR` and `_MINOR`
const CAPABILITY: [c_int; 2] = [75, 76];

/// The driver's library, initialised.
struct Driver {
    library: Library,
}

impl Driver {
    fn load() -> Result<Self, DeviceError> {
        let names: &[&str] = if cfg!(windows) { &["nvcuda.dll"] } else { &["libcuda.so.1", "libcuda.so"] };
        let mut reason = String::new();
        for name in names {
            match Self::open(Path::new(name)) {
                Err(DeviceError::NoDriver { reason: found }) if reason.is_empty() => reason = found,
                Err(DeviceError::NoDriver { .. }) => {}
                opened => return opened,
            }
        }
        Err(DeviceError::NoDriver { reason })
    }

    #[allow(unsafe_code)]
    fn open(path: &Path) -> Result<Self, DeviceError> {
        // SAFETY: the initialisers of the driver's library ask nothing of who loads it.
        let library =
            unsafe { Library::new(path) }.map_err(|error| DeviceError::NoDriver { reason: said(&error) })?;
        let driver = Self { library };
        // SAFETY: `CUresult cuInit(unsigned int flags)`.
        let status = unsafe { driver.function::<unsafe extern "C" fn(c_uint) -> Status>("cuInit")?(0) };
        match status {
            NO_DEVICE => Err(DeviceError::NoGpu),
            status => driver.check("cuInit", status).map(|()| driver),
        }
    }

    /// A function of the library.
    ///
    /// # Safety
    /// `F` must be its type.
    #[allow(unsafe_code)]
    unsafe fn function<F: Copy>(&self, name: &'static str) -> Result<F, DeviceError> {
        // SAFETY: as promised by the caller.
        let found = unsafe { self.library.get::<F>(name.as_bytes()) };
        found.map(|symbol| *symbol).map_err(|error| DeviceError::Driver { what: name, reason: said(&error) })
    }

    #[allow(unsafe_code)]
    fn check(&self, what: &'static str, status: Status) -> Result<(), DeviceError> {
        if status == SUCCESS {
            return Ok(());
        }
        let mut text: *const c_char = ptr::null();
        // SAFETY: `CUresult cuGetErrorString(CUresult error, const char **pStr)`; the text is static, or null.
        let described = unsafe {
            type Describe = unsafe extern "C" fn(Status, *mut *const c_char) -> Status;
            match self.function::<Describe>("cuGetErrorString") {
                Ok(describe) if describe(status, &mut text) == SUCCESS && !text.is_null() => {
                    CStr::from_ptr(text).to_string_lossy().into_owned()
                }
                _ => "unknown".into(),
            }
        };
        Err(DeviceError::Driver { what, reason: format!("{described} (error {status})") })
    }

    /// Calls a function that writes one integer.
    #[allow(unsafe_code)]
    fn integer(&self, what: &'static str) -> Result<c_int, DeviceError> {
        let mut value = 0;
        // SAFETY: `CUresult cuDriverGetVersion(int *)` and `CUresult cuDeviceGetCount(int *)`, the two that are named.
        let status =
            unsafe { self.function::<unsafe extern "C" fn(*mut c_int) -> Status>(what)?(&mut value) };
        self.check(what, status).map(|()| value)
    }

    fn gpus(&self) -> Result<Vec<Gpu>, DeviceError> {
        let version = self.integer("cuDriverGetVersion")?;
        let cuda = format!("{}.{}", version / 1000, version % 1000 / 10);
        let count = self.integer("cuDeviceGetCount")?;
        let gpus: Vec<Gpu> =
            (0..count.max(0)).map(|index| self.gpu(index, &cuda)).collect::<Result<_, _>>()?;
        if gpus.is_empty() { Err(DeviceError::NoGpu) } else { Ok(gpus) }
    }

    #[allow(unsafe_code)]
    fn handle(&self, index: c_int) -> Result<Handle, DeviceError> {
        let mut handle = 0;
        // SAFETY: `CUresult cuDeviceGet(CUdevice *device, int ordinal)`.
        let status = unsafe {
            type Get = unsafe extern "C" fn(*mut Handle, c_int) -> Status;
            self.function::<Get>("cuDeviceGet")?(&mut handle, index)
        };
        self.check("cuDeviceGet", status).map(|()| handle)
    }

    #[allow(unsafe_code)]
    fn gpu(&self, index: c_int, cuda: &str) -> Result<Gpu, DeviceError> {
        let handle = self.handle(index)?;
        let mut name = [0u8; 256];
        // SAFETY: `CUresult cuDeviceGetName(char *name, int len, CUdevice dev)` writes at most `len` bytes, a NUL among them.
        let status = unsafe {
            type Name = unsafe extern "C" fn(*mut c_char, c_int, Handle) -> Status;
            self.function::<Name>("cuDeviceGetName")?(name.as_mut_ptr().cast(), name.len() as c_int, handle)
        };
        self.check("cuDeviceGetName", status)?;
        let name = CStr::from_bytes_until_nul(&name).map_err(|error| DeviceError::Driver {
            what: "cuDeviceGetName",
            reason: format!("the name of GPU {index}: {error}"),
        })?;
        let mut capability = [0; 2];
        for (value, attribute) in capability.iter_mut().zip(CAPABILITY) {
            // SAFETY: `CUresult cuDeviceGetAttribute(int *pi, CUdevice_attribute attrib, CUdevice dev)`.
            let status = unsafe {
                type Attribute = unsafe extern "C" fn(*mut c_int, c_int, Handle) -> Status;
                self.function::<Attribute>("cuDeviceGetAttribute")?(value, attribute, handle)
            };
            self.check("cuDeviceGetAttribute", status)?;
        }
        let mut memory = 0usize;
        // SAFETY: `CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice dev)`.
        let status = unsafe {
            type Total = unsafe extern "C" fn(*mut usize, Handle) -> Status;
            self.function::<Total>("cuDeviceTotalMem_v2")?(&mut memory, handle)
        };
        self.check("cuDeviceTotalMem_v2", status)?;
        Ok(Gpu {
            index: index.unsigned_abs() as usize,
            name: name.to_string_lossy().into_owned(),
            capability: (capability[0].unsigned_abs(), capability[1].unsigned_abs()),
            memory: memory as u64,
            cuda: cuda.to_owned(),
        })
    }

    /// Free memory is a matter of a context: the primary one is taken, asked and given back.
    #[allow(unsafe_code)]
    fn free_memory(&self, index: usize) -> Result<u64, DeviceError> {
        let handle = self.handle(index as c_int)?;
        let mut context: *mut c_void = ptr::null_mut();
        let (mut free, mut total) = (0usize, 0usize);
        type Retain = unsafe extern "C" fn(*mut *mut c_void, Handle) -> Status;
        type SetCurrent = unsafe extern "C" fn(*mut c_void) -> Status;
        type Info = unsafe extern "C" fn(*mut usize, *mut usize) -> Status;
        type Release = unsafe extern "C" fn(Handle) -> Status;
        // SAFETY: `CUresult cuDevicePrimaryCtxRetain(CUcontext *pctx, CUdevice dev)`, `CUresult cuCtxSetCurrent(CUcontext ctx)`,
        // `CUresult cuMemGetInfo_v2(size_t *free, size_t *total)`, `CUresult cuDevicePrimaryCtxRelease_v2(CUdevice dev)`. The
        // context is retained before it is current, and is current nowhere when it is released.
        unsafe {
            let retain = self.function::<Retain>("cuDevicePrimaryCtxRetain")?;
            let set_current = self.function::<SetCurrent>("cuCtxSetCurrent")?;
            let info = self.function::<Info>("cuMemGetInfo_v2")?;
            let release = self.function::<Release>("cuDevicePrimaryCtxRelease_v2")?;
            self.check("cuDevicePrimaryCtxRetain", retain(&mut context, handle))?;
            let asked = self
                .check("cuCtxSetCurrent", set_current(context))
                .and_then(|()| self.check("cuMemGetInfo_v2", info(&mut free, &mut total)));
            let left = self.check("cuCtxSetCurrent", set_current(ptr::null_mut()));
            let released = self.check("cuDevicePrimaryCtxRelease_v2", release(handle));
            asked.and(left).and(released)?;
        }
        Ok(free as u64)
    }
}

/// What the loader says, with its cause.
fn said(error: &libloading::Error) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    format!("{error}{}", cause.unwrap_or_default())
}

#[cfg(test)]
mod tests;
