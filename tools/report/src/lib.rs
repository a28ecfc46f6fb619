//! A tuned checkpoint as one HTML file: what was trained on what, how good it is, what it looks like, and how to make it again.
//!
//! [`Report::open`] reads the artifacts that a [`Job`] names; [`Report::render`] makes the page. Equal inputs give equal bytes:
//! nothing but the job and the artifacts enters it. The page asks nobody for anything: style, script, charts and pictures stand in
//! it. Every word that came from data goes through `maud`, which escapes it.

mod audit;
mod cases;
mod charts;
mod comparison;
mod error;
mod figures;
mod format;
mod gallery;
mod origin;
mod page;
mod summary;

pub use comparison::write as write_comparison;

pub use cases::{LARGEST_JPEG, MOST_CASES};
pub use error::ReportError;

use audit::Audit;
use cases::Case;
use resect_checkpoint_records::{Epoch, Summary};
use resect_data::{DataError, read_json};
use resect_evaluation_records::{
    self as evaluation, Method, MethodMetrics, Metrics, PromptKind, SampleRow, SweepPoint,
};
use resect_report_job::{Job, Written};
use resect_tables::table;
use resect_target_records::{Rejected, Split};
use resect_targets::Targets;
use serde_json::Value;
use std::path::Path;

/// All that stands in a report.
pub struct Report<'a> {
    job: &'a Job,
    metrics: Metrics,
    rows: Vec<SampleRow>,
    summary: Summary,
    epochs: Vec<Epoch>,
    parts: [Part; 3],
    leaks: Leaks,
    audit: Audit,
    rejected: Vec<Rejected>,
    cases: Vec<Case>,
}

/// What a part of the split holds.
#[derive(Clone, Copy, Debug)]
struct Part {
    split: Split,
    images: usize,
    targets: usize,
    groups: usize,
}

/// Images that the reported part shares with others, by pixels or by group.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Leaks {
    trained: usize,
    selected: usize,
}

impl<'a> Report<'a> {
    /// Reads the artifacts.
    ///
    /// # Errors
    /// One that is missing, damaged, of another version, or of another run than the rest.
    pub fn open(job: &'a Job) -> Result<Self, ReportError> {
        let found = job.format.clone();
        if found.split('.').next() != resect_report_job::FORMAT.split('.').next() {
            return Err(ReportError::Job { found, expected: resect_report_job::FORMAT });
        }
        let folders = &job.folders;
        let metrics = read_metrics(&folders.evaluation.join("metrics.json"))?;
        let rows: Vec<SampleRow> = table::read(&folders.evaluation.join("samples.parquet"))?;
        let targets = Targets::open(&folders.targets)?;
        let cases = cases::read(folders, &metrics, &rows, &targets)?;
        Ok(Self {
            job,
            summary: Summary::read(&folders.checkpoint)?,
            epochs: table::read(&folders.checkpoint.join("epochs.parquet"))?,
            parts: [Split::Train, Split::Validation, Split::Test].map(|split| Part::of(&targets, split)),
            leaks: Leaks::of(&targets, metrics.split),
            audit: read_json(&folders.targets.join("audit.json"))?,
            rejected: read_json(&folders.targets.join("rejected.json"))?,
            metrics,
            rows,
            cases,
        })
    }

    /// The page.
    ///
    /// # Errors
    /// A chart that cannot be drawn.
    pub fn render(&self) -> Result<String, ReportError> {
        page::render(self)
    }

    /// Targets that are shown, and all that are reported.
    pub fn counts(&self) -> (usize, usize) {
        (self.cases.len(), self.metrics.targets)
    }

    fn method(&self, method: Method) -> Option<&MethodMetrics> {
        self.metrics.methods.iter().find(|row| row.method == method)
    }

    fn mean_dice(&self, method: Method) -> Option<f64> {
        self.method(method)?.all.original.dice.mean
    }

    /// The best of what needs no model, with its mean Dice.
    fn best_baseline(&self) -> Option<(Method, f64)> {
        let others = Method::ALL.into_iter().filter(|method| !Method::DECODERS.contains(method));
        let scored = others.filter_map(|method| Some((method, self.mean_dice(method)?)));
        scored.max_by(|a, b| a.1.total_cmp(&b.1))
    }
}

/// Writes the report of a job: beside its place first, then renamed.
///
/// # Errors
/// Whatever [`Report::open`] and [`Report::render`] refuse, and a place that cannot be written to.
pub fn write(job: &Job) -> Result<Written, ReportError> {
    let report = Report::open(job)?;
    let page = report.render()?;
    put(&job.out, &page)?;
    let (shown, targets) = report.counts();
    Ok(Written { bytes: page.len() as u64, shown, targets })
}

/// Writes a page beside its place and renames it.
fn put(out: &Path, page: &str) -> Result<(), ReportError> {
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    let aside = out.with_file_name(format!(".{name}.resect-report"));
    let put = std::fs::write(&aside, page).and_then(|()| std::fs::rename(&aside, out));
    if put.is_err() {
        let _ = std::fs::remove_file(&aside);
    }
    put.map_err(|source| ReportError::Write { path: out.into(), source })
}

/// The prompts of a sweep that have an amount.
const AMOUNTS: [PromptKind; 2] = [PromptKind::BoxNoisePixels, PromptKind::BoxNoisePercent];

fn read_metrics(path: &Path) -> Result<Metrics, ReportError> {
    let value: Value = read_json(path)?;
    let found = value["format"].as_str().unwrap_or("none").to_owned();
    let expected = evaluation::FORMAT;
    if found.split('.').next() != expected.split('.').next() {
        return Err(ReportError::Format { path: path.into(), found, expected });
    }
    let damaged = |message: String| DataError::Damaged { path: path.into(), message };
    let metrics: Metrics = serde_json::from_value(value).map_err(|error| damaged(error.to_string()))?;
    // A report is of these two; baselines that were not scored are left out.
    for method in Method::DECODERS {
        if !metrics.methods.iter().any(|row| row.method == method) {
            return Err(damaged(format!("it has no figures of {method}")).into());
        }
    }
    let has_amount = |point: &&SweepPoint| point.amount.is_some() || !AMOUNTS.contains(&point.prompt);
    if let Some(point) = metrics.sweep.iter().find(|point| !has_amount(point)) {
        return Err(damaged(format!("the sweep has {:?} without an amount", point.prompt)).into());
    }
    Ok(metrics)
}

impl Part {
    fn of(targets: &Targets, split: Split) -> Self {
        let rows: Vec<_> = targets.rows().iter().filter(|row| row.split == split).collect();
        let distinct = |name: fn(&resect_target_records::Target) -> &str| {
            rows.iter().map(|row| name(row)).collect::<std::collections::BTreeSet<_>>().len()
        };
        Self {
            split,
            images: distinct(|row| &row.sample),
            targets: rows.len(),
            groups: distinct(|row| &row.group),
        }
    }
}

impl Leaks {
    /// Looks for images of the reported part in the others: the same pixels, the same group, or one that looks the same.
    fn of(targets: &Targets, reported: Split) -> Self {
        let rows = || targets.rows().iter().filter(|row| row.split == reported);
        let shares = |part: Split| {
            let others: Vec<_> = targets.rows().iter().filter(|row| row.split == part).collect();
            let seen: std::collections::HashSet<&str> = others
                .iter()
                .flat_map(|row| [row.pixel_hash.as_str(), row.group.as_str(), row.sample.as_str()])
                .collect();
            let alike: std::collections::HashSet<&str> =
                others.iter().map(|row| row.near_duplicate_of.as_str()).filter(|id| !id.is_empty()).collect();
            let shared = rows().filter(|row| {
                seen.contains(row.pixel_hash.as_str())
                    || seen.contains(row.group.as_str())
                    || seen.contains(row.near_duplicate_of.as_str())
                    || alike.contains(row.sample.as_str())
            });
            shared.map(|row| row.sample.as_str()).collect::<std::collections::BTreeSet<_>>().len()
        };
        if reported == Split::Test {
            Self { trained: shares(Split::Train), selected: shares(Split::Validation) }
        } else {
            Self::default()
        }
    }
}
