//! `cargo xtask gc` and `du`: what the store holds, and what of it nobody needs any more.

use crate::inspect::megabytes;
use crate::record::RunRecord;
use crate::show;
use crate::{StoreArgs, workspace};
use anyhow::{Context, ensure};
use clap::Args;
use resect_artifact::{Kept, Named, Retention, Store, Sweep};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

#[derive(Args)]
pub struct GcArgs {
    /// Keep the artifacts of so many of the latest runs [default: 20, and those of the last 30 days].
    #[arg(long, value_name = "N")]
    keep_runs: Option<usize>,
    /// Keep those of all runs that began within so many days; with --keep-runs whichever are more.
    #[arg(long, value_name = "DAYS")]
    keep_days: Option<u32>,
    /// Let artifacts take at most so many GB: the oldest runs go first. What is pinned, and what pipelines gave last, stays all the same.
    #[arg(long, value_name = "GB")]
    max_size: Option<f64>,
    /// Say what would go, and remove nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    store: StoreArgs,
    /// Print one JSON object on standard output instead of lines.
    #[arg(long)]
    json: bool,
}

pub fn main(args: &GcArgs) -> anyhow::Result<ExitCode> {
    let retention = args.retention()?;
    let store = if args.dry_run { args.store.open()? } else { args.store.open_alone()? };
    let sweep = sweep(&store, &retention)?;
    if !args.dry_run {
        store.remove(&sweep, |_| {})?;
    }
    if args.json {
        let object = json!({ "format": "resect-gc/1.0", "dry_run": args.dry_run, "bytes": sweep.bytes(), "sweep": sweep });
        show::print(serde_json::to_string_pretty(&object)?);
    } else {
        lines(&sweep, args.dry_run).iter().for_each(show::print);
    }
    Ok(ExitCode::SUCCESS)
}

impl GcArgs {
    fn retention(&self) -> anyhow::Result<Retention> {
        if let Some(gb) = self.max_size {
            ensure!(gb.is_finite() && gb >= 0.0, "--max-size: expected GB, such as 20, not {gb}");
        }
        let default = Retention::default();
        let days = |days: u32| Duration::from_secs(u64::from(days) * 86_400);
        // Who names one of both means that one.
        let (runs, age) = match (self.keep_runs, self.keep_days) {
            (None, None) => (default.runs, default.age),
            (runs, age) => (runs.unwrap_or(0), age.map_or(Duration::ZERO, days)),
        };
        Ok(Retention { runs, age, most_bytes: self.max_size.map(|gb| (gb * 1e9) as u64) })
    }
}

fn sweep(store: &Store, retention: &Retention) -> anyhow::Result<Sweep> {
    let sweep = || -> anyhow::Result<Sweep> {
        let mut runs = Vec::new();
        for run in store.runs()? {
            if let Some(record) = RunRecord::read(store, &run)? {
                runs.push(kept(&record).with_context(|| store.run_path(&run).display().to_string())?);
            }
        }
        Ok(store.sweep(&runs, retention, SystemTime::now())?)
    };
    sweep().context(
        "nothing is removed: what a record that cannot be read keeps is not known; repair or remove the file",
    )
}

fn kept(record: &RunRecord) -> anyhow::Result<Kept> {
    let began: jiff::Timestamp =
        record.started.parse().with_context(|| format!("\"started\" is {:?}, not a time", record.started))?;
    let artifacts = record.steps().flat_map(|step| step.artifacts.clone());
    Ok(Kept { run: record.run.clone(), began: began.into(), artifacts: artifacts.collect() })
}

fn lines(sweep: &Sweep, dry_run: bool) -> Vec<String> {
    let mut by_kind: BTreeMap<&str, (usize, u64)> = BTreeMap::new();
    for (kind, _, bytes) in &sweep.artifacts {
        let (count, sum) = by_kind.entry(kind).or_default();
        (*count, *sum) = (*count + 1, *sum + bytes);
    }
    let verb = if dry_run { "would remove" } else { "removed" };
    let mut lines: Vec<String> = by_kind
        .into_iter()
        .map(|(kind, (count, bytes))| format!("{verb} {count:>5} {kind:<11} {:>9}", megabytes(bytes)))
        .collect();
    let (records, leftovers) = (sweep.records.len(), sweep.leftovers.len());
    if records + leftovers > 0 {
        lines.push(format!("{verb} {records} records of artifacts that are gone, {leftovers} leftovers"));
    }
    if lines.is_empty() {
        lines.push("nothing to remove".into());
    }
    let (count, bytes) = sweep.kept;
    let free = if dry_run { "would be free" } else { "are free" };
    lines.push(format!(
        "{} {free}; {count} artifacts stay, {}, of {} runs",
        megabytes(sweep.bytes()),
        megabytes(bytes),
        sweep.kept_runs
    ));
    if sweep.over_budget {
        lines.push(
            "that is more than --max-size: what is pinned, what the last run gave and what pipelines gave last is never removed".into(),
        );
    }
    lines
}

#[derive(Args)]
pub struct DuArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// Print one JSON object on standard output instead of lines.
    #[arg(long)]
    json: bool,
}

pub fn du(args: &DuArgs) -> anyhow::Result<ExitCode> {
    let store = args.store.open()?;
    let sizes = store.sizes()?;
    let mut kinds: BTreeMap<&str, (usize, u64)> = BTreeMap::new();
    for ((kind, _), bytes) in &sizes {
        let (count, sum) = kinds.entry(kind).or_default();
        (*count, *sum) = (*count + 1, *sum + bytes);
    }
    let below = |dir: &str| -> anyhow::Result<u64> {
        let path = store.root().join(dir);
        let files = walkdir::WalkDir::new(&path).into_iter().filter(|_| path.exists());
        let size = |entry: walkdir::Result<walkdir::DirEntry>| {
            let entry = entry.with_context(|| format!("cannot list {}", path.display()))?;
            Ok(if entry.file_type().is_file() { entry.metadata().map_or(0, |found| found.len()) } else { 0 })
        };
        files.map(size).sum()
    };
    let rest = [
        ("records", below(".resect")? - below(".resect/work")?),
        ("work", below(".resect/work")?),
        ("logs", below("runs")?),
    ];
    let mut largest: Vec<(&Named, &u64)> = sizes.iter().collect();
    largest.sort_by(|a, b| (b.1, a.0).cmp(&(a.1, b.0)));
    largest.truncate(5);
    let total: u64 = sizes.values().sum();
    let freed = sweep(&store, &Retention::default())?;
    let pins = store.pins().all()?.len();
    if args.json {
        let kinds: BTreeMap<&str, Value> = kinds
            .into_iter()
            .map(|(kind, (count, bytes))| (kind, json!({ "artifacts": count, "bytes": bytes })))
            .collect();
        let largest: Vec<Value> = largest
            .iter()
            .map(|((kind, id), bytes)| json!({ "kind": kind, "id": id, "bytes": bytes }))
            .collect();
        let object = json!({
            "format": "resect-du/1.0", "bytes": total, "kinds": kinds, "largest": largest, "pins": pins,
            "other": rest.into_iter().collect::<BTreeMap<_, _>>(), "gc_would_free": freed.bytes(),
        });
        show::print(serde_json::to_string_pretty(&object)?);
        return Ok(ExitCode::SUCCESS);
    }
    show::print(format_args!("{}", workspace::display(store.root())));
    for (kind, (count, bytes)) in kinds {
        show::print(format_args!(
            "{kind:<12} {:>9}  {count} artifact{}",
            megabytes(bytes),
            if count == 1 { "" } else { "s" }
        ));
    }
    for (what, bytes) in rest.into_iter().filter(|(_, bytes)| *bytes > 0) {
        show::print(format_args!("{what:<12} {:>9}", megabytes(bytes)));
    }
    let all = total + rest.iter().map(|(_, bytes)| bytes).sum::<u64>();
    show::print(format_args!(
        "{:<12} {:>9}  {} pins; gc would free {}",
        "in all",
        megabytes(all),
        pins,
        megabytes(freed.bytes())
    ));
    for ((kind, id), bytes) in largest {
        show::print(format_args!("  {:>9}  {kind} {}", megabytes(*bytes), id.short()));
    }
    Ok(ExitCode::SUCCESS)
}
