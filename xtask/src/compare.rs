//! `cargo xtask compare`: runs side by side, best first, with what seeds alone would make of them.

use crate::figures::Figures;
use crate::ranking::{self, Scored};
use crate::record::RunRecord;
use crate::{StoreArgs, pipeline, plan, program, show, workspace};
use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use resect_artifact::{ArtifactId, Store};
use resect_report_job::{
    Against, COMPARISON_FORMAT, Comparison, ComparisonJob, Effect, Failed, Ranked, Verdict, Written,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Args)]
pub struct CompareArgs {
    /// Runs, or groups of runs that one command made: names, or what is enough of them [default: the pipeline's last group, or, where
    /// its last run is of none, its last 20 runs].
    #[arg(value_name = "RUN|GROUP")]
    runs: Vec<String>,
    /// What they are ranked by.
    #[arg(long, value_enum, default_value = "dice")]
    metric: Metric,
    /// Also write a page: one HTML file.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The pipeline file [default: pipeline.toml at the top of the workspace].
    #[arg(long, value_name = "FILE")]
    pipeline: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
    /// Run the programs in this folder instead of building them.
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
    /// Print one JSON object on standard output instead of lines.
    #[arg(long)]
    json: bool,
}

/// A figure of the tuned decoder, the mean over the test part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Metric {
    /// Dice at original size.
    Dice,
    /// IoU at original size.
    Iou,
    /// 95th percentile of border distances, pixels of the original image: the least is best.
    Hd95,
    /// Normalised surface Dice.
    Nsd,
    /// Dice on the low-res grid.
    LowResDice,
}

impl Metric {
    fn of(self, figures: &Figures) -> Option<f64> {
        match self {
            Self::Dice => figures.dice,
            Self::Iou => figures.iou,
            Self::Hd95 => figures.hd95,
            Self::Nsd => figures.nsd,
            Self::LowResDice => figures.low_res_dice,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Dice => "dice",
            Self::Iou => "iou",
            Self::Hd95 => "hd95",
            Self::Nsd => "nsd",
            Self::LowResDice => "low_res_dice",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Dice => "Dice",
            Self::Iou => "IoU",
            Self::Hd95 => "HD95",
            Self::Nsd => "NSD",
            Self::LowResDice => "low-res Dice",
        }
    }

    fn higher_is_better(self) -> bool {
        self != Self::Hd95
    }
}

/// Runs of a pipeline that are compared where no name says which.
const LAST: usize = 20;

pub fn main(args: &CompareArgs) -> anyhow::Result<ExitCode> {
    let store = args.store.open()?;
    let records = match args.runs.as_slice() {
        [] => last(&store, &pipeline::file(args.pipeline.as_deref())?)?,
        names => named(&store, names)?,
    };
    let comparison = comparison(&records, args.metric);
    ensure!(
        !comparison.rows.is_empty() || !comparison.failed.is_empty(),
        "none of {} runs has figures: `cargo xtask run` up to evaluate makes them",
        records.len()
    );
    if args.json {
        show::print(serde_json::to_string_pretty(&comparison)?);
    } else {
        lines(&comparison, args.metric).iter().for_each(show::print);
    }
    if let Some(out) = &args.out {
        write_page(args, comparison, out)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn write_page(args: &CompareArgs, comparison: Comparison, out: &Path) -> anyhow::Result<()> {
    let out = std::path::absolute(out)?;
    ensure!(!out.is_dir(), "--out: {} is a folder; name the file to write", out.display());
    if let Some(parent) = out.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    }
    let program = program::tool("report", args.bin_dir.as_deref(), false)?;
    let job = ComparisonJob { out: out.clone(), comparison };
    let mut written: Option<Written> = None;
    let status =
        program::run_tool(&program, &job, 0, |line| written = Some(line), |line| eprintln!("{line}"))?;
    ensure!(written.is_some(), "{} ended without a word ({status})", workspace::display(&program));
    if !args.json {
        show::print(format_args!("\nas a page: {}", workspace::display(&out)));
    }
    Ok(())
}

/// The runs that names mean, each once, in the order in which they began.
fn named(store: &Store, names: &[String]) -> anyhow::Result<Vec<RunRecord>> {
    let all = store.runs();
    let mut chosen = BTreeSet::new();
    for name in names {
        let found: Vec<&String> = match name.as_str() {
            "latest" => all.first().into_iter().collect(),
            // What a run of a group is called begins with the group's name.
            name => all.iter().filter(|run| run.starts_with(name)).collect(),
        };
        ensure!(!found.is_empty(), "there is no run or group {name}; `cargo xtask runs` lists them");
        chosen.extend(found.into_iter().cloned());
    }
    let read = |run: &String| {
        RunRecord::read(store, run).with_context(|| format!("the record of run {run} cannot be read"))
    };
    chosen.iter().map(read).collect()
}

/// A pipeline's last group, or its last runs.
fn last(store: &Store, pipeline: &Path) -> anyhow::Result<Vec<RunRecord>> {
    let names = store.runs();
    let mut found = Vec::new();
    for record in names.iter().filter_map(|run| RunRecord::read(store, run)) {
        if record.pipeline != pipeline {
            continue;
        }
        match (&record.group, found.is_empty()) {
            (Some(group), true) => return named(store, &[format!("{group}-")]),
            (Some(_), false) => break,
            (None, _) => found.push(record),
        }
        if found.len() == LAST {
            break;
        }
    }
    let shown = workspace::display(pipeline);
    ensure!(!found.is_empty(), "no run of {shown} is in the store; `cargo xtask runs` lists those that are");
    found.reverse();
    Ok(found)
}

/// Whether a setting can have to do with figures; seeds are told apart by themselves.
fn counts(setting: &str) -> bool {
    !setting.starts_with("runtime.") && !["train.seed", "train.seeds"].contains(&setting)
}

fn comparison(records: &[RunRecord], metric: Metric) -> Comparison {
    let settings: Vec<BTreeMap<String, String>> = records
        .iter()
        .map(|record| {
            let all = record.flat_settings().into_iter().filter(|(name, _)| counts(name));
            all.map(|(name, value)| (name, plan::plain(&value))).collect()
        })
        .collect();
    let names: BTreeSet<&String> = settings.iter().flat_map(BTreeMap::keys).collect();
    let differs = |name: &&&String| settings.iter().any(|of| of.get(**name) != settings[0].get(**name));
    let varying: Vec<String> = names.iter().filter(differs).map(|name| (*name).clone()).collect();

    let mut truths: Vec<Option<&ArtifactId>> = Vec::new();
    let (mut scored, mut failed) = (Vec::new(), Vec::new());
    for (record, settings) in records.iter().zip(&settings) {
        let targets = record.stages.iter().find_map(|step| step.artifacts.get("targets"));
        let truth = truths.iter().position(|known| *known == targets).unwrap_or_else(|| {
            truths.push(targets);
            truths.len() - 1
        });
        let found = scored.len();
        for (seed, _, metrics) in record.evaluations() {
            let of = |method: &str| metric.of(metrics.methods.get(method)?);
            let Some(value) = of("tuned") else { continue };
            let free = metrics.methods.keys().filter(|name| !["tuned", "untuned"].contains(&name.as_str()));
            let mut baselines: Vec<(String, f64)> =
                free.filter_map(|name| Some((name.clone(), of(name)?))).collect();
            baselines.sort_by(|a, b| b.1.total_cmp(&a.1));
            if !metric.higher_is_better() {
                baselines.reverse();
            }
            scored.push(Scored {
                run: record.run.clone(),
                seed,
                settings: varying
                    .iter()
                    .map(|name| settings.get(name).cloned().unwrap_or_else(|| "–".into()))
                    .collect(),
                truth: truth + 1,
                value,
                untuned: of("untuned"),
                baseline: baselines.into_iter().next(),
            });
        }
        if scored.len() == found {
            let step = record.stages.iter().find(|step| step.status == "failed");
            let reason = step.map_or_else(
                || format!("{}, without figures", record.status()),
                |step| format!("{}: {}", step.name, step.reason.lines().next().unwrap_or_default()),
            );
            failed.push(Failed { run: record.run.clone(), label: record.label(), reason });
        }
    }
    let rows = ranking::rank(&scored, metric.higher_is_better());
    let effects = ranking::effects(&scored, &varying);
    let notes = notes(&rows, metric);
    Comparison {
        format: COMPARISON_FORMAT.into(),
        title: title(records),
        metric: metric.name().into(),
        higher_is_better: metric.higher_is_better(),
        varying,
        rows,
        effects,
        failed,
        notes,
    }
}

fn title(records: &[RunRecord]) -> String {
    let pipelines: BTreeSet<String> = records
        .iter()
        .map(|record| record.pipeline.file_stem().unwrap_or_default().to_string_lossy().into_owned())
        .collect();
    let pipelines = pipelines.into_iter().collect::<Vec<_>>().join(", ");
    format!("{pipelines}: {} run{}", records.len(), if records.len() == 1 { "" } else { "s" })
}

fn notes(rows: &[Ranked], metric: Metric) -> Vec<String> {
    let mut notes = Vec::new();
    let Some(best) = rows.first() else { return notes };
    let truths = rows.iter().map(|row| row.truth).collect::<BTreeSet<_>>().len();
    if truths > 1 {
        notes.push(format!(
            "These rows are scored on {truths} different truths, because a setting changes masks or the split: across them, figures are \
             not of the same task and say nothing about which decoder is better."
        ));
    }
    if let Some((name, value)) = &best.baseline {
        let is_better = if metric.higher_is_better() { best.mean > *value } else { best.mean < *value };
        if !is_better {
            notes.push(format!(
                "No row is better than {name}, which needs no training ({value:.4} against {:.4} of the first row).",
                best.mean
            ));
        }
    }
    if rows.len() > 1 && rows.iter().any(|row| row.runs.len() == 1) {
        notes.push(
            "Of one seed no spread is known: nothing can be told from such a row's place (--set train.seeds=[0,1,2] gives three)."
                .into(),
        );
    }
    if rows.len() > 2 && rows.iter().any(|row| row.runs.len() > 1) {
        notes.push(format!(
            "\"Within the spread\" is said where the 95 % interval (Welch) of a row's difference from the first holds 0. The first of {} rows \
             is first partly by luck, and the intervals do not allow for that; they hold the noise of training alone, not that of other \
             images.",
            rows.len()
        ));
    }
    notes
}

/// The table, for people.
fn lines(comparison: &Comparison, metric: Metric) -> Vec<String> {
    let short = |name: &String| {
        let last = |name: &str| name.rsplit('.').next().unwrap_or(name).to_owned();
        let twice = comparison.varying.iter().filter(|other| last(other) == last(name)).count() > 1;
        if twice { name.clone() } else { last(name) }
    };
    let mut table = vec![
        [
            vec![metric.title().to_owned(), "±".into(), "seeds".into(), "less best".into(), String::new()],
            comparison.varying.iter().map(short).collect(),
        ]
        .concat(),
    ];
    for row in &comparison.rows {
        let figures = vec![
            format!("{:.4}", row.mean),
            row.deviation.map_or_else(|| "-".into(), |deviation| format!("{deviation:.4}")),
            row.runs.len().to_string(),
            row.difference.map_or_else(String::new, |difference| format!("{difference:+.4}")),
            verdict(row.verdict).into(),
        ];
        table.push([figures, row.settings.clone()].concat());
    }
    let mut lines = vec![comparison.title.clone(), String::new()];
    lines.extend(aligned(&table));
    if let Some(best) = comparison.rows.first() {
        lines.push(String::new());
        let number = |value: f64| format!("{value:.4}");
        let baseline = best.baseline.as_ref().map(|(name, value)| format!(", {name} {}", number(*value)));
        let untuned = best.untuned.map_or_else(|| "-".into(), number);
        lines.push(format!("on the first row's targets: untuned {untuned}{}", baseline.unwrap_or_default()));
    }
    if !comparison.effects.is_empty() {
        lines.push(String::new());
        lines.push("each setting on its own: runs that are equal in all else, the seed included".into());
        lines.extend(aligned(&effects(&comparison.effects, metric)));
    }
    for Failed { run, label, reason } in &comparison.failed {
        lines.push(format!("no figures: {run} ({label}): {reason}"));
    }
    for note in &comparison.notes {
        lines.push(String::new());
        lines.push(note.clone());
    }
    lines
}

fn effects(effects: &[Effect], metric: Metric) -> Vec<Vec<String>> {
    let mut table =
        vec![["", "", metric.title(), "runs", "difference", "95 %", "pairs"].map(str::to_owned).to_vec()];
    for Effect { setting, levels, truths_differ } in effects {
        for (i, level) in levels.iter().enumerate() {
            let against = level.against.map(|Against { pairs, difference, interval }| {
                let interval =
                    interval.map(|[low, high]| format!("{low:+.4} to {high:+.4}")).unwrap_or_default();
                [format!("{difference:+.4}"), interval, pairs.to_string()]
            });
            let name = if i == 0 { setting.clone() } else { String::new() };
            let caveat = if *truths_differ && i > 0 { "on another truth" } else { "" };
            let row = [name, level.value.clone(), format!("{:.4}", level.mean), level.runs.to_string()];
            table.push([row.to_vec(), against.unwrap_or_default().to_vec(), vec![caveat.into()]].concat());
        }
    }
    table
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Best => "best",
        Verdict::WithinSpread => "within the spread",
        Verdict::Behind => "",
        Verdict::NoSpread => "one seed",
        Verdict::OtherTruth => "another truth",
    }
}

/// Rows with their columns under each other.
fn aligned(table: &[Vec<String>]) -> Vec<String> {
    let columns = table.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = table.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    table.iter().map(line).collect()
}
