//! `resect-diff`, which `cargo xtask diff` starts with the folders or files that are meant. Exit codes are those of `diff`: 0
//! equal, 1 different, 2 not comparable.

use clap::Parser;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
#[command(about = "What differs between two artifacts; `cargo xtask diff` starts it")]
struct Cli {
    /// A folder or file.
    a: PathBuf,
    /// Another one of the same kind.
    b: PathBuf,
    /// Of two evaluations: this metric of each target, such as dice.
    #[arg(long, value_name = "METRIC")]
    samples: Option<String>,
    /// Print one JSON object instead of lines.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let said = match &cli.samples {
        Some(metric) => samples(&cli, metric),
        None => compare(&cli),
    };
    match said {
        Ok((equal, text)) => {
            // A reader that has seen enough (`| head`) is no error.
            let _ = std::io::stdout().write_all(text.as_bytes());
            if equal { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether all is equal, and what is said.
fn compare(cli: &Cli) -> anyhow::Result<(bool, String)> {
    let report = resect_diff::compare(&cli.a, &cli.b)?;
    let text = if cli.json { serde_json::to_string_pretty(&report)? + "\n" } else { report.to_string() };
    Ok((report.equal, text))
}

fn samples(cli: &Cli, metric: &str) -> anyhow::Result<(bool, String)> {
    let samples = resect_diff::samples(&cli.a, &cli.b, metric)?;
    let text = if cli.json { serde_json::to_string_pretty(&samples)? + "\n" } else { samples.to_string() };
    Ok((samples.unpaired == 0 && samples.targets.iter().all(|pair| pair.a == pair.b), text))
}
