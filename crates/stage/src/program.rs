use crate::panics::guarded;
use crate::{JOB_FORMAT, Job, Message, Reporter};
use anyhow::{Context, bail, ensure};
use clap::Parser;
use serde::de::DeserializeOwned;
use std::env::VarError;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

#[derive(Parser)]
#[command(about = "A stage of the Resect pipeline; `cargo xtask run` starts it")]
struct Cli {
    /// The job to do, a JSON file.
    #[arg(long, required_unless_present = "identity")]
    job: Option<PathBuf>,
    /// End as soon as standard input closes: the runner is gone.
    #[arg(long)]
    watch_stdin: bool,
    /// Print the identity of the code this program was built from, and exit.
    #[arg(long)]
    identity: bool,
}

/// The `main` of a stage program: `stage` and `identity` are its own, `run` does the work.
pub fn main<P, R>(
    stage: &str,
    identity: &str,
    run: impl FnOnce(&Job<P, R>, &Reporter) -> anyhow::Result<()>,
) -> ExitCode
where
    P: DeserializeOwned,
    R: DeserializeOwned,
{
    let cli = Cli::parse();
    if cli.identity {
        println!("{identity}");
        return ExitCode::SUCCESS;
    }
    let filter = match levels(std::env::var("RESECT_LOG")) {
        Ok(filter) => filter,
        Err(error) => {
            eprintln!("error: RESECT_LOG {error}; expected levels such as debug or resect_train=debug,warn");
            return ExitCode::from(2);
        }
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    tracing_subscriber::registry().with(lines).with(filter).init();
    if cli.watch_stdin {
        end_with_the_runner();
    }
    let Some(path) = cli.job else { return ExitCode::from(2) };
    let reporter = Reporter::new(std::io::stdout());
    match read_job(&path, stage, identity).and_then(|job| {
        // Held until the process ends, however it ends.
        let _lock = lock_work(&job.work)?;
        guarded(|| run(&job, &reporter))
    }) {
        Ok(()) => {
            reporter.send(&Message::Done { peak_memory: peak_memory() });
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn read_job<P: DeserializeOwned, R: DeserializeOwned>(
    path: &Path,
    stage: &str,
    identity: &str,
) -> anyhow::Result<Job<P, R>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    #[derive(serde::Deserialize)]
    struct Head {
        format: String,
        stage: String,
        code: String,
    }
    let head: Head =
        serde_json::from_str(&text).with_context(|| format!("{} is not a job", path.display()))?;
    let major = |format: &str| format.split('.').next().map(str::to_owned);
    ensure!(
        major(&head.format) == major(JOB_FORMAT),
        "the job has format {}, this program speaks {JOB_FORMAT}: build both from the same sources",
        head.format
    );
    ensure!(head.stage == stage, "the job is for stage {}, this program is {stage}", head.stage);
    if head.code != identity {
        bail!("this program was built from code {identity}, the job expects {}: rebuild it", head.code);
    }
    serde_json::from_str(&text).with_context(|| format!("{} does not fit stage {stage}", path.display()))
}

/// Takes the lock of a work folder, which its stage program holds while it runs.
///
/// A killed runner can leave its program behind for a moment; nobody must write beside it.
///
/// # Errors
/// When the file cannot be created or locked.
pub fn lock_work(work: &Path) -> anyhow::Result<File> {
    let path = work.join("stage.lock");
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

/// What is logged, by `RESECT_LOG`; without it warnings and errors.
fn levels(given: Result<String, VarError>) -> Result<Targets, String> {
    match given {
        Ok(levels) => levels.parse().map_err(|error| format!("is {levels:?}: {error}")),
        Err(VarError::NotPresent) => Ok(Targets::new().with_default(LevelFilter::WARN)),
        Err(VarError::NotUnicode(_)) => Err("is not valid UTF-8".into()),
    }
}

fn end_with_the_runner() {
    std::thread::spawn(|| {
        let mut byte = [0];
        while !matches!(std::io::stdin().read(&mut byte), Ok(0) | Err(_)) {}
        std::process::exit(130);
    });
}

fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(kib.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests;
