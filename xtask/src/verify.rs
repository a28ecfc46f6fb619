//! `cargo xtask verify`: whether what is in the store is what it was.

use crate::show::{self, Screen};
use crate::{StoreArgs, find, interrupt};
use anyhow::{Context, bail};
use clap::Args;
use resect_artifact::{Hash, Named};
use serde_json::json;
use std::path::Path;
use std::process::ExitCode;

#[derive(Args)]
pub struct VerifyArgs {
    /// Artifacts: the first digits of their ids, or their folders [default: all].
    artifacts: Vec<String>,
    /// Report what is damaged and leave it where it is.
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    store: StoreArgs,
    /// Print one JSON object on standard output instead of lines.
    #[arg(long)]
    json: bool,
}

pub fn main(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let store = args.store.open()?;
    interrupt::watch()?;
    let named = args.artifacts.iter().map(|name| find::artifact(name, &store));
    let mut artifacts: Vec<Named> = named.collect::<anyhow::Result<_>>()?;
    let sizes = store.sizes()?;
    if artifacts.is_empty() {
        artifacts = sizes.keys().cloned().collect();
    }
    let bytes = |named: &Named| sizes.get(named).copied().unwrap_or_default();
    let screen = Screen::new(args.json);
    let mut working = screen.begin("verify", "", true, &format!("{} artifacts", artifacts.len()));
    let mut damaged = Vec::new();
    let all: u64 = artifacts.iter().map(bytes).sum();
    let mut done = 0;
    for named in &artifacts {
        let (kind, id) = named;
        if interrupt::requested() {
            bail!("interrupted; what was found until then was dealt with");
        }
        if let Err(damage) = store.verify(kind, id) {
            if !args.keep {
                store.discard_damaged(kind, id)?;
            }
            working.log(&damage);
            damaged.push(json!({ "kind": kind, "id": id, "damage": damage }));
        }
        done += bytes(named);
        working.bytes(kind, done, all);
    }
    working.clear();
    let records = if args.artifacts.is_empty() { unreadable(store.root())? } else { Vec::new() };
    for path in &records {
        screen.line(&format!(
            "{path} cannot be read; what it says is not known, and is made anew when it is needed"
        ));
    }
    let (sound, count) = (artifacts.len() - damaged.len(), damaged.len());
    if args.json {
        let object = json!({
            "format": "resect-verify/1.0", "sound": sound, "damaged": damaged, "removed": !args.keep, "unreadable_records": records,
        });
        show::print(serde_json::to_string_pretty(&object)?);
    } else {
        for one in &damaged {
            screen.line(&format!("damaged: {}", one["damage"].as_str().unwrap_or_default()));
        }
        let (plural, gb) = (if sound == 1 { "" } else { "s" }, all as f64 / 1e9);
        screen.line(&format!("{sound} artifact{plural} of {} sound, {gb:.2} GB hashed", artifacts.len()));
        match (count, args.keep) {
            (0, _) => {}
            (_, true) => screen.line("what is damaged was left where it is; without --keep it is removed and made anew by the next run"),
            (_, false) => screen.line("what was damaged is removed; `cargo xtask run` makes it anew"),
        }
    }
    Ok(if count == 0 && records.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Records that are no JSON objects any more.
fn unreadable(root: &Path) -> anyhow::Result<Vec<String>> {
    let private = root.join(".resect");
    let folders = ["actions", "runs", "latest", "pins"].map(|dir| private.join(dir));
    // There are no pins before the first one.
    let below = folders.iter().filter(|dir| dir.exists()).flat_map(walkdir::WalkDir::new);
    let mut paths = Vec::new();
    for entry in below {
        let entry = entry.context("cannot list the records")?;
        let path = entry.path();
        let is_json = path.extension().is_some_and(|extension| extension == "json");
        if entry.file_type().is_file() && is_json && !is_sound(path) {
            paths.push(crate::workspace::display(path));
        }
    }
    paths.sort();
    Ok(paths)
}

/// Whether a record is a JSON object and, if it is an action, belongs to its key.
fn is_sound(path: &Path) -> bool {
    let value = std::fs::read(path).map(|text| serde_json::from_slice::<serde_json::Value>(&text));
    let Ok(Ok(value)) = value else { return false };
    // Of an action, the key is the hash of what it was made of.
    let key = value.get("document").map(|document| Hash::key(document).to_string());
    value.is_object() && key.is_none_or(|key| value["key"] == key)
}
