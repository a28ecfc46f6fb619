//! `cargo xtask run`: what changed runs, the rest is reused.

use crate::figures::Metrics;
use crate::log::LogFormat;
use crate::plan::{Plan, Shards, Step, Task};
use crate::program::Interrupted;
use crate::remote::{self, Remote};
use crate::schedule::{self, Finished, Options, Running};
use crate::show::{self, Screen};
use crate::spread::Spread;
use crate::{PipelineArgs, interrupt, ranking, workspace};
use anyhow::{anyhow, ensure};
use clap::Args;
use resect_artifact::{Accepted, Key, Outputs, Store};
use resect_embed_params::Shard;
use serde::Serialize;
use serde_json::{Value, json};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

#[derive(Args)]
pub struct RunArgs {
    /// Run up to this stage: ingest, embed, train or evaluate [default: all].
    stage: Option<Step>,
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Run this stage again even if nothing changed. Repeatable.
    #[arg(long, value_name = "STAGE")]
    force: Vec<Step>,
    /// Say what would run and why, and run nothing.
    #[arg(long)]
    dry_run: bool,
    /// Worker threads of all stages that run; changes no byte of any artifact [default: runtime.threads, else all cores].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Stages that run at a time, where they do not wait for each other [default: runtime.jobs, else one for each core].
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// GB that stages which run at a time may take together [default: runtime.memory, else three quarters of what is free].
    #[arg(long, value_name = "GB")]
    memory: Option<f64>,
    /// Embed one part of the images and stop, for machines that share the work, such as 3/8.
    #[arg(long, value_name = "I/N", conflicts_with_all = ["stage", "shards"])]
    shard: Option<Shard>,
    /// Embed in so many parts, those that are missing, and put them together.
    #[arg(long, value_name = "N")]
    shards: Option<NonZeroU32>,
    /// Send what the run gives to the shared store [default: remote.push].
    #[arg(long)]
    push: bool,
    /// Write the steps and epochs of train, as they come, to artifacts/runs/RUN/train/. Repeatable.
    #[arg(long, value_name = "FORMAT")]
    log: Vec<LogFormat>,
}

/// What became of a step.
#[derive(Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Ran,
    Reused,
    /// Another machine did it; the shared store had it.
    Fetched,
    Failed,
    Skipped,
    /// Dry run: it would run.
    WouldRun,
    /// Dry run: it depends on what a step before it would give.
    Unknown,
}

/// One line of the result, and one object of `--json`.
#[derive(Serialize)]
pub struct Outcome {
    pub name: &'static str,
    /// Of `train` and `evaluate`, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Of `embed`, where it is one of several parts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
    pub status: Status,
    pub reason: String,
    pub key: Option<Key>,
    pub artifacts: Outputs,
    /// Of the work itself: neither building its program nor waiting for another runner counts.
    pub seconds: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Of a stage that ran: the largest resident memory of its program, bytes. (since 1.5)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_memory: Option<u64>,
    /// Of `evaluate`: what it found. (since 1.5)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,
    /// Of a stage that ran: durations in seconds, and rates, of this start alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timing: Option<serde_json::Value>,
    /// Where `--log` wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logs: Option<PathBuf>,
    /// Present when another key made the artifacts and the user accepted them, in this run or an earlier one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted: Option<Accepted>,
    /// Of a source on the Hub: repository, revision and commit. Of a stage that ran on a GPU: the GPU and its driver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provenance: Option<serde_json::Value>,
}

impl Outcome {
    pub fn new(task: Task, status: Status, reason: impl Into<String>) -> Self {
        Self {
            name: task.step.name(),
            seed: task.seed,
            shard: task.shard,
            status,
            reason: reason.into(),
            key: None,
            artifacts: Outputs::new(),
            seconds: 0.0,
            notes: Vec::new(),
            peak_memory: None,
            metrics: None,
            timing: None,
            logs: None,
            accepted: None,
            provenance: None,
        }
    }
}

/// The record of a run: `.resect/runs/<run>.json`, and what `--json` prints.
#[derive(Serialize)]
struct Record<'a> {
    format: &'static str,
    run: &'a str,
    /// The command that made this run and others, where a matrix made several. (since 1.5)
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
    /// What tells it from those: setting to value. (since 1.5)
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<Value>,
    /// "done", "failed" or "interrupted". (since 1.5)
    status: &'static str,
    pipeline: PathBuf,
    settings: &'a crate::pipeline::Pipeline,
    /// What `--set` and `--device` changed. (since 1.4)
    set: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    /// The checkout whose stages ran; absent where git does not tell. (since 1.4; before 1.5 also absent where none ran)
    #[serde(skip_serializing_if = "Option::is_none")]
    checkout: Option<Value>,
    /// Of Resect, of the compiler, and of the system. (since 1.5)
    versions: Value,
    started: String,
    seconds: f64,
    sources: Vec<Outcome>,
    stages: Vec<Outcome>,
    /// The figures of several seeds.
    #[serde(skip_serializing_if = "Option::is_none")]
    spread: Option<Spread>,
}

/// Of a run's record.
const FORMAT: &str = "resect-run/1.5";

pub fn main(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let plans = Plan::all(&args.pipeline)?;
    args.check(&plans)?;
    let screen = Screen::new(args.pipeline.json);
    if args.dry_run {
        return crate::status::print(&plans, &args.pipeline, &args.force, args.stage, args.shards(), &screen);
    }
    let settings = &plans[0].pipeline.remote;
    let remote = Remote::open(&args.pipeline.remote, settings, args.pipeline.bin_dir.as_deref())?;
    let remote = remote.filter(|_| !args.pipeline.offline);
    let options = args.options(&plans[0], remote.as_ref())?;
    interrupt::watch()?;
    let started = (jiff::Timestamp::now(), Instant::now());
    let name = format!("{}-{:05}", started.0.strftime("%Y%m%d-%H%M%S"), std::process::id() % 100_000);
    let digits = plans.len().to_string().len();
    let runs: Vec<Running<'_>> = plans
        .iter()
        .map(|plan| {
            let number = plan.variant.as_ref().map(|variant| format!("-{:0digits$}", variant.number + 1));
            Running { plan, name: format!("{name}{}", number.unwrap_or_default()) }
        })
        .collect();
    let finished = schedule::run(&runs, &options, &screen);

    let checkout =
        workspace::commit().map(|(commit, changed)| json!({ "commit": commit, "changed": changed }));
    // A step that did not run this time keeps the key it had: later runs say what changed since.
    let mut latest = plans[0].latest.clone();
    let (mut records, mut errors) = (Vec::new(), Vec::new());
    for (running, Finished { outcomes, keys, error }) in runs.iter().zip(finished) {
        latest.extend(keys);
        let (sources, stages): (Vec<_>, Vec<_>) =
            outcomes.into_iter().partition(|(task, _)| task.step.is_source());
        let [sources, stages] =
            [sources, stages].map(|list| list.into_iter().map(|(_, outcome)| outcome).collect::<Vec<_>>());
        records.push(Record {
            format: FORMAT,
            run: &running.name,
            group: running.plan.variant.as_ref().map(|_| name.as_str()),
            variant: running.plan.variant.as_ref().map(|variant| variant.record()),
            status: status(&stages, error.as_ref()),
            pipeline: running.plan.pipeline.path.clone(),
            settings: &running.plan.pipeline,
            set: &args.pipeline.set,
            device: args.pipeline.device.map(|device| device.to_string()),
            checkout: checkout.clone(),
            versions: workspace::versions(),
            started: started.0.to_string(),
            seconds: started.1.elapsed().as_secs_f64(),
            spread: Spread::of(&stages),
            sources,
            stages,
        });
        errors.extend(error.map(|error| (&running.name, running.plan, error)));
    }
    let store = &plans[0].store;
    let mut recorded = Ok(());
    if latest != plans[0].latest {
        recorded = store.set_latest(crate::pipeline::name(&plans[0].pipeline.path)?, &latest);
    }
    for record in &records {
        recorded = recorded.and(store.record_run(record.run, record));
    }
    if let Some(remote) = remote.as_ref().filter(|_| args.push || settings.push) {
        let steps = records.iter().flat_map(|record| record.sources.iter().chain(&record.stages));
        let keys = steps.filter_map(|step| Some((step.name.to_owned(), step.key.clone()?)));
        let push = || {
            let ancestry = remote::behind(store, Vec::new(), &keys.collect::<Vec<_>>())?;
            remote.push(store, ancestry, &[])
        };
        // What could not be sent is here all the same, and the next push sends it.
        match push() {
            Ok(answer) => say!("{}", remote::sent(remote.url(), &answer)),
            Err(error) => say!("the shared store {} took nothing: {error:#}", remote.url()),
        }
    }
    let trains =
        |stage: &Outcome| stage.name == "train" && matches!(stage.status, Status::Ran | Status::Failed);
    if !args.log.is_empty() && !records.iter().flat_map(|record| &record.stages).any(trains) {
        say!("nothing to log: train did not run (--force train trains again)");
    }
    match records.as_slice() {
        [one] if one.group.is_none() => one.print(store, &screen, args)?,
        several => print_all(several, &plans, &name, &screen)?,
    }
    if let Err(error) = recorded {
        // What went wrong before it matters more.
        ensure!(!errors.is_empty(), error);
        say!("the run leaves no record: {error}");
    }
    let several = plans.len();
    if errors.iter().any(|(_, _, error)| error.downcast_ref::<Interrupted>().is_some()) {
        say!("interrupted; what was finished is kept, and the same command goes on from there");
        return Ok(ExitCode::from(130));
    }
    match errors.len() {
        0 => Ok(ExitCode::SUCCESS),
        1 if several == 1 => Err(errors.remove(0).2),
        failed => {
            for (run, plan, error) in errors {
                let label = plan.variant.as_ref().map(|variant| variant.label()).unwrap_or_default();
                say!("run {run} ({label}): {error:#}");
            }
            Err(anyhow!("{failed} of {several} runs failed; what the others gave is kept"))
        }
    }
}

fn status(stages: &[Outcome], error: Option<&anyhow::Error>) -> &'static str {
    match error {
        Some(error) if error.downcast_ref::<Interrupted>().is_some() => "interrupted",
        Some(_) => "failed",
        None if stages.iter().any(|stage| stage.reason == schedule::INTERRUPTED) => "interrupted",
        None => "done",
    }
}

impl RunArgs {
    fn shards(&self) -> Option<Shards> {
        self.shard.map(Shards::One).or_else(|| self.shards.map(Shards::All))
    }

    /// Refuses to embed where no run does: what is tuned from the pixels on reads the images themselves.
    fn check(&self, plans: &[Plan]) -> anyhow::Result<()> {
        let embeds =
            self.shards().is_some() || self.stage == Some(Step::Embed) || self.force.contains(&Step::Embed);
        ensure!(
            !embeds || plans.iter().any(|plan| plan.place != resect_numeric::Place::Pixels),
            "there is nothing to embed: [train.encoder] tunes the image encoder from its first block on, so train and evaluate read \
             the images themselves"
        );
        Ok(())
    }

    fn options<'a>(&'a self, plan: &Plan, remote: Option<&'a Remote>) -> anyhow::Result<Options<'a>> {
        let runtime = &plan.pipeline.runtime;
        let memory = self.memory.unwrap_or(runtime.memory);
        ensure!(memory.is_finite() && memory >= 0.0, "--memory: expected GB, such as 12.5, not {memory}");
        Ok(Options {
            last: self.stage.unwrap_or(Step::Evaluate),
            force: &self.force,
            shards: self.shards(),
            threads: self.threads.unwrap_or(runtime.threads),
            jobs: self.jobs.unwrap_or(runtime.jobs),
            memory: (memory > 0.0).then_some((memory * 1e9) as u64),
            log: &self.log,
            remote,
        })
    }
}

impl Record<'_> {
    /// What the pipeline gave, in the end.
    fn print(&self, store: &Store, screen: &Screen, args: &RunArgs) -> anyhow::Result<()> {
        if args.pipeline.json {
            show::print(serde_json::to_string_pretty(self)?);
        }
        let evaluate = self.stages.iter().rfind(|stage| stage.status != Status::Skipped);
        let evaluate = evaluate.filter(|_| self.status == "done" && !args.pipeline.json);
        let Some(evaluate) = evaluate else { return Ok(()) };
        screen.line("");
        let lines = self.spread.as_ref().map_or_else(|| evaluate.notes.clone(), Spread::lines);
        lines.iter().for_each(|line| screen.line(line));
        screen.line("");
        for (stage, id) in
            self.stages.iter().filter_map(|stage| Some((stage, stage.artifacts.get("evaluation")?)))
        {
            let path = workspace::display(&store.path("evaluation", id));
            match stage.seed {
                Some(seed) => screen.line(&format!("seed {seed} in full: {path}")),
                None => screen.line(&format!("in full: {path}")),
            }
        }
        Ok(())
    }

    /// The tuned decoder's Dice, the mean of its seeds.
    fn dice(&self) -> Option<f64> {
        let of = |stage: &Outcome| stage.metrics.as_ref()?.methods.get("tuned")?.dice;
        let all: Vec<f64> = self.stages.iter().filter_map(of).collect();
        (!all.is_empty()).then(|| ranking::mean(&all))
    }
}

/// What the runs of a matrix gave: a line each, in their order.
fn print_all(records: &[Record<'_>], plans: &[Plan], group: &str, screen: &Screen) -> anyhow::Result<()> {
    if screen.is_json() {
        let object = json!({ "format": "resect-runs/1.0", "group": group, "runs": records });
        show::print(serde_json::to_string_pretty(&object)?);
        return Ok(());
    }
    screen.line("");
    for (record, plan) in records.iter().zip(plans) {
        let label = plan.variant.as_ref().map(|variant| variant.label()).unwrap_or_default();
        let found =
            record.dice().map(|dice| format!("Dice {dice:.4}")).unwrap_or_else(|| record.status.into());
        screen.line(&format!("{}  {found:<11}  {label}", record.run));
    }
    screen.line("");
    screen.line(&format!("side by side, best first: cargo xtask compare {group}"));
    Ok(())
}
