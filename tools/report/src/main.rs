//! `resect-report`, which `cargo xtask report` and `compare` start: one line of JSON, a [`Job`] or a [`ComparisonJob`], on standard
//! input, one line, a [`resect_report_job::Written`], on standard output.

use anyhow::Context;
use resect_report_job::{ComparisonJob, Job};
use serde::Deserialize;
use std::process::ExitCode;

fn main() -> ExitCode {
    match report() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn report() -> anyhow::Result<()> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).context("cannot read standard input")?;
    let task: Task = serde_json::from_str(&line)
        .context("standard input holds no job; `cargo xtask report` starts this program with one")?;
    let written = match task {
        Task::Comparison(job) => resect_report::write_comparison(&job)?,
        Task::Report(job) => resect_report::write(&job)?,
    };
    println!("{}", serde_json::to_string(&written)?);
    Ok(())
}

/// What is to be made.
#[derive(Deserialize)]
#[serde(untagged)]
enum Task {
    Comparison(Box<ComparisonJob>),
    Report(Box<Job>),
}
