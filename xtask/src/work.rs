//! One step of a run: reuse what is there, or run it, publish what it made and record it.

use crate::device::Place;
use crate::log::{Log, LogFormat};
use crate::plan::{self, Decision, Keyed, Known, Plan, Step, Task};
use crate::program::{self, Interrupted};
use crate::remote::Remote;
use crate::run::{Outcome, Status};
use crate::show::Screen;
use crate::{figures, interrupt, record, show};
use anyhow::{Context, ensure};
use resect_artifact::{Action, ArtifactId, Lock, Outputs};
use resect_stage::{JOB_FORMAT, Job, Message};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Who does it: a thread of its own, for one step of one run.
pub struct Worker<'a> {
    pub plan: &'a Plan,
    /// Name of the run.
    pub run: &'a str,
    pub screen: &'a Screen,
    /// What tells the step from others, for people.
    pub label: String,
    pub log: &'a [LogFormat],
    /// Of the program; 0 is one for each core.
    pub threads: usize,
    /// The stage's program; a source has none.
    pub program: PathBuf,
}

impl Worker<'_> {
    /// Does a step, unless another runner has done it by the time its turn comes.
    ///
    /// # Errors
    /// Whatever went wrong in it, and [`Interrupted`].
    pub fn step(&self, task: Task, keyed: &Keyed, known: &Known, forced: bool) -> anyhow::Result<Outcome> {
        let started = Instant::now();
        let _lock = self.lock(task.step, keyed)?;
        if interrupt::requested() {
            return Err(Interrupted.into());
        }
        let mut outcome = match self.plan.decide(task, keyed, forced, self.run) {
            Decision::Reuse(action) => self.reused(task, *action, false),
            Decision::Accept(action) => {
                self.plan.store.record(&action)?;
                self.reused(task, *action, false)
            }
            Decision::Run(reasons) => self.execute(task, keyed, known, forced, &reasons.join("\n"))?,
        };
        if outcome.status != Status::Ran {
            outcome.seconds = started.elapsed().as_secs_f64();
        }
        Ok(self.completed(task, keyed, outcome))
    }

    /// Asks the shared store for a step; none where it has none, or has trouble.
    ///
    /// # Errors
    /// [`Interrupted`], or a lock that cannot be taken.
    pub fn fetch(&self, task: Task, keyed: &Keyed, remote: &Remote) -> anyhow::Result<Option<Outcome>> {
        let started = Instant::now();
        let _lock = self.lock(task.step, keyed)?;
        let Some((action, answer)) = remote.fetch(task.step.name(), &keyed.key, &self.plan.store) else {
            return if interrupt::requested() { Err(Interrupted.into()) } else { Ok(None) };
        };
        let seconds = started.elapsed().as_secs_f64();
        let size = crate::inspect::megabytes(answer.bytes);
        let reason = format!("fetched from the shared store, {size}; run {} made it", action.run);
        let shown = plan::says(&self.label, &format!("fetched, {size}"));
        self.screen.step(task.step, &shown, &action.outputs, Some(seconds));
        let outcome = Outcome {
            artifacts: action.outputs,
            notes: action.notes,
            seconds,
            ..Outcome::new(task, Status::Fetched, reason)
        };
        Ok(Some(self.completed(task, keyed, outcome)))
    }

    /// An outcome with all that does not depend on whether the step ran.
    pub fn completed(&self, task: Task, keyed: &Keyed, outcome: Outcome) -> Outcome {
        let provenance = match self.plan.sources.of(task.step) {
            Some(source) => source.provenance(),
            None if outcome.status == Status::Ran => self.plan.places().of(task.step).provenance(),
            None => None,
        };
        let evaluation = outcome.artifacts.get("evaluation");
        let metrics = evaluation.and_then(|id| match figures::read(&self.plan.store, id) {
            Ok(metrics) => Some(metrics),
            Err(error) => {
                show::warn(error.context("the run's record gets no figures").as_ref());
                None
            }
        });
        Outcome { key: Some(keyed.key.clone()), provenance, metrics, ..outcome }
    }

    /// The key's lock, once nobody else holds it.
    fn lock(&self, step: Step, keyed: &Keyed) -> anyhow::Result<Lock> {
        let waiting = |holder: &str| say!("{}: waiting for {holder}", step.name());
        let path = self.plan.store.lock_path(&keyed.key);
        let lock = Lock::acquire(&path, &self.holder(), waiting, interrupt::requested);
        lock.map_err(|error| match error {
            resect_artifact::StoreError::Interrupted => Interrupted.into(),
            other => anyhow::Error::from(other),
        })
    }

    /// What other runners read of this one while it holds a lock.
    fn holder(&self) -> String {
        format!("run {} (process {})", self.run, std::process::id())
    }

    /// Removes what a killed rerun left beside artifacts that are there and sound: nothing would resume it.
    ///
    /// # Errors
    /// A folder that cannot be removed.
    pub fn clear_leftover(&self, step: Step, keyed: &Keyed) -> anyhow::Result<()> {
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

    /// What is there already; `said` where this command has a line on it.
    pub fn reused(&self, task: Task, action: Action, said: bool) -> Outcome {
        let reason = match &action.accepted {
            None => "nothing changed".to_owned(),
            Some(accepted) => format!("accepted: {}", accepted.reason),
        };
        let shown = if action.accepted.is_some() { format!("reused, {reason}") } else { "reused".into() };
        if !said {
            self.screen.step(task.step, &plan::says(&self.label, &shown), &action.outputs, None);
        }
        Outcome {
            artifacts: action.outputs,
            notes: action.notes,
            accepted: action.accepted,
            ..Outcome::new(task, Status::Reused, reason)
        }
    }

    /// Runs a step, publishes what it made and records it.
    fn execute(
        &self,
        task: Task,
        keyed: &Keyed,
        known: &Known,
        forced: bool,
        reason: &str,
    ) -> anyhow::Result<Outcome> {
        let (step, started) = (task.step, Instant::now());
        let mut working = self.screen.begin(step.name(), &self.label, self.plan.variant.is_none(), reason);
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
                ensure!(
                    !self.program.as_os_str().is_empty(),
                    "what was accepted changed while it was looked at; run again"
                );
                for kind in task.reads {
                    self.plan.sound.readable(&self.plan.store, kind, input(step, kind, known)?)?;
                }
                // A forced rerun is to show what the stage gives, not what it gave.
                let hints = if forced { Vec::new() } else { self.plan.hints(step, keyed) };
                let job = self.write_job(task, keyed, known, hints, &work)?;
                let shared = std::cell::RefCell::new(&mut working);
                let finished = program::run(
                    &self.program,
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
            self.plan.sound.is_made(&id);
            outputs.insert((*kind).to_owned(), id);
        }
        let mut reason = reason.to_owned();
        let mut other_outputs = Vec::new();
        // What was only accepted for this key says nothing about what the key gives.
        let before = record::action(&self.plan.store, step.name(), &keyed.key);
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
        working.end(&plan::says(&self.label, &format!("ran: {reason}")), &outputs, seconds);
        let logs = log.dir().map(Path::to_path_buf);
        let outcome = Outcome::new(task, Status::Ran, reason);
        Ok(Outcome { artifacts: outputs, notes, timing, logs, seconds, peak_memory, ..outcome })
    }

    fn write_job(
        &self,
        task: Task,
        keyed: &Keyed,
        known: &Known,
        hints: Vec<PathBuf>,
        work: &Path,
    ) -> anyhow::Result<PathBuf> {
        let step = task.step;
        let path = |kind: &&'static str| {
            Ok(((*kind).to_owned(), self.plan.store.path(kind, input(step, kind, known)?)))
        };
        let job = Job {
            format: JOB_FORMAT.into(),
            stage: step.name().into(),
            code: keyed.document["code"]
                .as_str()
                .with_context(|| format!("internal error: the key of {} names no code", step.name()))?
                .to_owned(),
            inputs: task.reads.iter().map(path).collect::<anyhow::Result<_>>()?,
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

/// The artifact of a kind that a step reads.
fn input<'a>(step: Step, kind: &str, known: &'a Known) -> anyhow::Result<&'a ArtifactId> {
    known.get(kind).with_context(|| format!("no step before {} made {kind}", step.name()))
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
mod tests;
