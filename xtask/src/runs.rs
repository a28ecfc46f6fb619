//! `cargo xtask runs`: the runs that left a record, the latest first.

use crate::record::{RunRecord, age, readable};
use crate::{StoreArgs, ranking, show, workspace};
use clap::Args;
use serde_json::json;
use std::process::ExitCode;

#[derive(Args)]
pub struct RunsArgs {
    /// How many.
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// All of them.
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    #[command(flatten)]
    store: StoreArgs,
    /// Print one JSON object on standard output instead of lines.
    #[arg(long)]
    json: bool,
}

pub fn main(args: &RunsArgs) -> anyhow::Result<ExitCode> {
    let store = args.store.open()?;
    let names = store.runs()?;
    let shown = if args.all { names.len() } else { args.limit.min(names.len()) };
    // A run whose record was removed meanwhile is none.
    let records = names[..shown].iter().filter_map(|run| RunRecord::read(&store, run).transpose());
    let records: Vec<RunRecord> = readable(records.collect());
    if args.json {
        let summary = |record: &RunRecord| {
            json!({
                "run": record.run, "group": record.group, "variant": record.variant, "status": record.status(),
                "pipeline": record.pipeline, "set": record.sets(), "started": record.started, "seconds": record.seconds,
                "ran": ran(record), "dice": record.dice(),
            })
        };
        let runs: Vec<_> = records.iter().map(summary).collect();
        show::print(serde_json::to_string_pretty(&json!({ "format": "resect-run-list/1.0", "runs": runs }))?);
        return Ok(ExitCode::SUCCESS);
    }
    if names.is_empty() {
        show::print(format_args!("no run has left a record in {}", workspace::display(store.root())));
    }
    let now = jiff::Timestamp::now();
    let figures: Vec<String> = records.iter().map(|record| dice(&record.dice())).collect();
    let width = records.iter().map(|record| record.run.len()).max().unwrap_or_default();
    let figures_width = figures.iter().map(|text| text.chars().count()).max().unwrap_or_default();
    for (record, dice) in records.iter().zip(&figures) {
        let pipeline = record.pipeline.file_name().unwrap_or_default().to_string_lossy();
        let ran = ran(record);
        let ran = if ran.is_empty() { "nothing to do".to_owned() } else { format!("ran {}", ran.join(", ")) };
        let ended = if record.status() == "done" { ran } else { format!("{}, {ran}", record.status()) };
        let row = format!(
            "{:<width$}  {:<11} {dice:<figures_width$}  {pipeline}  {ended}  {}",
            record.run,
            age(&record.started, now),
            record.label()
        );
        show::print(row.trim_end());
    }
    if shown < names.len() {
        show::print(format_args!("{} earlier ones: --all, or --limit N", names.len() - shown));
    }
    Ok(ExitCode::SUCCESS)
}

/// The mean over seeds, with their standard deviation.
fn dice(seeds: &[f64]) -> String {
    match (seeds, ranking::deviation(seeds)) {
        ([], _) => String::new(),
        (seeds, Some(deviation)) => {
            format!("Dice {:.4} ± {deviation:.4}, {} seeds", ranking::mean(seeds), seeds.len())
        }
        (seeds, None) => format!("Dice {:.4}", ranking::mean(seeds)),
    }
}

/// The stages that ran, each once, however many seeds it ran with.
fn ran(record: &RunRecord) -> Vec<&str> {
    let mut ran: Vec<&str> = Vec::new();
    for step in record.stages.iter().filter(|step| step.status == "ran") {
        if !ran.contains(&step.name.as_str()) {
            ran.push(&step.name);
        }
    }
    ran
}
