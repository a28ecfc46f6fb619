//! `cargo xtask diff A B`: what differs between two runs or two artifacts, and by how much.
//!
//! Which are meant is said here. Runs are compared by their records (`rundiff.rs`); artifacts by the program `resect-diff`, which prints
//! what it finds. `tools/diff` says how.

use crate::StoreArgs;
use crate::plan::Step;
use crate::record::RunRecord;
use crate::{program, rundiff, show, workspace};
use anyhow::{Context, bail, ensure};
use clap::Args;
use resect_artifact::Store;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

#[derive(Args)]
pub struct DiffArgs {
    /// A run: its name, what is enough of it, or `latest`. Or an artifact: the first digits of its id, or its folder. Or any folder
    /// or file.
    a: String,
    /// Another one of the same kind.
    b: String,
    /// Of two runs: the tuned decoder's metric on each target, dice, iou, precision, recall, hd95, surface_dice or mean_absolute_error.
    #[arg(long, value_name = "METRIC", num_args = 0..=1, default_missing_value = "dice")]
    samples: Option<String>,
    #[command(flatten)]
    store: StoreArgs,
    /// Run the programs in this folder instead of building them.
    #[arg(long, value_name = "DIR", env = "RESECT_BIN_DIR")]
    bin_dir: Option<PathBuf>,
    /// Print one JSON object on standard output instead of lines.
    #[arg(long)]
    json: bool,
}

/// What cannot be compared: exit code 2, because 1 says that the two differ.
const TROUBLE: u8 = 2;

pub fn main(args: &DiffArgs) -> anyhow::Result<ExitCode> {
    Ok(compare(args).unwrap_or_else(|error| {
        say!("error: {error:#}");
        ExitCode::from(TROUBLE)
    }))
}

fn compare(args: &DiffArgs) -> anyhow::Result<ExitCode> {
    let store = args.store.open()?;
    if let (Some(a), Some(b)) = (run(&args.a, &store)?, run(&args.b, &store)?) {
        let program = || program::tool("diff", args.bin_dir.as_deref(), false);
        return rundiff::print(&a, &b, &store, args.samples.as_deref(), args.json, program);
    }
    ensure!(args.samples.is_none(), "--samples is for two runs");
    let (a, b) = (find(&args.a, &store)?, find(&args.b, &store)?);
    let program = program::tool("diff", args.bin_dir.as_deref(), false)?;
    let json = args.json.then_some("--json");
    let output = Command::new(&program).arg(a).arg(b).args(json).output();
    let output = output.with_context(|| format!("cannot start {}", program.display()))?;
    String::from_utf8_lossy(&output.stderr).lines().for_each(|line| say!("{line}"));
    // Names of rows and texts are the data's: they pass through the runner on their way to a terminal.
    let said = String::from_utf8_lossy(&output.stdout);
    if !said.is_empty() {
        show::print(said.strip_suffix('\n').unwrap_or(&said));
    }
    let status = output.status;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    let code = code.with_context(|| format!("{} was ended ({status})", workspace::display(&program)))?;
    Ok(ExitCode::from(code))
}

/// The run that a name means, unless it is something on disk.
fn run(name: &str, store: &Store) -> anyhow::Result<Option<RunRecord>> {
    if Path::new(name).exists() { Ok(None) } else { RunRecord::find(store, name) }
}

/// The folder or file that a name means.
fn find(name: &str, store: &Store) -> anyhow::Result<PathBuf> {
    let path = Path::new(name);
    if path.exists() {
        return Ok(path.into());
    }
    let mut found = Vec::new();
    for kind in Step::ALL.into_iter().flat_map(Step::outputs) {
        found.extend(store.ids(kind, name)?.into_iter().map(|id| (kind, id)));
    }
    match found.as_slice() {
        [(kind, id)] => {
            store.check(kind, id).map_err(anyhow::Error::msg)?;
            Ok(store.path(kind, id))
        }
        [] => bail!(
            "there is no file, folder, artifact or run {name}; expected a path, or the first digits of an artifact's id as \
             `cargo xtask run` prints it"
        ),
        several => {
            let names: Vec<_> = several.iter().map(|(kind, id)| format!("{kind} {}", id.short())).collect();
            bail!("{name} can be any of {}; give more digits", names.join(", "))
        }
    }
}
