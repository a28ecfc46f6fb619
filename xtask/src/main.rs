//! `cargo xtask`: the runner of the Resect pipeline.
//!
//! It is light on purpose: it links no deep learning library, so a run in which nothing changed is over before a
//! stage program would have started. One module for each command, over those that they share: [`pipeline`] (the
//! file), [`sources`] (where data and weights come from), [`plan`] (what the stages are and what their keys are
//! made of), [`program`] (building and spawning the programs of stages and tools) and others that ARCHITECTURE.md lists.

// Only `show` writes to standard output and standard error. `clippy.toml` beside the manifest forbids the streams themselves.
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

/// Prints a message on standard error through [`show::say`], which escapes control characters: messages may contain text from data.
/// Unlike `eprintln!` it does not panic when the reader of standard error has gone away (`2>&1 | head`).
macro_rules! say {
    ($($message:tt)*) => { $crate::show::say(format_args!($($message)*)) };
}

mod archive;
mod card;
mod code;
mod compare;
mod device;
mod diff;
mod export;
mod figures;
mod find;
mod gc;
mod hub;
mod inspect;
mod interrupt;
mod lineage;
mod lockfile;
mod log;
mod matrix;
mod pin;
mod pipeline;
mod plan;
mod predict;
mod program;
mod ranking;
mod record;
mod remote;
mod report;
mod run;
mod rundiff;
mod runs;
mod schedule;
mod select;
mod show;
mod sound;
mod sources;
mod spread;
mod status;
mod subject;
mod test;
mod usage;
mod verify;
mod why;
mod work;
mod workspace;

use clap::{Args, Parser, Subcommand};
use resect_artifact::{Hold, Store, StoreError};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::OnceLock;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Fine-tune SAM on medical images as a reproducible pipeline"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the pipeline: what changed runs, the rest is reused.
    Run(run::RunArgs),
    /// Say for each stage whether it is up to date, and why not.
    Status(status::StatusArgs),
    /// Say why a stage would run now, setting by setting.
    Why(why::WhyArgs),
    /// List the runs, the latest first.
    Runs(runs::RunsArgs),
    /// Show all that is known of a run or an artifact.
    Show(inspect::ShowArgs),
    /// Set runs side by side, best first, with the spread of seeds.
    Compare(compare::CompareArgs),
    /// Write a checkpoint as a folder that `transformers` or the original code opens, with a model card.
    Export(export::ExportArgs),
    /// Predict masks for images from boxes, points or masks.
    Predict(predict::PredictArgs),
    /// Write one HTML file that shows a tuned checkpoint: figures, curves, a gallery, the recipe, every hash.
    Report(report::ReportArgs),
    /// Say what differs between two runs or two artifacts, and by how much: exit code 0 equal, 1 different, 2 not comparable.
    Diff(diff::DiffArgs),
    /// Hash what is in the store again; what is damaged is removed, and made anew by the next run.
    Verify(verify::VerifyArgs),
    /// Remove what neither recent runs nor pins reach.
    Gc(gc::GcArgs),
    /// Say how much room the store takes, by kind.
    Du(gc::DuArgs),
    /// Keep runs or artifacts from `gc`; list what is kept.
    Pin(pin::PinArgs),
    /// Send what the pipeline gave, or runs or artifacts, to a store that machines share.
    Push(remote::PushArgs),
    /// Fetch what the pipeline's keys name, or artifacts, from a store that machines share; nothing runs.
    Pull(remote::PullArgs),
    /// Take an archive of `export --artifact` into the store.
    Import(archive::ImportArgs),
    /// Run the tests; `--interop` adds those that need Python, pyarrow or a browser.
    Test(test::TestArgs),
}

/// Which store.
#[derive(Args, Clone)]
pub struct StoreArgs {
    /// Where artifacts are kept [default: artifacts/ at the top of the workspace].
    #[arg(long, value_name = "DIR", env = "RESECT_STORE")]
    store: Option<PathBuf>,
}

impl StoreArgs {
    /// Opens it, and holds it as long as the runner lives: nothing is removed from it meanwhile.
    ///
    /// # Errors
    /// A folder that cannot be made or read.
    pub fn open(&self) -> anyhow::Result<Store> {
        self.hold(|store| store.hold(|| say!("waiting for somebody who removes from the store")))
    }

    /// Opens it for somebody who removes from it: after all others are done with it.
    ///
    /// # Errors
    /// As there.
    pub fn open_alone(&self) -> anyhow::Result<Store> {
        self.hold(|store| store.alone(|| say!("waiting for others who use the store")).map(Some))
    }

    fn hold(&self, hold: impl FnOnce(&Store) -> Result<Option<Hold>, StoreError>) -> anyhow::Result<Store> {
        static HELD: OnceLock<Hold> = OnceLock::new();
        let root = self.store.clone().unwrap_or_else(|| workspace::root().join("artifacts"));
        let store = Store::open(&std::path::absolute(root)?)?;
        if let Some(held) = hold(&store)? {
            let _ = HELD.set(held);
        }
        Ok(store)
    }
}

/// Which pipeline, with which settings, in which store.
#[derive(Args, Clone)]
pub struct PipelineArgs {
    /// The pipeline file [default: pipeline.toml at the top of the workspace].
    #[arg(long, value_name = "FILE")]
    pub pipeline: Option<PathBuf>,
    /// Change a setting for this run, such as `--set train.learning_rate=3e-5`. Repeatable. With several values, such as
    /// `--set train.learning_rate=1e-5,3e-5`, every combination is a run.
    #[arg(long = "set", value_name = "SETTING=VALUE")]
    pub set: Vec<String>,
    /// Where embed, train and evaluate compute: cpu, cuda, cuda:N, or auto, which is cuda:0 if there is one, else cpu
    /// [default: what [device] says of each].
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<resect_device::Choice>,
    /// Which store.
    #[command(flatten)]
    pub store: StoreArgs,
    /// Which shared one.
    #[command(flatten)]
    pub remote: remote::RemoteArgs,
    /// Run the stage programs in this folder instead of building them.
    #[arg(long, value_name = "DIR", env = "RESECT_BIN_DIR")]
    pub bin_dir: Option<PathBuf>,
    /// Reuse what this stage gave before its code changed, for an edit that cannot change its output. Repeatable.
    ///
    /// Recorded: later runs reuse it without the flag, and `why` says so. `run --force STAGE` ends it.
    #[arg(long, value_name = "STAGE")]
    pub accept_code: Vec<plan::Step>,
    /// Reuse what this stage gave on another kind of device or processor. Repeatable; recorded as above.
    #[arg(long, value_name = "STAGE")]
    pub accept_device: Vec<plan::Step>,
    /// Ask nobody: what is needed from the Hub must be in the lock file and the cache (as HF_HUB_OFFLINE=1).
    #[arg(long)]
    pub offline: bool,
    /// Resolve branches and tags on the Hub anew and move the lock file to what they are now.
    #[arg(long, conflicts_with = "offline")]
    pub update: bool,
    /// Hash every byte of what is reused, not only of what a stage reads.
    #[arg(long)]
    pub verify: bool,
    /// Print one JSON object on standard output instead of lines.
    #[arg(long)]
    pub json: bool,
}

/// What to do where the system refused, by its words in whatever program's error.
const HINTS: [(&str, &str); 3] = [
    (
        "(os error 28)",
        "the disk is full: what was finished is kept, `cargo xtask gc --dry-run` says what of the store can go, and the same command goes on from there",
    ),
    (
        "(os error 30)",
        "the disk is read-only: mount it for writing, or name another store (--store, RESECT_STORE)",
    ),
    ("(os error 13)", "this user may not: change whose it is, or name another store (--store, RESECT_STORE)"),
];

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Run(args) => run::main(&args),
        Command::Status(args) => status::main(&args),
        Command::Why(args) => why::main(&args),
        Command::Runs(args) => runs::main(&args),
        Command::Show(args) => inspect::main(&args),
        Command::Compare(args) => compare::main(&args),
        Command::Export(args) => export::main(&args),
        Command::Predict(args) => predict::main(&args),
        Command::Report(args) => report::main(&args),
        Command::Diff(args) => diff::main(&args),
        Command::Verify(args) => verify::main(&args),
        Command::Gc(args) => gc::main(&args),
        Command::Du(args) => gc::du(&args),
        Command::Pin(args) => pin::main(&args),
        Command::Push(args) => remote::push(&args),
        Command::Pull(args) => remote::pull(&args),
        Command::Import(args) => archive::import(&args),
        Command::Test(args) => test::main(&args),
    };
    match done {
        Ok(code) => code,
        Err(error) if error.downcast_ref::<pipeline::PipelineErrors>().is_some() => {
            say!("{error}");
            ExitCode::from(2)
        }
        Err(error) => {
            let said = format!("{error:#}");
            say!("error: {said}");
            if let Some((_, hint)) = HINTS.iter().find(|(words, _)| said.contains(words)) {
                say!("{hint}");
            }
            if error.downcast_ref::<usage::Usage>().is_some() {
                return ExitCode::from(2);
            }
            ExitCode::FAILURE
        }
    }
}
