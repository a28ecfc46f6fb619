//! A CUDA driver that computes nothing and counts: a stand-in for `libcuda.so.1` under which the programs with the feature `cuda`
//! write, compile (with the true NVRTC) and launch their kernels on a machine without a GPU. `benches/dry_cuda.sh` builds and uses it.
//!
//! There is one GPU, with the limits of an H100. Its memory is addresses without anything behind them; what is copied from it is zeros.
//! Modules must hold the function that is asked of them, and a launch that a real driver would refuse for its sizes is refused.
//!
//! What a process asked for is appended at its end, as a line of JSON, to the file that `DRY_CUDA_COUNTS` names. Reference: the CUDA Driver API, `cuda.h` of 12.4.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::fs::OpenOptions;
use std::io::Write;
use std::sync::{Mutex, MutexGuard, OnceLock};

/// `CUresult`
type Status = c_int;

const SUCCESS: Status = 0;
const INVALID_VALUE: Status = 1;
const OUT_OF_MEMORY: Status = 2;
const NO_SUCH_FUNCTION: Status = 500;

/// 80 GB, as `nvidia-smi` shows an H100's.
const MEMORY: usize = 81559 << 20;
/// Where the first allocation lies: no address of the host's.
const FIRST_ADDRESS: u64 = 1 << 52;
const SHARED_MEMORY: c_uint = 232_448;
const GRID: [c_uint; 3] = [i32::MAX as c_uint, 65_535, 65_535];
const BLOCK: [c_uint; 3] = [1024, 1024, 64];
const THREADS: u64 = 1024;

/// How many copies there were, and of how many bytes.
#[derive(Default)]
struct Copies {
    count: u64,
    bytes: u64,
}

impl Copies {
    fn add(&mut self, bytes: usize) {
        self.count += 1;
        self.bytes += bytes as u64;
    }

    fn json(&self) -> String {
        format!("{{\"count\": {}, \"bytes\": {}}}", self.count, self.bytes)
    }
}

/// What a process asked for.
#[derive(Default)]
struct Counts {
    launches: BTreeMap<String, u64>,
    refused: BTreeMap<String, u64>,
    modules: u64,
    allocations: u64,
    up: Copies,
    down: Copies,
    synchronisations: u64,
}

/// Bytes held now and at most.
#[derive(Default)]
struct Held {
    now: usize,
    peak: usize,
}

impl Held {
    fn add(&mut self, bytes: usize) {
        self.now += bytes;
        self.peak = self.peak.max(self.now);
    }
}

#[derive(Default)]
struct Driver {
    counts: Counts,
    device: Held,
    pinned: Held,
    /// Bytes of each allocation, on the device or pinned.
    sizes: HashMap<u64, usize>,
    next: u64,
}

impl Driver {
    fn lock() -> MutexGuard<'static, Self> {
        static DRIVER: OnceLock<Mutex<Driver>> = OnceLock::new();
        let driver = DRIVER.get_or_init(|| {
            // SAFETY: a function without arguments, which may run at exit.
            unsafe { atexit(at_exit) };
            Mutex::new(Driver { next: FIRST_ADDRESS, ..Default::default() })
        });
        driver.lock().unwrap()
    }

    fn allocate(&mut self, bytes: usize) -> Option<u64> {
        if bytes == 0 || self.device.now + bytes > MEMORY {
            return None;
        }
        let address = self.next;
        self.next += (bytes as u64).next_multiple_of(512);
        self.sizes.insert(address, bytes);
        self.device.add(bytes);
        self.counts.allocations += 1;
        Some(address)
    }

    /// Appends what was counted to the file.
    fn write(&mut self) {
        let Ok(path) = std::env::var("DRY_CUDA_COUNTS") else { return };
        let Counts { launches, refused, modules, allocations, up, down, synchronisations } =
            std::mem::take(&mut self.counts);
        let table = |of: &BTreeMap<String, u64>| {
            let lines: Vec<String> = of.iter().map(|(name, count)| format!("\"{name}\": {count}")).collect();
            format!("{{{}}}", lines.join(", "))
        };
        let all: u64 = launches.values().sum();
        let held = |held: &Held| format!("{{\"now\": {}, \"peak\": {}}}", held.now, held.peak);
        let line = format!(
            "{{\"launches\": {all}, \"modules\": {modules}, \"allocations\": {allocations}, \
             \"up\": {}, \"down\": {}, \"synchronisations\": {synchronisations}, \"device\": {}, \"pinned\": {}, \
             \"kernels\": {}, \"refused\": {}}}\n",
            up.json(),
            down.json(),
            held(&self.device),
            held(&self.pinned),
            table(&launches),
            table(&refused),
        );
        let file = OpenOptions::new().create(true).append(true).open(&path);
        file.and_then(|mut file| file.write_all(line.as_bytes())).expect("DRY_CUDA_COUNTS can be written");
    }
}

unsafe extern "C" {
    fn atexit(call: extern "C" fn()) -> c_int;
}

extern "C" fn at_exit() {
    Driver::lock().write();
}

/// Something to point at where the driver has an object of its own: contexts, streams, events.
fn handle() -> *mut c_void {
    std::ptr::without_provenance_mut(0x1000)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuInit(_flags: c_uint) -> Status {
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDriverGetVersion(version: *mut c_int) -> Status {
    unsafe { *version = 12040 };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGetErrorString(status: Status, text: *mut *const c_char) -> Status {
    let known = match status {
        INVALID_VALUE => c"invalid argument",
        OUT_OF_MEMORY => c"out of memory",
        NO_SUCH_FUNCTION => c"named symbol not found",
        _ => return INVALID_VALUE,
    };
    unsafe { *text = known.as_ptr() };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGetErrorName(status: Status, text: *mut *const c_char) -> Status {
    unsafe { cuGetErrorString(status, text) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetCount(count: *mut c_int) -> Status {
    unsafe { *count = 1 };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGet(device: *mut c_int, index: c_int) -> Status {
    unsafe { *device = index };
    if index == 0 { SUCCESS } else { INVALID_VALUE }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetName(name: *mut c_char, length: c_int, _device: c_int) -> Status {
    let text = c"dry H100".to_bytes_with_nul();
    if text.len() > length as usize {
        return INVALID_VALUE;
    }
    unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), name.cast(), text.len()) };
    SUCCESS
}

/// Numbers of `CUdevice_attribute`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetAttribute(value: *mut c_int, attribute: c_int, _device: c_int) -> Status {
    let found = match attribute {
        1 => THREADS as c_int,
        2..=4 => BLOCK[attribute as usize - 2] as c_int,
        5..=7 => GRID[attribute as usize - 5] as c_int,
        10 => 32,
        16 => 132,
        75 => 9,
        76 => 0,
        97 => SHARED_MEMORY as c_int,
        _ => return INVALID_VALUE,
    };
    unsafe { *value = found };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceTotalMem_v2(bytes: *mut usize, _device: c_int) -> Status {
    unsafe { *bytes = MEMORY };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> Status {
    unsafe { (*free, *total) = (MEMORY - Driver::lock().device.now, MEMORY) };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDevicePrimaryCtxRetain(context: *mut *mut c_void, _device: c_int) -> Status {
    unsafe { *context = handle() };
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDevicePrimaryCtxRelease_v2(_device: c_int) -> Status {
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxSetCurrent(_context: *mut c_void) -> Status {
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamCreate(stream: *mut *mut c_void, _flags: c_uint) -> Status {
    unsafe { *stream = handle() };
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamSynchronize(_stream: *mut c_void) -> Status {
    Driver::lock().counts.synchronisations += 1;
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamWaitEvent(_stream: *mut c_void, _event: *mut c_void, _flags: c_uint) -> Status {
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuEventCreate(event: *mut *mut c_void, _flags: c_uint) -> Status {
    unsafe { *event = handle() };
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventRecord(_event: *mut c_void, _stream: *mut c_void) -> Status {
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventSynchronize(_event: *mut c_void) -> Status {
    Driver::lock().counts.synchronisations += 1;
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventDestroy_v2(_event: *mut c_void) -> Status {
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemAlloc_v2(pointer: *mut u64, bytes: usize) -> Status {
    match Driver::lock().allocate(bytes) {
        Some(address) => unsafe { *pointer = address },
        None => return OUT_OF_MEMORY,
    }
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemAllocAsync(pointer: *mut u64, bytes: usize, _stream: *mut c_void) -> Status {
    unsafe { cuMemAlloc_v2(pointer, bytes) }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemFree_v2(pointer: u64) -> Status {
    let mut driver = Driver::lock();
    match driver.sizes.remove(&pointer) {
        Some(bytes) => driver.device.now -= bytes,
        None => return INVALID_VALUE,
    }
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemFreeAsync(pointer: u64, _stream: *mut c_void) -> Status {
    cuMemFree_v2(pointer)
}

/// Memory of the host's, which is there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemAllocHost_v2(pointer: *mut *mut c_void, bytes: usize) -> Status {
    let memory: Box<[u128]> = vec![0; bytes.div_ceil(16)].into();
    let address = Box::into_raw(memory).cast::<c_void>();
    let mut driver = Driver::lock();
    driver.sizes.insert(address.addr() as u64, bytes);
    driver.pinned.add(bytes);
    unsafe { *pointer = address };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemFreeHost(pointer: *mut c_void) -> Status {
    let mut driver = Driver::lock();
    let Some(bytes) = driver.sizes.remove(&(pointer.addr() as u64)) else { return INVALID_VALUE };
    driver.pinned.now -= bytes;
    drop(unsafe {
        Box::from_raw(std::ptr::slice_from_raw_parts_mut(pointer.cast::<u128>(), bytes.div_ceil(16)))
    });
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpyHtoDAsync_v2(
    _to: u64,
    _from: *const c_void,
    bytes: usize,
    _stream: *mut c_void,
) -> Status {
    Driver::lock().counts.up.add(bytes);
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemcpyDtoHAsync_v2(
    to: *mut u8,
    _from: u64,
    bytes: usize,
    _stream: *mut c_void,
) -> Status {
    unsafe { to.write_bytes(0, bytes) };
    Driver::lock().counts.down.add(bytes);
    SUCCESS
}

/// `CUDA_MEMCPY2D`
#[repr(C)]
pub struct Copy2d {
    src_x: usize,
    src_y: usize,
    src_memory: c_uint,
    src_host: *const c_void,
    src_device: u64,
    src_array: *mut c_void,
    src_pitch: usize,
    dst_x: usize,
    dst_y: usize,
    dst_memory: c_uint,
    dst_host: *mut u8,
    dst_device: u64,
    dst_array: *mut c_void,
    dst_pitch: usize,
    width: usize,
    height: usize,
}

/// `CU_MEMORYTYPE_HOST`
const HOST: c_uint = 1;

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemcpy2DAsync_v2(copy: *const Copy2d, _stream: *mut c_void) -> Status {
    let copy = unsafe { &*copy };
    if copy.src_memory == HOST {
        Driver::lock().counts.up.add(copy.width * copy.height);
        return SUCCESS;
    }
    for row in 0..copy.height {
        unsafe { copy.dst_host.add(row * copy.dst_pitch).write_bytes(0, copy.width) };
    }
    Driver::lock().counts.down.add(copy.width * copy.height);
    SUCCESS
}

/// A module is its text.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuModuleLoadData(module: *mut *const c_char, image: *const c_char) -> Status {
    Driver::lock().counts.modules += 1;
    unsafe { *module = CStr::from_ptr(image).to_owned().into_raw() };
    SUCCESS
}

/// A function is its name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuModuleGetFunction(
    function: *mut *const c_char,
    module: *const c_char,
    name: *const c_char,
) -> Status {
    let (text, name) = unsafe { (CStr::from_ptr(module), CStr::from_ptr(name)) };
    if !text.to_string_lossy().contains(&format!(".entry {}(", name.to_string_lossy())) {
        return NO_SUCH_FUNCTION;
    }
    unsafe { *function = name.to_owned().into_raw() };
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuFuncSetAttribute(_function: *const c_char, _attribute: c_int, value: c_int) -> Status {
    if (0..=SHARED_MEMORY as c_int).contains(&value) { SUCCESS } else { INVALID_VALUE }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuLaunchKernel(
    function: *const c_char,
    grid_x: c_uint,
    grid_y: c_uint,
    grid_z: c_uint,
    block_x: c_uint,
    block_y: c_uint,
    block_z: c_uint,
    shared: c_uint,
    _stream: *mut c_void,
    _parameters: *mut *mut c_void,
    _extra: *mut *mut c_void,
) -> Status {
    let name = unsafe { CStr::from_ptr(function) }.to_string_lossy().into_owned();
    let (grid, block) = ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]);
    let fits =
        |size: [c_uint; 3], limit: [c_uint; 3]| size.iter().zip(limit).all(|(&n, most)| n > 0 && n <= most);
    let threads: u64 = block.iter().map(|&n| u64::from(n)).product();
    let counts = &mut Driver::lock().counts;
    if fits(grid, GRID) && fits(block, BLOCK) && threads <= THREADS && shared <= SHARED_MEMORY {
        *counts.launches.entry(name).or_default() += 1;
        return SUCCESS;
    }
    *counts.refused.entry(format!("{name} grid {grid:?} block {block:?} shared {shared}")).or_default() += 1;
    INVALID_VALUE
}

/// NVRTC asks for tables of functions that are in no manual: it gets one that is empty, which begins with its size in bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGetExportTable(table: *mut *const usize, _id: *const c_void) -> Status {
    static EMPTY: [usize; 64] = {
        let mut table = [0; 64];
        table[0] = size_of::<usize>();
        table
    };
    unsafe { *table = EMPTY.as_ptr() };
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuTensorMapEncodeTiled() -> Status {
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuTensorMapEncodeIm2col() -> Status {
    SUCCESS
}
