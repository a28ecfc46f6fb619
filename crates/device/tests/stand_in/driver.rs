//! A stand-in for the CUDA driver's library, for tests on machines that have none: compiled by them as a `cdylib`, with the
//! number of GPUs and the answer of `cuInit` fixed while compiling.

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What `cuInit` answers.
const INIT: &str = env!("STAND_IN_INIT");
/// How many GPUs there are.
const GPUS: &str = env!("STAND_IN_GPUS");
const INVALID_VALUE: c_int = 1;
const INVALID_DEVICE: c_int = 101;
const INVALID_CONTEXT: c_int = 201;
/// The context that is current: the number of its GPU and 1, or 0.
static CURRENT: AtomicUsize = AtomicUsize::new(0);

#[unsafe(no_mangle)]
pub extern "C" fn cuInit(flags: c_uint) -> c_int {
    if flags == 0 { INIT.parse().unwrap() } else { INVALID_VALUE }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGetErrorString(error: c_int, text: *mut *const c_char) -> c_int {
    let known = match error {
        803 => c"system has unsupported display driver",
        _ => return INVALID_VALUE,
    };
    unsafe { *text = known.as_ptr() };
    0
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDriverGetVersion(version: *mut c_int) -> c_int {
    unsafe { *version = 12080 };
    0
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetCount(count: *mut c_int) -> c_int {
    unsafe { *count = GPUS.parse().unwrap() };
    0
}

/// Handles are no numbers of GPUs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGet(device: *mut c_int, index: c_int) -> c_int {
    if index < 0 || index >= GPUS.parse().unwrap() {
        return INVALID_DEVICE;
    }
    unsafe { *device = 40 + index };
    0
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetName(name: *mut c_char, length: c_int, device: c_int) -> c_int {
    let text = format!("Stand-in {}\0", device - 40);
    if text.len() > length as usize {
        return INVALID_VALUE;
    }
    unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), name.cast(), text.len()) };
    0
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetAttribute(value: *mut c_int, attribute: c_int, device: c_int) -> c_int {
    let capability = if device == 40 { [9, 0] } else { [8, 6] };
    match attribute {
        75 | 76 => unsafe { *value = capability[attribute as usize - 75] },
        _ => return INVALID_VALUE,
    }
    0
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceTotalMem_v2(bytes: *mut usize, _device: c_int) -> c_int {
    unsafe { *bytes = 80 << 30 };
    0
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDevicePrimaryCtxRetain(context: *mut *mut c_void, device: c_int) -> c_int {
    unsafe { *context = std::ptr::without_provenance_mut(device as usize - 39) };
    0
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxSetCurrent(context: *mut c_void) -> c_int {
    CURRENT.store(context.addr(), Ordering::SeqCst);
    0
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> c_int {
    match CURRENT.load(Ordering::SeqCst) {
        0 => INVALID_CONTEXT,
        context => {
            unsafe { (*free, *total) = ((59 + context) << 30, 80 << 30) };
            0
        }
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDevicePrimaryCtxRelease_v2(device: c_int) -> c_int {
    if CURRENT.load(Ordering::SeqCst) == device as usize - 39 { INVALID_CONTEXT } else { 0 }
}
