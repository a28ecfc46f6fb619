//! `cargo xtask export --artifact` and `import`: artifacts with all behind them as one file.

use crate::inspect::megabytes;
use crate::record::{self, RunRecord};
use crate::{StoreArgs, find, show, workspace};
use anyhow::{Context, ensure};
use clap::Args;
use resect_artifact::{Named, Pin, Store};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Writes an artifact, or all that a run names, to a file.
pub fn export(
    store: &Store,
    name: &str,
    without: &[String],
    out: &Path,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let wanted: Vec<Named> = match RunRecord::find(store, name)? {
        Some(run) => run.steps().flat_map(|step| step.artifacts.clone()).collect(),
        None => vec![find::artifact(name, store)?],
    };
    let wanted: Vec<Named> = wanted.into_iter().filter(|(kind, _)| !without.contains(kind)).collect();
    ensure!(!wanted.is_empty(), "{name} names no artifact that could be exported");
    let out = std::path::absolute(out)?;
    ensure!(
        !out.is_dir(),
        "--out: {} is a folder; name the file to write, such as embeddings.tar",
        out.display()
    );
    if let Some(parent) = out.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    }
    let ancestry = record::all(store)?.ancestry(wanted.iter().cloned());
    let contents = store.export(&wanted, &ancestry, without, &out)?;
    if json {
        let object = json!({ "format": "resect-archive-export/1.0", "file": out, "bytes": contents.bytes(), "contents": contents });
        show::print(serde_json::to_string_pretty(&object)?);
        return Ok(ExitCode::SUCCESS);
    }
    for (kind, id, bytes) in &contents.artifacts {
        show::print(format_args!("{kind:<11} {}  {:>9}", id.short(), megabytes(*bytes)));
    }
    for (kind, id) in &contents.left_out {
        show::print(format_args!("{kind:<11} {}  left out", id.short()));
    }
    let shown = workspace::display(&out);
    show::print(format_args!(
        "{shown}: {}; `cargo xtask import {shown}` takes it into another store",
        megabytes(contents.bytes())
    ));
    Ok(ExitCode::SUCCESS)
}

#[derive(Args)]
pub struct ImportArgs {
    /// An archive that `cargo xtask export --artifact` wrote.
    file: PathBuf,
    /// Do not pin what the archive was made for: until a run uses it, `gc` then removes it.
    #[arg(long)]
    no_pin: bool,
    #[command(flatten)]
    store: StoreArgs,
    /// Print one JSON object on standard output instead of lines.
    #[arg(long)]
    json: bool,
}

pub fn import(args: &ImportArgs) -> anyhow::Result<ExitCode> {
    let store = args.store.open()?;
    let imported = store.import(&args.file)?;
    // No run here names it yet.
    for (kind, id) in imported.wanted.iter().filter(|_| !args.no_pin) {
        let (what, since) = (format!("{kind}/{id}"), jiff::Timestamp::now().to_string());
        store.pin(&Pin { format: Pin::FORMAT.into(), what, note: "imported".into(), since })?;
    }
    if args.json {
        let object = json!({ "format": "resect-import/1.0", "imported": imported });
        show::print(serde_json::to_string_pretty(&object)?);
        return Ok(ExitCode::SUCCESS);
    }
    for (list, what) in [(&imported.new, "new"), (&imported.known, "was here")] {
        for (kind, id) in list {
            show::print(format_args!("{kind:<11} {}  {what}", id.short()));
        }
    }
    show::print(format_args!(
        "{} records are new; a run with the same settings and code reuses what came",
        imported.records
    ));
    Ok(ExitCode::SUCCESS)
}
