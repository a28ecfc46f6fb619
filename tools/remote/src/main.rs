//! `resect-remote`, which the runner starts: one line of JSON, a [`resect_remote_job::Job`], on standard input, one line, a
//! [`resect_remote_job::Answer`], on standard output.

use anyhow::Context;
use resect_remote_job::Job;
use std::process::ExitCode;

fn main() -> ExitCode {
    match work() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn work() -> anyhow::Result<()> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).context("cannot read standard input")?;
    let job: Job = serde_json::from_str(&line)
        .context("standard input holds no job; `cargo xtask push` starts this program")?;
    // The runner keeps it open as long as it lives.
    std::thread::spawn(|| {
        let mut byte = [0];
        while !matches!(std::io::Read::read(&mut std::io::stdin(), &mut byte), Ok(0) | Err(_)) {}
        std::process::exit(130);
    });
    println!("{}", serde_json::to_string(&resect_remote::answer(&job)?)?);
    Ok(())
}
