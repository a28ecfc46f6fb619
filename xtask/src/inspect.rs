//! `cargo xtask show RUN|ARTIFACT`: all that is known of one.

use crate::figures::Figures;
use crate::record::{self, RunRecord, flat, readable};
use crate::{StoreArgs, find, pipeline, plan, show, workspace};
use anyhow::Context;
use clap::Args;
use resect_artifact::{Action, ArtifactId, Key, Manifest, Named, Pin, Records, Store};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

#[derive(Args)]
pub struct ShowArgs {
    /// A run (its name, what is enough of it, or `latest`), or an artifact (the first digits of its id, or its folder).
    what: String,
    #[command(flatten)]
    store: StoreArgs,
    /// Print one JSON object on standard output instead of lines.
    #[arg(long)]
    json: bool,
}

pub fn main(args: &ShowArgs) -> anyhow::Result<ExitCode> {
    let store = args.store.open()?;
    let lines = match RunRecord::find(&store, &args.what)? {
        Some(run) if args.json => vec![serde_json::to_string_pretty(&store.run(&run.run)?)?],
        Some(run) => lines_of_run(&run, pin(&store, &run.run).as_ref())?,
        None => {
            let (kind, id) = find::artifact(&args.what, &store)?;
            let artifact = Artifact::read(&kind, &id, &store)?;
            if args.json { vec![serde_json::to_string_pretty(&artifact.json())?] } else { artifact.lines() }
        }
    };
    lines.iter().for_each(show::print);
    Ok(ExitCode::SUCCESS)
}

/// What keeps a run, or an artifact as `kind/id`, from being removed.
fn pin(store: &Store, what: &str) -> Option<Pin> {
    readable(store.pins()).into_iter().find(|pin| pin.what == what)
}

fn pinned(pin: &Pin) -> String {
    let note = if pin.note.is_empty() { String::new() } else { format!(": {}", pin.note) };
    format!("pinned since {}{note}", pin.since)
}

fn lines_of_run(run: &RunRecord, pin: Option<&Pin>) -> anyhow::Result<Vec<String>> {
    let mut lines = vec![format!(
        "run {}: {}, {}, began {}",
        run.run,
        run.status(),
        show::duration(run.seconds),
        run.started
    )];
    lines.extend(pin.map(pinned));
    lines.push(format!("pipeline {}", workspace::display(&run.pipeline)));
    if !run.sets().is_empty() {
        lines.push(format!("set      {}", run.sets().join("  ")));
    }
    lines.extend(run.device.iter().map(|device| format!("device   {device}")));
    if let Some(group) = &run.group {
        lines.push(format!("group    {group}, of which it is: {}", run.label()));
    }
    let version = |field: &str| run.versions.get(field).and_then(Value::as_str).unwrap_or("not recorded");
    if let Some(checkout) = &run.checkout {
        let changed = if checkout.changed { ", with changes that are in no commit" } else { "" };
        lines.push(format!("commit   {}{changed}", checkout.commit));
    }
    if !run.versions.is_empty() {
        let [resect, rustc, os, arch] = ["resect", "rustc", "os", "arch"].map(version);
        lines.push(format!("with     Resect {resect}, {rustc}, {os} {arch}"));
    }
    lines.push(String::new());
    lines.push("settings that are not the default".into());
    lines.extend(changed_settings(run)?.into_iter().map(|(name, value, default)| {
        let default =
            default.map(|default| format!("   (default {})", plan::plain(&default))).unwrap_or_default();
        format!("  {name:<26} {}{default}", plan::plain(&value))
    }));
    lines.push(String::new());
    lines.push(format!("{:<16} {:<8} {:>8} {:>9}  {:<12} artifacts", "step", "", "time", "memory", "key"));
    for step in run.steps() {
        let label = step.seed.map(|seed| format!(", seed {seed}"));
        let label = label.or_else(|| step.shard.map(|shard| format!(", shard {shard}"))).unwrap_or_default();
        let name = format!("{}{label}", step.name);
        let memory = step.peak_memory.map(megabytes).unwrap_or_default();
        let time = if step.status == "ran" { show::duration(step.seconds) } else { String::new() };
        let key = step.key.as_ref().map(Key::short).unwrap_or_default();
        let made: Vec<String> =
            step.artifacts.iter().map(|(kind, id)| format!("{kind} {}", id.short())).collect();
        let row =
            format!("{name:<16} {:<8} {time:>8} {memory:>9}  {key:<12} {}", step.status, made.join("  "));
        lines.push(row.trim_end().to_owned());
        if step.status == "failed" {
            lines.extend(step.reason.lines().map(|line| format!("  {line}")));
        }
    }
    let mut places: BTreeSet<String> = BTreeSet::new();
    for step in run.steps() {
        if let Some(Value::Object(fields)) = &step.provenance {
            let fields = fields.iter().map(|(name, value)| format!("{name} {}", plan::plain(value)));
            places.insert(format!("{}: {}", step.name, fields.collect::<Vec<_>>().join(", ")));
        }
    }
    lines.extend(places);
    for (seed, _, metrics) in run.evaluations() {
        let seed = seed.filter(|_| run.evaluations().count() > 1).map(|seed| format!(", seed {seed}"));
        lines.push(String::new());
        let (targets, epoch) = (metrics.targets, metrics.epoch);
        lines.push(format!(
            "{targets} test targets, tight boxes; tuned is epoch {epoch}{}",
            seed.unwrap_or_default()
        ));
        lines.push(format!("{:<9} {:>7} {:>7} {:>7} {:>7}", "", "Dice", "IoU", "HD95", "NSD"));
        let order = ["box", "ellipse", "otsu", "untuned", "tuned"];
        let methods = order.into_iter().filter_map(|method| Some((method, metrics.methods.get(method)?)));
        lines.extend(methods.map(|(method, figures)| row_of_figures(method, figures)));
    }
    Ok(lines)
}

fn row_of_figures(method: &str, Figures { dice, iou, hd95, nsd, .. }: &Figures) -> String {
    let number =
        |value: &Option<f64>, decimals| value.map_or_else(|| "-".into(), |x| format!("{x:.decimals$}"));
    let [dice, iou, nsd] = [dice, iou, nsd].map(|value| number(value, 4));
    format!("{method:<9} {dice:>7} {iou:>7} {:>7} {nsd:>7}", number(hd95, 1))
}

/// Name, value and default of what is not the default.
fn changed_settings(run: &RunRecord) -> anyhow::Result<Vec<(String, Value, Option<Value>)>> {
    let defaults = flat(&pipeline::defaults(&run.settings)?);
    let settings = run.flat_settings().into_iter();
    let changed =
        settings.filter(|(name, value)| name.ends_with(".kind") || defaults.get(name) != Some(value));
    Ok(changed.map(|(name, value)| (name.clone(), value, defaults.get(&name).cloned())).collect())
}

pub fn megabytes(bytes: u64) -> String {
    match bytes as f64 / 1e6 {
        mb if mb < 1000.0 => format!("{mb:.0} MB"),
        mb => format!("{:.1} GB", mb / 1000.0),
    }
}

/// An artifact and what records say of it.
struct Artifact {
    kind: String,
    id: ArtifactId,
    folder: std::path::PathBuf,
    manifest: Manifest,
    /// The small JSON files in it, by name.
    headers: BTreeMap<String, Value>,
    records: Records,
    pin: Option<Pin>,
}

/// A JSON file of more bytes is data, not a header.
const HEADER: u64 = 64 << 10;

impl Artifact {
    fn read(kind: &str, id: &ArtifactId, store: &Store) -> anyhow::Result<Self> {
        let manifest = store.check(kind, id).map_err(anyhow::Error::msg)?;
        let folder = store.path(kind, id);
        let small = manifest.files.iter().filter(|file| file.path.ends_with(".json") && file.size <= HEADER);
        let header = |name: &String| -> anyhow::Result<Value> {
            let path = folder.join(name);
            let text = std::fs::read(&path);
            let value = text.map_err(anyhow::Error::from).and_then(|text| Ok(serde_json::from_slice(&text)?));
            value.with_context(|| format!("cannot read {}", path.display()))
        };
        let headers = small.map(|file| Ok((file.path.clone(), header(&file.path)?)));
        let headers = headers.collect::<anyhow::Result<_>>()?;
        let pin = pin(store, &format!("{kind}/{id}"));
        let (kind, id) = (kind.to_owned(), id.clone());
        Ok(Self { kind, id, folder, manifest, headers, records: record::all(store)?, pin })
    }

    /// The records of what was made from it.
    fn used_by(&self) -> impl Iterator<Item = &Action> {
        let this: Named = (self.kind.clone(), self.id.clone());
        self.records.actions().iter().filter(move |action| action.inputs().contains(&this))
    }

    fn json(&self) -> Value {
        let ancestry = self.records.ancestry([(self.kind.clone(), self.id.clone())]);
        json!({
            "format": "resect-artifact/1.0",
            "kind": self.kind,
            "id": self.id,
            "folder": self.folder,
            "bytes": self.manifest.bytes(),
            "files": self.manifest.files,
            "metadata": self.headers,
            "made_by": self.records.makers(&self.kind, &self.id).collect::<Vec<_>>(),
            "ancestry": ancestry.artifacts,
            "used_by": self.used_by().collect::<Vec<_>>(),
            "pin": self.pin,
        })
    }

    fn lines(&self) -> Vec<String> {
        let files = self.manifest.files.len();
        let mut lines = vec![
            format!("{} {}", self.kind, self.id),
            format!(
                "{}: {files} files, {}",
                workspace::display(&self.folder),
                megabytes(self.manifest.bytes())
            ),
        ];
        lines.extend(self.pin.as_ref().map(pinned));
        lines.push(String::new());
        const MOST: usize = 12;
        for file in self.manifest.files.iter().take(MOST) {
            lines.push(format!("  {:<32} {:>12}  {}", file.path, file.size, file.blake3.short()));
        }
        if files > MOST {
            lines.push(format!("  and {} more; --json has all", files - MOST));
        }
        for (name, header) in &self.headers {
            lines.push(String::new());
            lines.push(name.clone());
            let fields = header.as_object().into_iter().flatten();
            let scalars = fields
                .filter(|(_, value)| !value.is_object() && value.as_array().is_none_or(|a| a.len() <= 4));
            lines.extend(scalars.map(|(field, value)| format!("  {field:<26} {}", plan::plain(value))));
        }
        lines.push(String::new());
        match self.records.makers(&self.kind, &self.id).next() {
            Some(action) => lines.extend(made_by(action)),
            None => lines.push("no record says what made it".into()),
        }
        lines.push(String::new());
        lines.push("made from".into());
        let mut said = BTreeSet::new();
        self.tree(&(self.kind.clone(), self.id.clone()), 1, &mut said, &mut lines);
        let used: BTreeSet<String> = self
            .used_by()
            .flat_map(|action| action.outputs.iter().map(|(kind, id)| format!("{kind} {}", id.short())))
            .collect();
        if !used.is_empty() {
            let runs: BTreeSet<String> = self.used_by().map(|action| action.run.clone()).collect();
            lines.push(String::new());
            lines.push(format!("{} made from it: {}", used.len(), first_few(&used)));
            lines.push(format!("by {}: {}", if runs.len() == 1 { "run" } else { "runs" }, first_few(&runs)));
        }
        lines
    }

    /// What an artifact was made from, each with what that was made from.
    fn tree(&self, of: &Named, depth: usize, said: &mut BTreeSet<Named>, lines: &mut Vec<String>) {
        let Some(maker) = self.records.makers(&of.0, &of.1).next() else { return };
        for input in maker.inputs() {
            let again = !said.insert(input.clone());
            let has_inputs =
                self.records.makers(&input.0, &input.1).next().is_some_and(|a| !a.inputs().is_empty());
            let above = if again && has_inputs { " (see above)" } else { "" };
            lines.push(format!("{:indent$}{} {}{above}", "", input.0, input.1.short(), indent = 2 * depth));
            if !again {
                self.tree(&input, depth + 1, said, lines);
            }
        }
    }
}

fn first_few(names: &BTreeSet<String>) -> String {
    const FEW: usize = 8;
    let shown: Vec<&str> = names.iter().take(FEW).map(String::as_str).collect();
    let more = names.len() - shown.len();
    let more = if more > 0 { format!(" and {more} more; --json has all") } else { String::new() };
    shown.join(", ") + &more
}

/// How an artifact was made, and with which settings.
fn made_by(action: &Action) -> Vec<String> {
    let memory = action.peak_memory.map(|bytes| format!(", {}", megabytes(bytes))).unwrap_or_default();
    let mut lines = vec![format!(
        "made by {} in run {}, finished {}, {}{memory}",
        action.stage,
        action.run,
        action.finished,
        show::duration(action.seconds)
    )];
    if let Some(accepted) = &action.accepted {
        lines.push(format!("  accepted: {}", accepted.reason));
    }
    lines.push(format!("  key      {}", action.key));
    for field in ["code", "numeric"] {
        if let Some(value) = action.document[field].as_str() {
            lines.push(format!("  {field:<8} {value}"));
        }
    }
    let params = action.document["params"].as_object().into_iter().flatten();
    lines.extend(params.map(|(name, value)| format!("  {name:<26} {}", plan::plain(value))));
    lines
}
