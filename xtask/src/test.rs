//! `cargo xtask test`: the tests, with one command.

use crate::workspace;
use anyhow::{Context, ensure};
use clap::Args;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

#[derive(Args)]
pub struct TestArgs {
    /// Run the tests that compare with Python (PyTorch, transformers, segment-anything, MONAI, Pillow, pyarrow, TensorBoard), those
    /// of the kernels for GPUs (on Vulkan, of which Mesa has a driver for the CPU), those of a shared store (with a server that speaks
    /// S3) and that of the report in Chromium, instead of the rest.
    #[arg(long)]
    interop: bool,
    /// Only tests whose name contains this.
    filter: Option<String>,
}

pub fn main(args: &TestArgs) -> anyhow::Result<ExitCode> {
    let parts: &[&[&str]] = if args.interop { &INTEROP } else { &[&[]] };
    let python = args.interop.then(python).transpose()?;
    if let Some(python) = &python {
        say!("interop tests with {}", python.display());
    }
    // Tests of real images are ignored, so that those which did not run are not counted as passed.
    let real_data = real_data();
    let has_data = real_data.is_dir();
    if !has_data {
        say!("tests that need the real images are ignored: there is no {}", real_data.display());
    }
    let included: &[&str] = if has_data { &["--", "--include-ignored"] } else { &[] };
    let mut all_passed = true;
    for part in parts {
        let mut cargo = workspace::cargo();
        cargo
            .args(["test", "--release", "--workspace", "--no-fail-fast"])
            .args(*part)
            .args(&args.filter)
            .args(included);
        cargo.envs(python.iter().map(|python| ("RESECT_PYTHON", python)));
        cargo.env("RUST_MIN_STACK", STACK);
        all_passed &= cargo.status().context("cannot start cargo")?.success();
    }
    Ok(if all_passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The tests that need more than Rust; those of the kernels by themselves, because with them all else would be built once more.
const INTEROP: [&[&str]; 2] = [
    &["--features", "resect-tests/interop", "--test", "interop", "--test", "remote"],
    &["--features", "resect-tests/gpu", "--test", "gpu"],
];

/// Bytes of the stack of a test. Some tests are compiled without optimisation, and there building a model takes more than the usual 2 MiB.
const STACK: &str = "16777216";

/// Where tests look for the real images.
fn real_data() -> PathBuf {
    let shared =
        std::env::var_os("RESECT_SHARED").map_or_else(|| workspace::root().join("../shared"), PathBuf::from);
    shared.join("data/kvasir-seg")
}

/// Names that Chromium goes by; `tests/reference/report_browser.py` has the same.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// The Python with the reference implementations: `RESECT_PYTHON`, or the workspace's virtual environment.
fn python() -> anyhow::Result<PathBuf> {
    let python = std::env::var_os("RESECT_PYTHON")
        .map_or_else(|| workspace::root().join(".venv/bin/python"), PathBuf::from);
    let modules = "torch, torchvision, transformers, segment_anything, monai, pyarrow, pycocotools, PIL, numpy, scipy, \
                   tensorboard, playwright, pandas, polars, duckdb, jsonschema, moto.server, yaml, peft";
    let works = Command::new(&python).args(["-c", &format!("import {modules}")]).output();
    ensure!(
        works.as_ref().is_ok_and(|output| output.status.success()),
        "{} cannot import {modules}; run\n  python3 -m venv .venv\n  .venv/bin/pip install -r tests/requirements.txt\n\
         or set RESECT_PYTHON to a Python that has them",
        python.display()
    );
    let browser = BROWSERS.iter().any(|name| {
        let works = Command::new(name).arg("--version").output();
        works.is_ok_and(|output| output.status.success())
    });
    ensure!(
        browser || std::env::var_os("RESECT_CHROMIUM").is_some(),
        "there is no {}; install one (Debian: apt-get install chromium), or set RESECT_CHROMIUM to its program",
        BROWSERS.join(", ")
    );
    Ok(python)
}
