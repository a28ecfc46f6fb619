//! `cargo xtask pin`: what `gc` never removes.

use crate::record::{RunRecord, readable};
use crate::{StoreArgs, find, show};
use anyhow::ensure;
use clap::Args;
use resect_artifact::{Pin, Store};
use std::process::ExitCode;

#[derive(Args)]
pub struct PinArgs {
    /// Runs (names, what is enough of them, or `latest`) or artifacts (the first digits of their ids) [default: list what is pinned].
    #[arg(value_name = "RUN|ARTIFACT")]
    what: Vec<String>,
    /// Why, for whoever reads the list.
    #[arg(long, default_value = "")]
    note: String,
    /// Remove the pin instead.
    #[arg(long, requires = "what")]
    remove: bool,
    #[command(flatten)]
    store: StoreArgs,
    /// Print one JSON object on standard output instead of lines.
    #[arg(long)]
    json: bool,
}

pub fn main(args: &PinArgs) -> anyhow::Result<ExitCode> {
    let store = args.store.open()?;
    for name in &args.what {
        let what = target(name, &store)?;
        if args.remove {
            ensure!(store.unpin(&what)?, "{what} is not pinned; `cargo xtask pin` lists what is");
        } else {
            let since = jiff::Timestamp::now().to_string();
            store.pin(&Pin { format: Pin::FORMAT.into(), what, note: args.note.clone(), since })?;
        }
    }
    let pins = readable(store.pins());
    if args.json {
        show::print(serde_json::to_string_pretty(
            &serde_json::json!({ "format": "resect-pins/1.0", "pins": pins }),
        )?);
    } else if pins.is_empty() {
        show::print("nothing is pinned");
    }
    for Pin { what, note, since, .. } in pins.iter().filter(|_| !args.json) {
        let short = match what.split_once('/') {
            Some((kind, id)) => format!("{kind} {}", &id[..id.len().min(12)]),
            None => format!("run {what}"),
        };
        show::print(format!("{short:<36} since {:<10}  {note}", &since[..since.len().min(10)]).trim_end());
    }
    Ok(ExitCode::SUCCESS)
}

/// What is pinned: a run by its name, an artifact by its kind and id.
fn target(name: &str, store: &Store) -> anyhow::Result<String> {
    // What is pinned may be gone; then its name is all there is.
    if let Some(pin) = readable(store.pins()).into_iter().find(|pin| pin.what == name) {
        return Ok(pin.what);
    }
    if let Some(run) = RunRecord::find(store, name)? {
        return Ok(run.run);
    }
    let (kind, id) = find::artifact(name, store)?;
    Ok(format!("{kind}/{id}"))
}
