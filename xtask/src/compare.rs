//! `cargo xtask compare`: runs side by side, best first, with what seeds alone would make of them.

use crate::figures::{Figures, Metrics};
use crate::ranking::{self, Scored};
use crate::record::RunRecord;
use crate::usage::Usage;
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
    /// its last run is of none, its last 20 runs that were scored].
    #[arg(value_name = "RUN|GROUP")]
    runs: Vec<String>,
    /// Tell rows apart by this setting alone, and average over what else differs. Repeatable.
    #[arg(long, value_name = "SETTING")]
    by: Vec<String>,
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
    #[arg(long, value_name = "DIR", env = "RESECT_BIN_DIR")]
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
    let comparison = comparison(&records, args.metric, &args.by)?;
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
    let status = program::run_tool(&program, &job, 0, |line| written = Some(line), |line| say!("{line}"))?;
    ensure!(written.is_some(), "{} ended without a word ({status})", workspace::display(&program));
    if !args.json {
        show::print(format_args!("\nas a page: {}", workspace::display(&out)));
    }
    Ok(())
}

/// The runs that names mean, each once, in the order in which they began.
fn named(store: &Store, names: &[String]) -> anyhow::Result<Vec<RunRecord>> {
    let all = store.runs()?;
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
        RunRecord::read(store, run)?.with_context(|| format!("the record of run {run} was removed meanwhile"))
    };
    chosen.iter().map(read).collect()
}

/// A pipeline's last group, or its last runs.
fn last(store: &Store, pipeline: &Path) -> anyhow::Result<Vec<RunRecord>> {
    let mut found = Vec::new();
    for run in store.runs()? {
        let record = match RunRecord::read(store, &run) {
            Ok(Some(record)) => record,
            Ok(None) => continue,
            Err(error) => {
                show::warn(&error);
                continue;
            }
        };
        if record.pipeline != pipeline {
            continue;
        }
        match (&record.group, found.is_empty()) {
            (Some(group), true) => return named(store, &[format!("{group}-")]),
            (Some(_), false) => break,
            // Of what was stopped, or never meant to be scored, there is nothing to compare.
            (None, _) if record.evaluations().next().is_some() => found.push(record),
            (None, _) => {}
        }
        if found.len() == LAST {
            break;
        }
    }
    let shown = workspace::display(pipeline);
    ensure!(
        !found.is_empty(),
        "no run of {shown} that was scored is in the store; `cargo xtask runs` lists those that are"
    );
    found.reverse();
    Ok(found)
}

/// Whether a setting can have to do with figures; seeds are told apart by themselves.
fn counts(setting: &str) -> bool {
    let has_none = ["runtime.", "remote."].iter().any(|section| setting.starts_with(section));
    !has_none && !["train.seed", "train.seeds"].contains(&setting)
}

fn comparison(records: &[RunRecord], metric: Metric, by: &[String]) -> anyhow::Result<Comparison> {
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
    let columns = columns(&varying, by)?;

    let (scored, failed) = scored(records, &settings, &varying, metric);
    let (scored, outdated) = ranking::latest(scored);
    let rows = ranking::rank(&scored, &columns, metric.higher_is_better());
    let of_columns = |setting: &String| columns.iter().any(|i| varying[*i] == *setting);
    let mut effects = ranking::effects(&scored, &varying);
    effects.retain(|effect| of_columns(&effect.setting));
    let averaged: Vec<String> = varying.iter().filter(|setting| !of_columns(setting)).cloned().collect();
    Ok(Comparison {
        format: COMPARISON_FORMAT.into(),
        title: title(records),
        metric: metric.name().into(),
        higher_is_better: metric.higher_is_better(),
        notes: notes(&rows, &averaged, outdated, metric),
        varying: columns.iter().map(|i| varying[*i].clone()).collect(),
        averaged,
        rows,
        effects,
        failed,
    })
}

/// Which of the settings that differ tell rows apart: those named, by all of their names or the last part, else all.
fn columns(varying: &[String], by: &[String]) -> anyhow::Result<Vec<usize>> {
    let mut columns = Vec::new();
    for name in by {
        let is = |setting: &String| setting == name || setting.rsplit('.').next() == Some(name.as_str());
        let found: Vec<usize> = (0..varying.len()).filter(|i| is(&varying[*i])).collect();
        let [one] = found.as_slice() else {
            let what =
                if found.is_empty() { "the runs do not differ in it" } else { "it can be several settings" };
            let all = if varying.is_empty() { "nothing but seeds".to_owned() } else { varying.join(", ") };
            return Err(Usage(format!("--by {name}: {what}; they differ in {all}")).into());
        };
        if !columns.contains(one) {
            columns.push(*one);
        }
    }
    Ok(if by.is_empty() { (0..varying.len()).collect() } else { columns })
}

/// The figures of runs, and the runs that have none.
fn scored(
    records: &[RunRecord],
    settings: &[BTreeMap<String, String>],
    varying: &[String],
    metric: Metric,
) -> (Vec<Scored>, Vec<Failed>) {
    let mut truths: Vec<Option<&ArtifactId>> = Vec::new();
    let (mut scored, mut failed) = (Vec::new(), Vec::new());
    for (record, settings) in records.iter().zip(settings) {
        let targets = record.stages.iter().find_map(|step| step.artifacts.get("targets"));
        let truth = truths.iter().position(|known| *known == targets).unwrap_or_else(|| {
            truths.push(targets);
            truths.len() - 1
        });
        let value = |name: &String| settings.get(name).cloned().unwrap_or_else(|| "–".into());
        let found = scored.len();
        for (seed, _, metrics) in record.evaluations() {
            let of = |method: &str| metric.of(metrics.methods.get(method)?);
            let Some(tuned) = of("tuned") else { continue };
            scored.push(Scored {
                run: record.run.clone(),
                seed,
                settings: varying.iter().map(value).collect(),
                truth: truth + 1,
                value: tuned,
                untuned: of("untuned"),
                baseline: baseline(metrics, metric),
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
    (scored, failed)
}

/// The best of what needs no training.
fn baseline(metrics: &Metrics, metric: Metric) -> Option<(String, f64)> {
    let free = metrics.methods.iter().filter(|(name, _)| !["tuned", "untuned"].contains(&name.as_str()));
    let figures = free.filter_map(|(name, figures)| Some((name.clone(), metric.of(figures)?)));
    let order = |a: &(String, f64), b: &(String, f64)| a.1.total_cmp(&b.1);
    if metric.higher_is_better() { figures.max_by(order) } else { figures.min_by(order) }
}

fn title(records: &[RunRecord]) -> String {
    let pipelines: BTreeSet<String> = records
        .iter()
        .map(|record| record.pipeline.file_stem().unwrap_or_default().to_string_lossy().into_owned())
        .collect();
    let pipelines = pipelines.into_iter().collect::<Vec<_>>().join(", ");
    format!("{pipelines}: {} run{}", records.len(), if records.len() == 1 { "" } else { "s" })
}

fn notes(rows: &[Ranked], averaged: &[String], outdated: usize, metric: Metric) -> Vec<String> {
    let mut notes = Vec::new();
    let Some(best) = rows.first() else { return notes };
    if outdated > 0 {
        let were = match outdated {
            1 => "1 figure was".to_owned(),
            several => format!("{several} figures were"),
        };
        notes.push(format!(
            "{were} had again with the same settings and seed, and came out otherwise: code, data, base or processor changed in between. \
             The latest counts; `cargo xtask diff` says what differs between two runs."
        ));
    }
    let truths = rows.iter().map(|row| row.truth).collect::<BTreeSet<_>>();
    if truths.len() > 1 {
        notes.push(format!(
            "These rows are scored on {} different truths, because a setting changes masks or the split: across them, figures are \
             not of the same task and say nothing about which decoder is better.",
            truths.len()
        ));
    } else if truths.contains(&0) {
        notes.push(
            "Each row is an average over several truths, because a setting that it is averaged over changes masks or the split. \
             Differences are of runs that were scored on the same truth."
                .into(),
        );
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
    if !averaged.is_empty() {
        notes.push(format!(
            "Rows are averages over {}, and ± is the spread over these and seeds, not that of seeds alone. A row is held against the first \
             by pairs of runs that are equal in all else; \"within the spread\" is said where the 95 % interval of their mean difference \
             (Student) holds 0.",
            averaged.join(", ")
        ));
        return notes;
    }
    if rows.len() > 1 && rows.iter().any(|row| row.runs.len() == 1) {
        notes.push(
            "Of one seed no spread is known: nothing can be told from such a row's place (--set train.seeds=[0,1,2] gives three)."
                .into(),
        );
    }
    if rows.len() > 1 && rows.iter().any(|row| row.runs.len() > 1) {
        notes.push(format!(
            "\"Within the spread\" is said where the 95 % interval (Welch) of a row's difference from the first holds 0: these seeds do \
             not tell the two apart, which does not say that they are equal. {}The intervals hold the noise of training alone, not that of \
             other images.",
            match rows.len() {
                2 => String::new(),
                rows => format!("The first of {rows} rows is first partly by luck, and the intervals do not allow for that. "),
            }
        ));
    }
    notes
}

/// The table, for people.
fn lines(comparison: &Comparison, metric: Metric) -> Vec<String> {
    let mut lines = vec![comparison.title.clone(), String::new()];
    lines.extend(aligned(&table(comparison, metric)));
    if let Some(best) = comparison.rows.first() {
        lines.push(String::new());
        let baseline = best.baseline.as_ref().map(|(name, value)| format!(", {name} {value:.4}"));
        let of = if best.truth == 0 { "over the first row's runs" } else { "on the first row's targets" };
        lines.push(format!("{of}: untuned {}{}", number(best.untuned), baseline.unwrap_or_default()));
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

fn table(comparison: &Comparison, metric: Metric) -> Vec<Vec<String>> {
    let short = |name: &String| {
        let last = |name: &str| name.rsplit('.').next().unwrap_or(name).to_owned();
        let twice = comparison.varying.iter().filter(|other| last(other) == last(name)).count() > 1;
        if twice { name.clone() } else { last(name) }
    };
    let runs = if comparison.averaged.is_empty() { "seeds" } else { "runs" };
    // Where it is the same for all, a line below the table says it.
    let untuned_differs = comparison.rows.iter().any(|row| row.untuned != comparison.rows[0].untuned);
    let mut head = [metric.title(), "±", runs, "less best", ""].map(str::to_owned).to_vec();
    head.extend(untuned_differs.then(|| "untuned".to_owned()));
    head.extend(comparison.varying.iter().map(short));
    let mut table = vec![head];
    for row in &comparison.rows {
        let mut cells = vec![
            number(Some(row.mean)),
            number(row.deviation),
            row.runs.len().to_string(),
            row.difference.map_or_else(String::new, |difference| format!("{difference:+.4}")),
            verdict(row.verdict, comparison).into(),
        ];
        cells.extend(untuned_differs.then(|| number(row.untuned)));
        cells.extend(row.settings.iter().cloned());
        table.push(cells);
    }
    table
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.4}"))
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

fn verdict(verdict: Verdict, comparison: &Comparison) -> &'static str {
    match verdict {
        Verdict::Best => "best",
        Verdict::WithinSpread => "within the spread",
        Verdict::Behind => "",
        Verdict::NoSpread if comparison.averaged.is_empty() => "one seed",
        Verdict::NoSpread => "no two pairs",
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
