//! `cargo xtask report`: a tuned checkpoint as one HTML file that opens from disk.
//!
//! What stands in the store's records is collected here, as a [`Job`]; the program `resect-report` reads the artifacts and draws.
//! `tools/report` says how.

use crate::lineage::{self, Lineage, Origin};
use crate::record::{RunRecord, readable};
use crate::subject::Subject;
use crate::{StoreArgs, export, program, show, workspace};
use anyhow::{Context, bail, ensure};
use clap::Args;
use resect_artifact::{Action, ArtifactId, Store};
use resect_report_job::{FORMAT, Folders, Job, Reproduce, Run, Section, Seeds, Source, Stage, Written};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Args)]
pub struct ReportArgs {
    /// What to report: a run, or the first digits of a checkpoint's id [default: what the pipeline gave last].
    #[arg(value_name = "RUN|ARTIFACT")]
    what: Option<String>,
    /// The file to write; an earlier one is replaced.
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    out: PathBuf,
    /// The report's title [default: the base and the data it was tuned on].
    #[arg(long)]
    title: Option<String>,
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

pub fn main(args: &ReportArgs) -> anyhow::Result<ExitCode> {
    let store = args.store.open()?;
    let out = std::path::absolute(&args.out)?;
    ensure!(!out.is_dir(), "--out: {} is a folder; name the file to write", args.out.display());
    let subject = Subject::find(args.what.as_deref(), &store, args.pipeline.as_deref())?;
    let lineage = Lineage::of(&subject, &store)?;
    let job = job(args, &subject, &lineage, &store, &out)?;
    let program = program::tool("report", args.bin_dir.as_deref(), false)?;
    if let Some(parent) = out.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    }
    let mut answer: Option<Written> = None;
    let status = program::run_tool(&program, &job, 0, |line| answer = Some(line), |line| say!("{line}"))?;
    let written = answer
        .with_context(|| format!("{} ended without a word ({status})", workspace::display(&program)))?;
    let shown = workspace::display(&out);
    if args.json {
        let object = json!({
            "format": "resect-report/1.0",
            "file": shown,
            "bytes": written.bytes,
            "shown": written.shown,
            "targets": written.targets,
            "checkpoint": lineage.checkpoint_id,
            "evaluation": lineage.ids().get("evaluation"),
        });
        show::print(serde_json::to_string_pretty(&object)?);
    } else {
        let (megabytes, targets) = (written.bytes as f64 / 1e6, written.targets);
        let gallery = if written.shown < targets {
            format!("the {} worst of {targets} targets", written.shown)
        } else {
            format!("{targets} targets")
        };
        show::print(format_args!("{shown}: {}, {gallery}, {megabytes:.1} MB", subject.describe()));
    }
    Ok(ExitCode::SUCCESS)
}

fn job(
    args: &ReportArgs,
    subject: &Subject,
    lineage: &Lineage,
    store: &Store,
    out: &Path,
) -> anyhow::Result<Job> {
    let Some(tuned) = &subject.tuned else {
        bail!("{} has no figures to report; name a run or a tuned checkpoint", subject.describe())
    };
    let evaluation = lineage.evaluation.as_ref().with_context(|| {
        let id = tuned.id.short();
        format!("no evaluation of checkpoint {id} is in the store; `cargo xtask run` makes one")
    })?;
    let mut ids = lineage.ids();
    if let Some(dataset) = dataset_id(lineage) {
        ids.insert("dataset".into(), dataset);
    }
    // Settings and the command are those of the run that was named, else of the one that gave the figures.
    let mut run = None;
    for name in [args.what.as_deref(), Some(&evaluation.run), Some(&tuned.action.run)].into_iter().flatten() {
        if run.is_none() {
            run = RunRecord::read(store, name)?;
        }
    }
    let run = run.as_ref();
    let (dataset, base) = (
        source(lineage.dataset.as_ref(), provenance(run, "dataset"), dataset_name(lineage.dataset.as_ref())),
        source(lineage.base.as_ref(), provenance(run, "base"), base_name(lineage.base.as_ref())),
    );
    let mut stages = sources(lineage, store)?;
    stages.extend(lineage.stages().map(|action| stage(action, run)));
    Ok(Job {
        format: FORMAT.into(),
        out: out.into(),
        title: args.title.clone().unwrap_or_else(|| format!("{} tuned on {}", base.name, dataset.name)),
        folders: folders(&ids, store)?,
        dataset,
        base,
        run: run.map(|run| Run { name: run.run.clone(), started: run.started.clone(), seconds: run.seconds }),
        settings: run.map(|run| sections(&run.settings)).unwrap_or_default(),
        seeds: run.and_then(|run| seeds(run, &tuned.id)),
        stages,
        artifacts: ids.iter().map(|(kind, id)| (kind.clone(), id.to_string())).collect(),
        reproduce: reproduce(run, lineage),
    })
}

/// The folders of what a report reads, each of them sound.
fn folders(ids: &BTreeMap<String, ArtifactId>, store: &Store) -> anyhow::Result<Folders> {
    let folder = |kind: &str| {
        let id = ids.get(kind).with_context(|| {
            format!("no record names the {kind} behind the checkpoint; `cargo xtask run` makes them anew")
        })?;
        store.check(kind, id).map_err(anyhow::Error::msg)?;
        anyhow::Ok(store.path(kind, id))
    };
    Ok(Folders {
        evaluation: folder("evaluation")?,
        checkpoint: folder("checkpoint")?,
        targets: folder("targets")?,
        images: folder("images")?,
    })
}

fn dataset_id(lineage: &Lineage) -> Option<ArtifactId> {
    lineage::input(lineage.ingest.as_ref()?, "dataset")
}

/// How dataset and base came into the store.
fn sources(lineage: &Lineage, store: &Store) -> anyhow::Result<Vec<Stage>> {
    let mut stages = Vec::new();
    for (step, id) in [("dataset", dataset_id(lineage)), ("base", lineage.base_id.clone())] {
        let Some(id) = id else { continue };
        let mut actions = readable(store.actions(step)).into_iter();
        if let Some(action) = actions.find(|action| action.outputs.get(step) == Some(&id)) {
            stages.push(stage(&action, RunRecord::read(store, &action.run)?.as_ref()));
        }
    }
    Ok(stages)
}

fn stage(action: &Action, run: Option<&RunRecord>) -> Stage {
    let text = |field: &str| action.document[field].as_str().map(str::to_owned);
    let named = |(kind, id): (String, ArtifactId)| (kind, id.to_string());
    Stage {
        name: action.stage.clone(),
        key: action.key.to_string(),
        code: text("code"),
        numeric: text("numeric"),
        inputs: action.inputs().into_iter().map(named).collect(),
        outputs: action.outputs.clone().into_iter().map(named).collect(),
        run: action.run.clone(),
        finished: action.finished.clone(),
        seconds: action.seconds,
        peak_memory: action.peak_memory,
        provenance: provenance(run, &action.stage).map(words).unwrap_or_default(),
        accepted: action.accepted.as_ref().map(|accepted| accepted.reason.clone()),
    }
}

/// What a run's record says of where a step ran, or where its files came from; not all steps have such a thing.
fn provenance<'a>(run: Option<&'a RunRecord>, step: &str) -> Option<&'a Value> {
    let mut of_step = run?.steps().filter(|record| record.name == step);
    of_step.find_map(|record| record.provenance.as_ref())
}

/// A JSON value as a pipeline file would have it; text stands for itself.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The fields of an object as text, nested ones with their path.
fn words(value: &Value) -> Vec<(String, String)> {
    let fields = value.as_object().into_iter().flatten();
    let flat = fields.flat_map(|(name, value)| match value {
        Value::Object(_) => {
            words(value).into_iter().map(|(inner, value)| (format!("{name}.{inner}"), value)).collect()
        }
        value => vec![(name.clone(), plain(value))],
    });
    flat.collect()
}

fn source(origin: Option<&Origin>, provenance: Option<&Value>, name: String) -> Source {
    let kind = origin.map_or("not recorded", Origin::kind);
    let mut details = vec![("kind".to_owned(), kind.to_owned())];
    let wanted = |name: &str| !matches!(name, "hub" | "repository");
    details.extend(provenance.map(words).unwrap_or_default().into_iter().filter(|(name, _)| wanted(name)));
    let made_up = matches!(origin, Some(Origin::Phantom { .. } | Origin::Random { .. }));
    Source { name, made_up, details }
}

fn dataset_name(origin: Option<&Origin>) -> String {
    match origin {
        Some(Origin::Phantom { .. }) => "Resect phantoms".into(),
        Some(origin) => source_name(origin),
        None => "data of which no record is left".into(),
    }
}

fn base_name(origin: Option<&Origin>) -> String {
    match origin {
        Some(Origin::Random { size }) => format!("SAM {size} (random weights)"),
        Some(origin) => source_name(origin),
        None => "a base of which no record is left".into(),
    }
}

/// The repository on the Hub; of local files only the last part of the path is told.
fn source_name(origin: &Origin) -> String {
    origin.repository().or_else(|| origin.file_name()).unwrap_or_else(|| origin.kind()).to_owned()
}

/// Every setting, by section, as a pipeline file would have it.
fn sections(settings: &Value) -> Vec<Section> {
    let order = [
        "dataset",
        "checkpoint",
        "mask",
        "split",
        "ingest",
        "embed",
        "train",
        "evaluate",
        "device",
        "runtime",
    ];
    let section = |name: &str| {
        let fields = settings[name].as_object()?;
        let values = fields.iter().map(|(name, value)| (name.clone(), value.to_string()));
        let mut values: Vec<_> = values.collect();
        // `train.seeds` stands in the place of `train.seed`.
        if let (true, Some(seeds)) = (name == "train", settings.get("seeds")) {
            values.retain(|(name, _)| name != "seed");
            values.push(("seeds".into(), seeds.to_string()));
        }
        Some(Section { name: name.into(), values })
    };
    order.into_iter().filter_map(section).collect()
}

/// What the record of a run with several seeds says of them; none where there was one seed, or where the run gave another checkpoint.
fn seeds(run: &RunRecord, shown: &ArtifactId) -> Option<Seeds> {
    let spread = run.spread.as_ref()?;
    let tuned = run.stages.iter().find(|stage| stage.artifacts.get("checkpoint") == Some(shown))?;
    (spread.tuned.len() > 1).then_some(Seeds {
        shown: tuned.seed?,
        rows: spread.tuned.clone(),
        mean: spread.mean,
        standard_deviation: spread.standard_deviation,
    })
}

/// The command of a run, and what it needs beside itself.
fn reproduce(run: Option<&RunRecord>, lineage: &Lineage) -> Reproduce {
    let mut command = "cargo xtask run".to_owned();
    let mut add = |flag: &str, value: &str| command += &format!(" {flag} {}", export::quoted(value));
    if let Some(run) = run {
        let shown = run.pipeline.strip_prefix(workspace::root()).unwrap_or(&run.pipeline);
        if shown != Path::new("pipeline.toml") {
            add("--pipeline", &shown.display().to_string());
        }
        run.sets().iter().for_each(|set| add("--set", set));
        if let Some(device) = &run.device {
            add("--device", device);
        }
    }
    let mut caveats = Vec::new();
    match run {
        None => caveats.push(
            "The record of the run is gone: which pipeline file and which --set it had is not known."
                .to_owned(),
        ),
        Some(run) if run.set.is_none() => caveats.push(
            "The run is one of an earlier version, which did not record --set; compare the settings above."
                .to_owned(),
        ),
        Some(_) => {}
    }
    let computed = |action: &Action| action.document["numeric"].as_str().map(str::to_owned);
    let numeric: std::collections::BTreeSet<String> = lineage.stages().filter_map(computed).collect();
    if !numeric.is_empty() {
        let classes = numeric.into_iter().collect::<Vec<_>>().join("; ");
        caveats.push(format!("Bytes are the same where arithmetic is: {classes}."));
    }
    let is_local = |origin: &&Origin| matches!(origin, Origin::Folder { .. } | Origin::Parquet { .. });
    if [&lineage.dataset, &lineage.base].into_iter().flatten().any(|origin| is_local(&origin)) {
        caveats.push("Data or weights are local files: their hashes are below.".into());
    }
    let checkout = run.and_then(|run| run.checkout.as_ref());
    Reproduce {
        command,
        commit: checkout.map(|checkout| checkout.commit.clone()),
        // Without a commit there is nothing that could have changed.
        dirty: checkout.is_some_and(|checkout| checkout.changed),
        caveats,
    }
}

#[cfg(test)]
mod tests;
