//! `cargo xtask test`: the tests, with one command.

use crate::workspace;
use anyhow::{Context, ensure};
use clap::Args;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

#[derive(Args)]
pub struct TestArgs {
    /// Run the tests that compare with Python (PyTorch, transformers, segment-anything, MONAI, Pillow, pyarrow, TensorBoard) and those
    /// of the kernels for GPUs (on Vulkan, of which Mesa has a driver for the CPU), instead of the rest.
    #[arg(long)]
    interop: bool,
    /// Only tests whose name contains this.
    filter: Option<String>,
}

pub fn main(args: &TestArgs) -> anyhow::Result<ExitCode> {
    let mut cargo = workspace::cargo();
    cargo.args(["test", "--release", "--workspace", "--no-fail-fast"]);
    if args.interop {
        let python = python()?;
        eprintln!("interop tests with {}", python.display());
        cargo.env("RESECT_PYTHON", python);
        cargo.args(["--features", "resect-tests/interop", "--test", "interop", "--test", "gpu"]);
    }
    cargo.args(&args.filter);
    let status = cargo.status().context("cannot start cargo")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The Python with the reference implementations: `RESECT_PYTHON`, or the workspace's virtual environment.
fn python() -> anyhow::Result<PathBuf> {
    let python = std::env::var_os("RESECT_PYTHON")
        .map_or_else(|| workspace::root().join(".venv/bin/python"), PathBuf::from);
    let modules = "torch, torchvision, transformers, segment_anything, monai, pyarrow, pycocotools, PIL, numpy, scipy, \
                   tensorboard";
    let works = Command::new(&python).args(["-c", &format!("import {modules}")]).output();
    ensure!(
        works.as_ref().is_ok_and(|output| output.status.success()),
        "{} cannot import {modules}; run\n  python3 -m venv .venv\n  .venv/bin/pip install -r tests/requirements.txt\n\
         or set RESECT_PYTHON to a Python that has them",
        python.display()
    );
    Ok(python)
}
