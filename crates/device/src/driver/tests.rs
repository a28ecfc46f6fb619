use super::*;
use std::path::PathBuf;
use std::process::Command;

/// A library with the driver's functions, compiled from `tests/stand_in/driver.rs`.
fn stand_in(dir: &Path, gpus: i32, init: i32) -> PathBuf {
    let path = dir.join(format!("libcuda-{gpus}-{init}.so"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stand_in/driver.rs");
    let status = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .args(["--edition", "2024", "--crate-type", "cdylib", "-C", "panic=abort", "-o"])
        .arg(&path)
        .arg(source)
        .env("STAND_IN_GPUS", gpus.to_string())
        .env("STAND_IN_INIT", init.to_string())
        .status()
        .unwrap();
    assert!(status.success());
    path
}

#[test]
fn gpus_are_listed_as_the_driver_tells_them() {
    let dir = tempfile::tempdir().unwrap();
    let driver = Driver::open(&stand_in(dir.path(), 2, 0)).unwrap();
    let gpus = driver.gpus().unwrap();
    let expected = |index: usize, capability| Gpu {
        index,
        name: format!("Stand-in {index}"),
        capability,
        memory: 80 << 30,
        cuda: "12.8".into(),
    };
    assert_eq!(gpus, [expected(0, (9, 0)), expected(1, (8, 6))]);
    assert_eq!(gpus[1].to_string(), "cuda:1  Stand-in 1 (sm86, 86 GB)");
    // The stand-in tells it of the context that is current alone, and refuses to release one that still is.
    assert_eq!(driver.free_memory(0).unwrap(), 60 << 30);
    assert_eq!(driver.free_memory(1).unwrap(), 61 << 30);
    let error = DeviceError::NoSuchGpu { index: 7, gpus }.to_string();
    assert!(
        error.contains("there is no cuda:7; there are\n  cuda:0  Stand-in 0 (sm90, 86 GB)\n  cuda:1"),
        "{error}"
    );
}

#[test]
fn a_driver_that_has_nothing_or_refuses_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let none = Driver::open(&stand_in(dir.path(), 0, 0)).and_then(|driver| driver.gpus());
    assert!(matches!(none, Err(DeviceError::NoGpu)));
    let none = Driver::open(&stand_in(dir.path(), 0, NO_DEVICE)).map(drop);
    assert!(matches!(none, Err(DeviceError::NoGpu)));
    let error = Driver::open(&stand_in(dir.path(), 1, 803)).map(drop).unwrap_err().to_string();
    assert!(error.contains("refuses cuInit: system has unsupported display driver (error 803)"), "{error}");
    let error = Driver::open(&dir.path().join("libcuda.so.1")).map(drop).unwrap_err().to_string();
    assert!(error.starts_with("there is no NVIDIA driver: ") && error.contains("--device cpu"), "{error}");
    // A library of the name without the functions.
    std::fs::write(dir.path().join("empty.rs"), "").unwrap();
    let empty = dir.path().join("empty.so");
    let status = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .args(["--crate-type", "cdylib", "-C", "panic=abort", "-o"])
        .arg(&empty)
        .arg(dir.path().join("empty.rs"))
        .status()
        .unwrap();
    assert!(status.success());
    let error = Driver::open(&empty).map(drop).unwrap_err().to_string();
    assert!(error.contains("refuses cuInit: "), "{error}");
}
