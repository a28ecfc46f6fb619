//! `resect-predict`, which `cargo xtask predict` starts: a job on standard input, lines of JSON on standard output.

use anyhow::{Context, ensure};
use resect_prompts::job::{FORMAT, Job, Line};
use std::io::{Read, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The runner is gone, or wants this program to end.
static STOPPED: AtomicBool = AtomicBool::new(false);
/// What ends soon leaves no unfinished file behind; an image of a large model takes longer than anybody waits.
const PATIENCE: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let say = |line: Line| {
        let mut out = std::io::stdout().lock();
        if let Ok(mut text) = serde_json::to_vec(&line) {
            text.push(b'\n');
            // A runner that went away is noticed on standard input; here there is nobody left to tell.
            let _ = out.write_all(&text).and_then(|()| out.flush());
        }
    };
    let done = read_job().and_then(|job| {
        end_with_the_runner();
        let stopped = || STOPPED.load(Ordering::SeqCst);
        resect_stage::guarded(|| Ok(resect_predict::run(&job, say, stopped)?))
    });
    match done {
        Ok(true) => ExitCode::SUCCESS,
        // What failed is said in the lines.
        Ok(false) => ExitCode::FAILURE,
        Err(_) if STOPPED.load(Ordering::SeqCst) => ExitCode::from(130),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn read_job() -> anyhow::Result<Job> {
    let mut text = String::new();
    std::io::stdin().read_line(&mut text).context("cannot read the job")?;
    ensure!(
        !text.trim().is_empty(),
        "there is no job on standard input: `cargo xtask predict` starts this program"
    );
    #[derive(serde::Deserialize)]
    struct Head {
        format: String,
    }
    let head: Head = serde_json::from_str(&text).context("standard input holds no job")?;
    let major = |format: &str| format.split('.').next().map(str::to_owned);
    ensure!(
        major(&head.format) == major(FORMAT),
        "the job has format {}, this program speaks {FORMAT}: build both from the same sources",
        head.format
    );
    serde_json::from_str(&text).context("standard input holds no job of this program")
}

fn end_with_the_runner() {
    std::thread::spawn(|| {
        let mut byte = [0];
        while !matches!(std::io::stdin().read(&mut byte), Ok(0) | Err(_)) {}
        STOPPED.store(true, Ordering::SeqCst);
        std::thread::sleep(PATIENCE);
        std::process::exit(130);
    });
}
