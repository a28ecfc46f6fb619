//! `cargo xtask run`: what changed runs, the rest is reused.

use crate::device::Place;
use crate::log::{Log, LogFormat};
use crate::plan::{Decision, Keyed, Known, Plan, Step, Task};
use crate::program::{self, Interrupted};
use crate::show::{self, Screen};
use crate::spread::Spread;
use crate::{PipelineArgs, interrupt, workspace};
use anyhow::Context;
use clap::Args;
use resect_artifact::{Accepted, Action, Lock, Outputs};
use resect_stage::{JOB_FORMAT, Job, Message};
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
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
    /// Worker threads of a stage; changes no byte of any artifact [default: runtime.threads, else all cores].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
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
    pub status: Status,
    pub reason: String,
    pub key: Option<String>,
    pub artifacts: Outputs,
    /// Of the work itself: neither building its program nor waiting for another runner counts.
    pub seconds: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
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
    fn new(task: Task, status: Status, reason: impl Into<String>) -> Self {
        Self {
            name: task.step.name(),
            seed: task.seed,
            status,
            reason: reason.into(),
            key: None,
            artifacts: Outputs::new(),
            seconds: 0.0,
            notes: Vec::new(),
            timing: None,
            logs: None,
            accepted: None,
            provenance: None,
        }
    }
}

#[derive(Serialize)]
struct Record<'a> {
    format: &'static str,
    run: &'a str,
    pipeline: PathBuf,
    settings: &'a crate::pipeline::Pipeline,
    /// What `--set` and `--device` changed. (since 1.4)
    set: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    /// The checkout whose stages ran; absent where none did. (since 1.4)
    #[serde(skip_serializing_if = "Option::is_none")]
    checkout: Option<serde_json::Value>,
    started: String,
    seconds: f64,
    sources: &'a [Outcome],
    stages: &'a [Outcome],
    /// The figures of several seeds.
    #[serde(skip_serializing_if = "Option::is_none")]
    spread: Option<&'a Spread>,
}

pub fn main(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let plan = Plan::new(&args.pipeline)?;
    let screen = Screen::new(args.pipeline.json);
    if args.dry_run {
        return crate::status::print(&plan, &args.pipeline, &args.force, args.stage, &screen);
    }
    interrupt::watch()?;
    let started = (jiff::Timestamp::now(), Instant::now());
    let run = format!("{}-{:05}", started.0.strftime("%Y%m%d-%H%M%S"), std::process::id() % 100_000);
    let mut runner = Runner {
        threads: args.threads.unwrap_or(plan.pipeline.runtime.threads),
        // A step that does not run this time keeps the key it had: later runs say what changed since.
        latest: plan.latest.clone(),
        programs: None,
        known: Known::new(),
        plan: &plan,
        screen: &screen,
        run: &run,
        log: &args.log,
    };
    let last = args.stage.unwrap_or(Step::Evaluate);
    let mut outcomes: Vec<(Task, Outcome)> = Vec::new();
    let mut stopped = None;
    for task in plan.tasks() {
        let step = task.step;
        let outcome = if stopped.is_some() || step > last {
            Outcome::new(
                task,
                Status::Skipped,
                if step > last { "not asked for" } else { "a step before it failed" },
            )
        } else {
            match runner.step(task, args.force.contains(&step)) {
                Ok(outcome) => outcome,
                Err(error) => {
                    let outcome = Outcome::new(task, Status::Failed, format!("{error:#}"));
                    stopped = Some(error);
                    outcome
                }
            }
        };
        if matches!(outcome.status, Status::Failed | Status::Skipped) && (stopped.is_some() || step <= last) {
            let word = if outcome.status == Status::Failed { "failed" } else { "skipped" };
            screen.step(step, &task.says(word), &Outputs::new(), None);
        }
        outcomes.push((task, outcome));
    }
    if runner.latest != plan.latest {
        plan.store.set_latest(&plan.pipeline.path.to_string_lossy(), &runner.latest)?;
    }

    let (sources, stages): (Vec<_>, Vec<_>) =
        outcomes.into_iter().partition(|(task, _)| task.step.is_source());
    let sources: Vec<Outcome> = sources.into_iter().map(|(_, outcome)| outcome).collect();
    let stages: Vec<Outcome> = stages.into_iter().map(|(_, outcome)| outcome).collect();
    let spread = Spread::of(&stages, &plan.store)?;
    // Asking git takes longer than a run in which nothing changed, and tells nothing of it.
    let ran = stages.iter().any(|stage| stage.status == Status::Ran);
    let checkout = if ran { workspace::commit() } else { None };
    let record = Record {
        format: "resect-run/1.4",
        run: &run,
        pipeline: plan.pipeline.path.clone(),
        settings: &plan.pipeline,
        set: &args.pipeline.set,
        device: args.pipeline.device.map(|device| device.to_string()),
        checkout: checkout.map(|(commit, changed)| json!({ "commit": commit, "changed": changed })),
        started: started.0.to_string(),
        seconds: started.1.elapsed().as_secs_f64(),
        sources: &sources,
        stages: &stages,
        spread: spread.as_ref(),
    };
    plan.store.record_run(&run, &record)?;
    let trains =
        |stage: &Outcome| stage.name == "train" && matches!(stage.status, Status::Ran | Status::Failed);
    if !args.log.is_empty() && !stages.iter().any(trains) {
        eprintln!("nothing to log: train did not run (--force train trains again)");
    }
    if args.pipeline.json {
        show::print(serde_json::to_string_pretty(&record)?);
    } else if stopped.is_none()
        && let Some(evaluate) = stages.last().filter(|stage| stage.status != Status::Skipped)
    {
        screen.line("");
        let lines = spread.as_ref().map_or_else(|| evaluate.notes.clone(), Spread::lines);
        lines.iter().for_each(|line| screen.line(line));
        screen.line("");
        for (stage, id) in stages.iter().filter_map(|stage| Some((stage, stage.artifacts.get("evaluation")?)))
        {
            let path = crate::workspace::display(&plan.store.path("evaluation", id));
            match stage.seed {
                Some(seed) => screen.line(&format!("seed {seed} in full: {path}")),
                None => screen.line(&format!("in full: {path}")),
            }
        }
    }
    match stopped {
        None => Ok(ExitCode::SUCCESS),
        Some(error) if error.downcast_ref::<Interrupted>().is_some() => {
            eprintln!("interrupted; what was finished is kept, and the same command goes on from there");
            Ok(ExitCode::from(130))
        }
        Some(error) => Err(error),
    }
}

struct Runner<'a> {
    plan: &'a Plan,
    screen: &'a Screen,
    run: &'a str,
    log: &'a [LogFormat],
    threads: usize,
    /// Built at the first stage that must run.
    programs: Option<BTreeMap<Step, PathBuf>>,
    known: Known,
    latest: BTreeMap<String, resect_artifact::Key>,
}

impl Runner<'_> {
    /// One step: reuse it or run it.
    fn step(&mut self, task: Task, forced: bool) -> anyhow::Result<Outcome> {
        let step = task.step;
        if interrupt::requested() {
            return Err(Interrupted.into());
        }
        let started = Instant::now();
        let keyed = self.plan.key(task, &self.known)?;
        let mut outcome = match self.plan.decide(task, &keyed, forced, self.run) {
            Decision::Reuse(action) => {
                self.clear_leftover(step, &keyed)?;
                self.reused(task, *action)
            }
            decision => {
                if matches!(decision, Decision::Run(_)) {
                    self.build(step)?;
                }
                let waiting = |holder: &str| eprintln!("{}: waiting for {holder}", step.name());
                let path = self.plan.store.lock_path(&keyed.key);
                let _lock =
                    Lock::acquire(&path, &self.holder(), waiting, interrupt::requested).map_err(|error| {
                        match error {
                            resect_artifact::StoreError::Interrupted => Interrupted.into(),
                            other => anyhow::Error::from(other),
                        }
                    })?;
                // Another runner may have done it while this one waited.
                match self.plan.decide(task, &keyed, forced, self.run) {
                    Decision::Reuse(action) => self.reused(task, *action),
                    Decision::Accept(action) => {
                        self.plan.store.record(&action)?;
                        self.reused(task, *action)
                    }
                    Decision::Run(reasons) => {
                        self.build(step)?;
                        self.execute(task, &keyed, forced, &reasons.join("\n"))?
                    }
                }
            }
        };
        if outcome.status != Status::Ran {
            outcome.seconds = started.elapsed().as_secs_f64();
        }
        outcome.key = Some(keyed.key.to_string());
        outcome.provenance = match self.plan.sources.of(step) {
            Some(source) => source.provenance(),
            None if outcome.status == Status::Ran => self.plan.places().of(step).provenance(),
            None => None,
        };
        for kind in step.outputs() {
            if let Some(id) = outcome.artifacts.get(*kind) {
                self.known.insert(kind, id.clone());
            }
        }
        self.latest.insert(task.memory(), keyed.key);
        Ok(outcome)
    }

    /// What other runners read of this one while it holds a lock.
    fn holder(&self) -> String {
        format!("run {} (process {})", self.run, std::process::id())
    }

    /// Removes what a killed rerun left beside artifacts that are there and sound: nothing would resume it.
    fn clear_leftover(&self, step: Step, keyed: &Keyed) -> anyhow::Result<()> {
        let work = self.plan.store.work_path(step.name(), &keyed.key);
        if !work.exists() {
            return Ok(());
        }
        // Somebody who holds the lock is at work there, and may be done with it before this one asks.
        let path = self.plan.store.lock_path(&keyed.key);
        let lock = Lock::try_acquire(&path, &self.holder())?;
        if lock.is_some() && work.exists() {
            // The killed runner's program ends by itself; it is waited for.
            drop(resect_stage::lock_work(&work)?);
            std::fs::remove_dir_all(&work).with_context(|| format!("cannot remove {}", work.display()))?;
        }
        Ok(())
    }

    /// Makes sure that there are stage programs, before a stage runs.
    fn build(&mut self, step: Step) -> anyhow::Result<()> {
        if !step.is_source() && self.programs.is_none() {
            self.programs = Some(match self.plan.bin_dir() {
                Some(dir) => program::in_dir(dir),
                None => program::build(self.plan.places().need_cuda())?,
            });
        }
        Ok(())
    }

    fn reused(&self, task: Task, action: Action) -> Outcome {
        let reason = match &action.accepted {
            None => "nothing changed".to_owned(),
            Some(accepted) => format!("accepted: {}", accepted.reason),
        };
        let shown = if action.accepted.is_some() { format!("reused, {reason}") } else { "reused".into() };
        self.screen.step(task.step, &task.says(&shown), &action.outputs, None);
        Outcome {
            artifacts: action.outputs,
            notes: action.notes,
            accepted: action.accepted,
            ..Outcome::new(task, Status::Reused, reason)
        }
    }

    /// Runs a step, publishes what it made and records it.
    fn execute(&self, task: Task, keyed: &Keyed, forced: bool, reason: &str) -> anyhow::Result<Outcome> {
        let (step, started) = (task.step, Instant::now());
        let mut working = self.screen.begin(step.name(), &task.says(reason));
        let work = self.plan.store.work_dir(step.name(), &keyed.key)?;
        let place = self.plan.places().of(step);
        let mut notes: Vec<String> = place.caveat().into_iter().map(str::to_owned).collect();
        notes.iter().for_each(|note| working.message(&Message::Note(note.clone())));
        let (mut peak_memory, mut timing) = (None, None);
        let mut log = Log::new(self.log, self.plan.store.run_dir(self.run).join(task.folder()));
        match self.plan.sources.of(step) {
            Some(source) => {
                let out = work.join("out").join(step.outputs()[0]);
                empty_dir(&out)?;
                source.make(&out, &mut working)?;
            }
            None => {
                // A forced rerun is to show what the stage gives, not what it gave.
                let hints = if forced { Vec::new() } else { self.plan.hints(step, keyed) };
                let job = self.write_job(task, keyed, hints, &work)?;
                let programs =
                    self.programs.as_ref().context("the programs are built before a stage runs")?;
                let shared = std::cell::RefCell::new(&mut working);
                let finished = program::run(
                    &programs[&step],
                    &job,
                    self.threads,
                    |message| {
                        shared.borrow_mut().message(message);
                        if let Message::Row(row) = message {
                            let said = log.row(row);
                            said.into_iter().for_each(|line| shared.borrow().log(&line));
                        }
                    },
                    |line| shared.borrow().log(line),
                )?;
                notes.extend(finished.notes);
                (peak_memory, timing) = (finished.peak_memory, finished.timing);
            }
        }
        let mut outputs = Outputs::new();
        for kind in step.outputs() {
            let id = self.plan.store.publish(kind, &work.join("out").join(kind))?;
            outputs.insert((*kind).to_owned(), id);
        }
        let mut reason = reason.to_owned();
        let mut other_outputs = Vec::new();
        // What was only accepted for this key says nothing about what the key gives.
        let before = self.plan.store.action(step.name(), &keyed.key);
        if let Some(before) = before.filter(|before| before.accepted.is_none()) {
            other_outputs = before.other_outputs;
            if before.outputs != outputs {
                reason.push_str(&other_bytes(&before.outputs, &outputs, place));
                if !other_outputs.contains(&before.outputs) {
                    other_outputs.push(before.outputs);
                }
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        self.plan.store.record(&Action {
            format: Action::FORMAT.into(),
            stage: step.name().into(),
            key: keyed.key.clone(),
            document: keyed.document.clone(),
            outputs: outputs.clone(),
            run: self.run.to_owned(),
            finished: jiff::Timestamp::now().to_string(),
            seconds,
            peak_memory,
            notes: notes.clone(),
            other_outputs,
            accepted: None,
        })?;
        std::fs::remove_dir_all(&work).with_context(|| format!("cannot remove {}", work.display()))?;
        working.end(&task.says(&format!("ran: {reason}")), &outputs, seconds);
        let logs = log.dir().map(Path::to_path_buf);
        let outcome = Outcome::new(task, Status::Ran, reason);
        Ok(Outcome { artifacts: outputs, notes, timing, logs, seconds, ..outcome })
    }

    fn write_job(
        &self,
        task: Task,
        keyed: &Keyed,
        hints: Vec<PathBuf>,
        work: &Path,
    ) -> anyhow::Result<PathBuf> {
        let step = task.step;
        let input = |kind: &&'static str| {
            let id = self.known.get(*kind).with_context(|| format!("no step before it made {kind}"))?;
            Ok(((*kind).to_owned(), self.plan.store.path(kind, id)))
        };
        let job = Job {
            format: JOB_FORMAT.into(),
            stage: step.name().into(),
            code: keyed.document["code"].as_str().unwrap_or_default().to_owned(),
            inputs: step.inputs().iter().map(input).collect::<anyhow::Result<_>>()?,
            hints,
            work: work.to_path_buf(),
            device: self.plan.places().of(step).device,
            params: self.plan.params(task),
            runtime: json!(self.plan.pipeline.runtime),
        };
        let path = work.join("job.json");
        std::fs::write(&path, serde_json::to_vec_pretty(&job)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

/// What is said of a step that gave other bytes than before, for the same key.
fn other_bytes(before: &Outputs, now: &Outputs, place: &Place) -> String {
    let mut said = match place.gpu {
        None => "\nNOT DETERMINISTIC: the same key gave other bytes before; both are kept".to_owned(),
        Some(_) => {
            "\nother bytes than the same key gave before, as may be on a GPU; both are kept".to_owned()
        }
    };
    for (kind, id) in now {
        if let Some(other) = before.get(kind).filter(|other| *other != id) {
            said += &format!("\nby how much: cargo xtask diff {} {}", other.short(), id.short());
        }
    }
    said
}

fn empty_dir(dir: &Path) -> anyhow::Result<()> {
    if dir.exists() {
        std::fs::remove_dir_all(dir).with_context(|| format!("cannot clear {}", dir.display()))?;
    }
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use resect_artifact::Hash;
    use resect_device::{Device, Gpu};

    #[test]
    fn other_bytes_are_a_fault_on_the_cpu_alone_and_can_be_looked_at_anywhere() {
        let outputs = |ids: [&str; 2]| -> Outputs {
            ["images", "targets"]
                .into_iter()
                .map(str::to_owned)
                .zip(ids.map(|id| Hash::of(id.as_bytes())))
                .collect()
        };
        let (before, now) = (outputs(["a", "same"]), outputs(["b", "same"]));
        let gpu = Gpu { index: 0, name: "x".into(), capability: (9, 0), memory: 1, cuda: "12.8".into() };
        let on_gpu = Place { device: Device::Cuda(0), gpu: Some(gpu) };
        let [cpu, gpu] = [Place::default(), on_gpu].map(|place| other_bytes(&before, &now, &place));
        assert!(cpu.contains("NOT DETERMINISTIC") && !gpu.contains("NOT DETERMINISTIC"), "{cpu}{gpu}");
        let command = format!("cargo xtask diff {} {}", before["images"].short(), now["images"].short());
        for said in [cpu, gpu] {
            assert!(said.contains(&command) && said.matches("cargo xtask diff").count() == 1, "{said}");
        }
    }
}
