//! `resect-report`, which `cargo xtask report` starts: one line of JSON, a [`Job`], on standard input, one line, a
//! [`resect_report_job::Written`], on standard output.

use anyhow::Context;
use resect_report_job::Job;
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
    let job: Job = serde_json::from_str(&line)
        .context("standard input holds no job; `cargo xtask report` starts this program with one")?;
    let written = resect_report::write(&job)?;
    println!("{}", serde_json::to_string(&written)?);
    Ok(())
}
