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
    /// Print one JSON object instead of lines.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let said = resect_diff::compare(&cli.a, &cli.b).map_err(anyhow::Error::from).and_then(|report| {
        let text = if cli.json { serde_json::to_string_pretty(&report)? + "\n" } else { report.to_string() };
        Ok((report.equal, text))
    });
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
