//! A library that `LD_PRELOAD` puts before the system's (`tests/faults.rs`, `tests/confined.rs`): it counts the calls by which programs change files
//! below a folder, and at a given one kills the program, or has the system refuse.
//!
//! | variable | what |
//! |---|---|
//! | `FAULT_PROGRAM` | name of the program it is about; all others are left alone. Without it: all |
//! | `FAULT_BELOW` | folder; what is changed elsewhere does not count |
//! | `FAULT_COUNT` | file of eight bytes, all zero: the counter, which all processes share |
//! | `FAULT_LOG` | file to which each counted call is added: its name and its paths, with tabs between |
//! | `FAULT_AT` | number of the call, from 1, at which something happens |
//! | `FAULT_DO` | what: `kill` before the call, `torn` after half of what it was to write (after the call, where it writes nothing), `io` (it fails, once), `full` (from then on nothing can be added), `read-only` (nor changed), `denied` (the same, because of who asks) |
//!
//! Such a library cannot be written without `unsafe`: it takes the place of C functions. It is part of no program.

#![cfg(target_os = "linux")]
#![allow(unsafe_code)]

use libc::{c_char, c_int, c_uint, c_void, mode_t, off64_t, size_t, ssize_t};
use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// What happens at the call.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    Kill,
    Torn,
    Io,
    Full,
    ReadOnly,
    Denied,
}

struct Settings {
    below: PathBuf,
    counter: &'static AtomicU64,
    log: Option<c_int>,
    at: u64,
    fault: Fault,
}

/// What is to become of a call.
enum Verdict {
    Go,
    /// With half of what it was to do, after which the program is killed.
    Torn,
    /// With this `errno`.
    Fail(c_int),
}

/// Whether a call takes room on the disk.
#[derive(Clone, Copy, PartialEq)]
enum Takes {
    Room,
    None,
}

/// For this program; none where it is not the one.
fn settings() -> Option<&'static Settings> {
    static SETTINGS: OnceLock<Option<Settings>> = OnceLock::new();
    SETTINGS.get_or_init(read_settings).as_ref()
}

fn read_settings() -> Option<Settings> {
    let text = |name: &str| std::env::var(name).ok();
    let program = std::env::current_exe().ok()?;
    if text("FAULT_PROGRAM").is_some_and(|name| program.file_name() != Some(OsStr::new(&name))) {
        return None;
    }
    let counter = open(&text("FAULT_COUNT")?, libc::O_RDWR)?;
    // SAFETY: a new shared map of eight bytes of an open file, aligned to a page, never unmapped.
    let counter = unsafe {
        let map = libc::mmap(
            std::ptr::null_mut(),
            8,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            counter,
            0,
        );
        if map == libc::MAP_FAILED {
            return None;
        }
        &*map.cast::<AtomicU64>()
    };
    let fault = match text("FAULT_DO").as_deref() {
        Some("torn") => Fault::Torn,
        Some("io") => Fault::Io,
        Some("full") => Fault::Full,
        Some("read-only") => Fault::ReadOnly,
        Some("denied") => Fault::Denied,
        _ => Fault::Kill,
    };
    Some(Settings {
        below: text("FAULT_BELOW")?.into(),
        counter,
        log: text("FAULT_LOG").and_then(|path| open(&path, libc::O_WRONLY | libc::O_APPEND)),
        at: text("FAULT_AT").and_then(|at| at.parse().ok()).unwrap_or(u64::MAX),
        fault,
    })
}

/// A file of the tests' own, past the functions below.
fn open(path: &str, flags: c_int) -> Option<c_int> {
    let path = CString::new(path).ok()?;
    // SAFETY: the path ends with a zero byte and lives until the call is over.
    let file =
        unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags | libc::O_CLOEXEC, 0) };
    (file >= 0).then_some(file as c_int)
}

/// Counts a call that changes one of `paths`, and says what becomes of it.
fn at(name: &str, paths: &[Option<PathBuf>], takes: Takes) -> Verdict {
    let Some(settings) = settings() else { return Verdict::Go };
    if !paths.iter().flatten().any(|path| path.starts_with(&settings.below)) {
        return Verdict::Go;
    }
    let count = settings.counter.fetch_add(1, Ordering::SeqCst) + 1;
    if let Some(log) = settings.log {
        let paths: Vec<String> = paths.iter().flatten().map(|path| path.display().to_string()).collect();
        let line = format!("{name}\t{}\n", paths.join("\t"));
        // SAFETY: pointer and length are the string's.
        unsafe { libc::syscall(libc::SYS_write, log, line.as_ptr(), line.len()) };
    }
    match settings.fault {
        _ if count < settings.at => Verdict::Go,
        Fault::Kill if count == settings.at => die(),
        Fault::Torn if count == settings.at => Verdict::Torn,
        Fault::Io if count == settings.at => Verdict::Fail(libc::EIO),
        Fault::Full if takes == Takes::Room => Verdict::Fail(libc::ENOSPC),
        Fault::ReadOnly => Verdict::Fail(libc::EROFS),
        Fault::Denied => Verdict::Fail(libc::EACCES),
        _ => Verdict::Go,
    }
}

fn die() -> ! {
    // SAFETY: no memory is involved. The loop is for the time until the signal arrives.
    unsafe {
        libc::kill(libc::getpid(), libc::SIGKILL);
        loop {
            libc::pause();
        }
    }
}

/// Fails as the system's functions do.
fn fail<T: From<i8>>(errno: c_int) -> T {
    // SAFETY: this thread's `errno`.
    unsafe { *libc::__errno_location() = errno };
    T::from(-1)
}

/// A path that a call names, absolute.
///
/// # Safety
/// `path` ends with a zero byte.
unsafe fn path(folder: c_int, path: *const c_char) -> Option<PathBuf> {
    // SAFETY: as promised by the caller.
    let path = Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(path) }.to_bytes()));
    match folder {
        _ if path.is_absolute() => Some(path.to_path_buf()),
        libc::AT_FDCWD => Some(std::env::current_dir().ok()?.join(path)),
        folder => Some(file(folder)?.join(path)),
    }
}

/// The path of an open file or folder.
fn file(file: c_int) -> Option<PathBuf> {
    settings()?;
    std::fs::read_link(format!("/proc/self/fd/{file}")).ok()
}

/// The function of this name that comes after this library's.
fn next(name: &CStr) -> *mut c_void {
    // SAFETY: the name ends with a zero byte.
    unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) }
}

/// A function in place of the system's. `$paths` and `$takes` are for [`at`]; `$half` is the call with half of what it was to do,
/// where there is such a thing.
macro_rules! in_place_of {
    ($name:ident($($arg:ident: $type:ty),*) -> $result:ty, $paths:expr, $takes:expr $(, half: $half:expr)?) => {
        /// # Safety
        /// As the function of the system that it takes the place of.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($arg: $type),*) -> $result {
            static NEXT: OnceLock<usize> = OnceLock::new();
            let name = concat!(stringify!($name), "\0");
            let next = *NEXT.get_or_init(|| next(CStr::from_bytes_with_nul(name.as_bytes()).unwrap_or(c"")) as usize);
            // SAFETY: the system's function of this name has this signature.
            let next: unsafe extern "C" fn($($type),*) -> $result = unsafe { std::mem::transmute(next) };
            // SAFETY: what the caller promises to the system's function is what these need.
            unsafe {
                match at(stringify!($name), &$paths, $takes) {
                    Verdict::Go => next($($arg),*),
                    Verdict::Fail(errno) => fail(errno),
                    Verdict::Torn => {
                        in_place_of!(@half next($($arg),*) $(, $half)?);
                        die()
                    }
                }
            }
        }
    };
    (@half $next:ident($($arg:ident),*)) => { $next($($arg),*) };
    (@half $next:ident($($arg:ident),*), $half:expr) => { $half($next) };
}

in_place_of!(write(fd: c_int, bytes: *const c_void, length: size_t) -> ssize_t, [file(fd)], Takes::Room,
    half: |next: unsafe extern "C" fn(c_int, *const c_void, size_t) -> ssize_t| next(fd, bytes, length / 2));
in_place_of!(pwrite64(fd: c_int, bytes: *const c_void, length: size_t, offset: off64_t) -> ssize_t, [file(fd)], Takes::Room,
    half: |next: unsafe extern "C" fn(c_int, *const c_void, size_t, off64_t) -> ssize_t| next(fd, bytes, length / 2, offset));
in_place_of!(writev(fd: c_int, parts: *const libc::iovec, count: c_int) -> ssize_t, [file(fd)], Takes::Room,
    half: |next: unsafe extern "C" fn(c_int, *const libc::iovec, c_int) -> ssize_t| next(fd, parts, count / 2));
in_place_of!(copy_file_range(from: c_int, at_from: *mut off64_t, to: c_int, at_to: *mut off64_t, length: size_t, flags: c_uint) -> ssize_t,
    [file(to)], Takes::Room,
    half: |next: unsafe extern "C" fn(c_int, *mut off64_t, c_int, *mut off64_t, size_t, c_uint) -> ssize_t| next(from, at_from, to, at_to, length.min(7), flags));
in_place_of!(ftruncate64(fd: c_int, length: off64_t) -> c_int, [file(fd)], Takes::None);
in_place_of!(fsync(fd: c_int) -> c_int, [file(fd)], Takes::None);
in_place_of!(fdatasync(fd: c_int) -> c_int, [file(fd)], Takes::None);
in_place_of!(fchmod(fd: c_int, mode: mode_t) -> c_int, [file(fd)], Takes::None);
in_place_of!(chmod(name: *const c_char, mode: mode_t) -> c_int, [path(libc::AT_FDCWD, name)], Takes::None);
in_place_of!(mkdir(name: *const c_char, mode: mode_t) -> c_int, [path(libc::AT_FDCWD, name)], Takes::Room);
in_place_of!(rmdir(name: *const c_char) -> c_int, [path(libc::AT_FDCWD, name)], Takes::None);
in_place_of!(unlink(name: *const c_char) -> c_int, [path(libc::AT_FDCWD, name)], Takes::None);
in_place_of!(unlinkat(folder: c_int, name: *const c_char, flags: c_int) -> c_int, [path(folder, name)], Takes::None);
in_place_of!(rename(from: *const c_char, to: *const c_char) -> c_int,
    [path(libc::AT_FDCWD, from), path(libc::AT_FDCWD, to)], Takes::None);
in_place_of!(link(from: *const c_char, to: *const c_char) -> c_int,
    [path(libc::AT_FDCWD, from), path(libc::AT_FDCWD, to)], Takes::Room);
in_place_of!(linkat(from_folder: c_int, from: *const c_char, to_folder: c_int, to: *const c_char, flags: c_int) -> c_int,
    [path(from_folder, from), path(to_folder, to)], Takes::Room);
in_place_of!(symlink(target: *const c_char, name: *const c_char) -> c_int, [path(libc::AT_FDCWD, name)], Takes::Room);

/// Opening a file to write to it makes it, or empties it.
///
/// # Safety
/// As the function of the system that it takes the place of. The mode, which that takes only where a file is made, is read in any case:
/// on this platform's way of calling an argument that was not given is some number, which the system ignores.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn open64(name: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    static NEXT: OnceLock<usize> = OnceLock::new();
    let next = *NEXT.get_or_init(|| next(c"open64") as usize);
    // SAFETY: the system's function, called as it may be.
    let next: unsafe extern "C" fn(*const c_char, c_int, ...) -> c_int = unsafe { std::mem::transmute(next) };
    if flags & (libc::O_CREAT | libc::O_TRUNC) == 0 {
        // SAFETY: as promised by the caller.
        return unsafe { next(name, flags, mode) };
    }
    // SAFETY: as promised by the caller.
    unsafe {
        match at("open64", &[path(libc::AT_FDCWD, name)], Takes::Room) {
            Verdict::Go => next(name, flags, mode),
            Verdict::Fail(errno) => fail(errno),
            Verdict::Torn => {
                next(name, flags, mode);
                die()
            }
        }
    }
}
