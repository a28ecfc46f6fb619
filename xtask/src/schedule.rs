//! Which step runs when: what does not wait for another runs beside it, as far as memory goes.
//!
//! One thread decides; each step that must run has a thread of its own that waits for its program. Steps of several runs with the same
//! key are one piece of work: the first does it, the others wait and reuse it. A step that fails takes with it what waits for it and
//! nothing else.
//!
//! How much memory a stage needs is known from the last one that read the same base checkpoint, with a margin. One of which nothing is
//! known runs alone, and is known from then on. GPUs have one stage at a time, because their memory is not counted here.

use crate::plan::{self, Decision, Keyed, Known, Plan, Shards, Step, Task};
use crate::program::{self, Interrupted};
use crate::record::readable;
use crate::remote::Remote;
use crate::run::{Outcome, Status};
use crate::show::Screen;
use crate::sound::Damaged;
use crate::work::Worker;
use crate::{interrupt, log::LogFormat};
use anyhow::{anyhow, ensure};
use resect_artifact::{ArtifactId, Key, Outputs};
use resect_device::Device;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};

/// How a command's steps are to run.
pub struct Options<'a> {
    /// The last step that is asked for.
    pub last: Step,
    /// Steps that run although nothing changed.
    pub force: &'a [Step],
    /// Which shards of `embed`.
    pub shards: Option<Shards>,
    /// Worker threads of all stages together; 0 is one for each core.
    pub threads: usize,
    /// Stages at a time; 0 is one for each core.
    pub jobs: usize,
    /// Bytes that stages may take together; `None` is three quarters of what is free.
    pub memory: Option<u64>,
    /// What is logged of training.
    pub log: &'a [LogFormat],
    /// Who is asked before anything runs.
    pub remote: Option<&'a Remote>,
}

/// A plan with the name of its run.
pub struct Running<'a> {
    pub plan: &'a Plan,
    pub name: String,
}

/// What came of a run.
pub struct Finished {
    pub outcomes: Vec<(Task, Outcome)>,
    /// The keys it used, by what they are remembered under.
    pub keys: BTreeMap<String, Key>,
    /// The first thing that went wrong.
    pub error: Option<anyhow::Error>,
}

/// Runs the steps of all plans.
///
/// What goes wrong stands in what comes back.
pub fn run(runs: &[Running<'_>], options: &Options<'_>, screen: &Screen) -> Vec<Finished> {
    std::thread::scope(|scope| {
        let (sender, receiver) = channel();
        let mut schedule = Schedule::new(runs, options, screen, sender);
        schedule.go(scope, &receiver);
        schedule.finish()
    })
}

/// What is said of a step to which an interrupted run did not come.
pub const INTERRUPTED: &str = "interrupted before it";

/// Memory that a source takes: it is made by the runner itself.
const SOURCE_MEMORY: u64 = 256 << 20;
/// What was needed before, times this, is what is set aside.
const MARGIN: f64 = 1.2;

/// A step of a run, and how far it is.
struct Item {
    run: usize,
    task: Task,
    /// From when on its inputs are there.
    keyed: Option<Keyed>,
    /// Whether the shared store was asked for it.
    asked: bool,
    state: State,
}

enum State {
    Waiting,
    /// It can start.
    Ready(How),
    Running,
    Done(Box<Outcome>),
}

/// What has to be done for a step.
#[derive(Clone, Copy, PartialEq)]
enum How {
    /// Its program runs, or the runner makes it.
    Work { by_program: bool },
    /// The shared store is asked.
    Ask,
}

/// What a thread sends when its step is over.
struct Over {
    item: usize,
    /// `None`: the shared store was asked in vain.
    result: anyhow::Result<Option<Outcome>>,
}

/// What a running step takes.
struct Taken {
    memory: u64,
    gpu: Option<Device>,
    /// Whether nothing may run beside it.
    alone: bool,
}

struct Schedule<'s> {
    runs: &'s [Running<'s>],
    options: &'s Options<'s>,
    screen: &'s Screen,
    sender: Sender<Over>,
    /// Run after run, and of each run in their order.
    items: Vec<Item>,
    /// Where the items of each run lie.
    ranges: Vec<Range<usize>>,
    running: HashMap<usize, Taken>,
    /// Keys that are being worked on, or are about to.
    keys: HashSet<Key>,
    /// Keys that were forced and done, so that none is forced twice.
    forced: HashSet<Key>,
    /// What failed, by key, so that nobody tries the same again.
    failed: HashMap<Key, String>,
    errors: BTreeMap<usize, anyhow::Error>,
    /// Peak memory of a stage on a base checkpoint, where it is known.
    needs: HashMap<(Step, String), Option<u64>>,
    /// What was found damaged by who was to read it, and removed.
    discarded: HashSet<ArtifactId>,
    /// Built, or looked up, when a stage must run for the first time; or why they do not build.
    programs: Option<Result<BTreeMap<Step, PathBuf>, String>>,
    memory: u64,
    said: HashSet<Key>,
    interrupted: bool,
}

impl<'s> Schedule<'s> {
    fn new(
        runs: &'s [Running<'s>],
        options: &'s Options<'s>,
        screen: &'s Screen,
        sender: Sender<Over>,
    ) -> Self {
        let (mut items, mut ranges) = (Vec::new(), Vec::new());
        for (run, running) in runs.iter().enumerate() {
            let (first, tasks) = (items.len(), running.plan.tasks(options.shards).into_iter());
            items.extend(tasks.map(|task| Item {
                run,
                task,
                keyed: None,
                asked: false,
                state: State::Waiting,
            }));
            ranges.push(first..items.len());
        }
        Self {
            runs,
            options,
            screen,
            sender,
            items,
            ranges,
            running: HashMap::new(),
            keys: HashSet::new(),
            forced: HashSet::new(),
            failed: HashMap::new(),
            errors: BTreeMap::new(),
            needs: HashMap::new(),
            discarded: HashSet::new(),
            programs: None,
            memory: options
                .memory
                .unwrap_or_else(|| resect_device::free_host_memory().map_or(u64::MAX, |free| free / 4 * 3)),
            said: HashSet::new(),
            interrupted: false,
        }
    }

    /// Starts what can be started and waits for something to end, until there is neither.
    fn go<'scope>(&mut self, scope: &'scope std::thread::Scope<'scope, '_>, receiver: &Receiver<Over>)
    where
        's: 'scope,
    {
        loop {
            self.settle();
            while !self.interrupted
                && let Some((item, taken)) = self.next()
            {
                self.start(scope, item, taken);
            }
            let is_ready = |item: &Item| matches!(item.state, State::Ready(_));
            if self.running.is_empty() {
                // What is still ready failed to start; it is settled now.
                if self.interrupted || !self.items.iter().any(is_ready) {
                    return;
                }
                continue;
            }
            let Ok(over) = receiver.recv() else { return };
            self.over(over);
        }
    }

    /// Decides on all whose inputs are there. Steps come after those whose results they read, so one pass sees all; and of each step
    /// all runs' keys are known before anything is said of one, so that what they share can be told.
    fn settle(&mut self) {
        let steps = self.ranges.iter().map(Range::len).max().unwrap_or_default();
        for step in 0..steps {
            let here: Vec<usize> = self.ranges.iter().filter_map(|range| range.clone().nth(step)).collect();
            let mut prepared = Vec::new();
            for i in here {
                if matches!(self.items[i].state, State::Waiting) && self.prepare(i) {
                    prepared.push(i);
                }
            }
            for i in prepared {
                self.interrupted |= interrupt::requested();
                if let Some(state) = self.decide(i) {
                    self.items[i].state = state;
                }
            }
        }
    }

    fn of_run(&self, run: usize) -> &[Item] {
        &self.items[self.ranges[run].clone()]
    }

    /// Finds the key of a step whose inputs are there, and says whether it did. A step of which nothing will come is done.
    fn prepare(&mut self, i: usize) -> bool {
        let Item { run, task, .. } = self.items[i];
        let mut blocked = (task.step > self.options.last).then_some("not asked for");
        for other in self.of_run(run).iter().filter(|other| feeds(other.task, task)) {
            match &other.state {
                State::Done(outcome) if outcome.status == Status::Failed => {
                    blocked = blocked.or(Some("a step before it failed"));
                }
                // A shard is left out where the whole is there.
                State::Done(outcome) if outcome.status == Status::Skipped && outcome.shard.is_none() => {
                    blocked = blocked.or(Some("a step before it failed"));
                }
                State::Done(_) => {}
                _ if blocked.is_none() => return false,
                _ => {}
            }
        }
        if blocked.is_none() && self.interrupted {
            blocked = Some(INTERRUPTED);
        }
        match blocked {
            Some(reason) => {
                if task.step <= self.options.last {
                    self.say(i, "skipped");
                }
                self.items[i].state = done(task, Status::Skipped, reason);
                false
            }
            None => match self.keyed(i) {
                Ok(_) => true,
                Err(error) => {
                    self.items[i].state = self.failure(i, error);
                    false
                }
            },
        }
    }

    /// What becomes of a step whose key is known; `None` while another with the same key is at work.
    fn decide(&mut self, i: usize) -> Option<State> {
        let Item { run, task, .. } = self.items[i];
        let plan = self.runs[run].plan;
        let keyed = self.items[i].keyed.clone()?;
        if task.shard.is_some() && self.whole_is_there(i) {
            return Some(done(task, Status::Skipped, "all shards together are there"));
        }
        if let Some(reason) = self.failed.get(&keyed.key) {
            let reason = format!("the same step failed in another run: {reason}");
            return Some(self.failure(i, anyhow::anyhow!(reason)));
        }
        if self.keys.contains(&keyed.key) {
            return None;
        }
        let forced = self.is_forced(i);
        let worker = self.worker(i, 0, PathBuf::new());
        match plan.decide(task, &keyed, forced, &self.runs[run].name) {
            Decision::Reuse(action) => {
                let reused = worker.clear_leftover(task.step, &keyed).map(|()| {
                    let outcome = worker.reused(task, *action, self.said.contains(&keyed.key));
                    State::Done(Box::new(worker.completed(task, &keyed, outcome)))
                });
                self.said.insert(keyed.key);
                Some(reused.unwrap_or_else(|error| self.failure(i, error)))
            }
            decision => {
                self.keys.insert(keyed.key);
                let runs = matches!(decision, Decision::Run(_));
                let ask = runs && !forced && !self.items[i].asked && self.options.remote.is_some();
                let by_program = runs && !task.step.is_source();
                Some(State::Ready(if ask { How::Ask } else { How::Work { by_program } }))
            }
        }
    }

    /// The key of a step whose inputs are there.
    fn keyed(&mut self, i: usize) -> anyhow::Result<Keyed> {
        if let Some(keyed) = &self.items[i].keyed {
            return Ok(keyed.clone());
        }
        let keyed = self.runs[self.items[i].run].plan.key(self.items[i].task, &self.known(i))?;
        self.items[i].keyed = Some(keyed.clone());
        Ok(keyed)
    }

    /// The artifacts that a step may read.
    fn known(&self, i: usize) -> Known {
        let Item { run, task, .. } = &self.items[i];
        let before = self.of_run(*run).iter().filter(|other| other.task.is_known_to(*task));
        let mut known = Known::new();
        for other in before {
            let State::Done(outcome) = &other.state else { continue };
            for kind in other.task.step.outputs() {
                known.extend(outcome.artifacts.get(*kind).map(|id| (*kind, id.clone())));
            }
        }
        known
    }

    /// Whether what the shards make together is there already, so that none of them is needed.
    fn whole_is_there(&self, i: usize) -> bool {
        let Item { run, task, .. } = self.items[i];
        let plan = self.runs[run].plan;
        let is_whole = |other: &&Item| other.task.step == task.step && other.task.shard.is_none();
        let whole = self.of_run(run).iter().find(is_whole);
        let Some(whole) = whole.filter(|_| !self.options.force.contains(&task.step)) else { return false };
        let keyed = plan.key(whole.task, &self.known(i));
        keyed.is_ok_and(|keyed| {
            matches!(plan.decide(whole.task, &keyed, false, &self.runs[run].name), Decision::Reuse(_))
        })
    }

    fn is_forced(&self, i: usize) -> bool {
        let done = self.items[i].keyed.as_ref().is_some_and(|keyed| self.forced.contains(&keyed.key));
        self.options.force.contains(&self.items[i].task.step) && !done
    }

    /// The next step that may start, and what it takes.
    fn next(&mut self) -> Option<(usize, Taken)> {
        if self.running.len() >= self.jobs() || self.running.values().any(|taken| taken.alone) {
            return None;
        }
        for i in 0..self.items.len() {
            if !matches!(self.items[i].state, State::Ready(_)) {
                continue;
            }
            let taken = self.takes(i);
            let in_use: u64 = self.running.values().map(|taken| taken.memory).sum();
            let fits = in_use.saturating_add(taken.memory) <= self.memory && !taken.alone;
            let gpu_is_free =
                taken.gpu.is_none() || self.running.values().all(|running| running.gpu != taken.gpu);
            // What needs more than there is has to do with it, alone.
            if self.running.is_empty() || (fits && gpu_is_free) {
                return Some((i, taken));
            }
        }
        None
    }

    fn jobs(&self) -> usize {
        if self.options.jobs == 0 { cores() } else { self.options.jobs }
    }

    /// What a step will take, by what those before it took.
    fn takes(&mut self, i: usize) -> Taken {
        let Item { run, task, .. } = self.items[i];
        if matches!(self.items[i].state, State::Ready(How::Ask)) {
            return Taken { memory: SOURCE_MEMORY, gpu: None, alone: false };
        }
        if task.step.is_source() {
            return Taken { memory: SOURCE_MEMORY, gpu: None, alone: true };
        }
        let place = self.runs[run].plan.places().of(task.step);
        let gpu = place.gpu.is_some().then_some(place.device);
        let need = self.need(i);
        Taken { memory: need.unwrap_or_default(), gpu, alone: need.is_none() }
    }

    /// Bytes that the last stage like this one took, with a margin.
    fn need(&mut self, i: usize) -> Option<u64> {
        let Item { run, task, keyed, .. } = &self.items[i];
        let like = like(task.step, keyed.as_ref()?);
        let store = &self.runs[*run].plan.store;
        let peak = *self.needs.entry(like.clone()).or_insert_with(|| {
            let mut actions = readable(store.actions(task.step.name())).into_iter();
            actions.find_map(|action| {
                let keyed = Keyed { key: action.key.clone(), document: action.document.clone() };
                (self::like(task.step, &keyed) == like).then_some(action.peak_memory)?
            })
        });
        peak.map(|peak| (peak as f64 * MARGIN) as u64)
    }

    fn start<'scope>(&mut self, scope: &'scope std::thread::Scope<'scope, '_>, i: usize, taken: Taken)
    where
        's: 'scope,
    {
        let task = self.items[i].task;
        let by_program = matches!(self.items[i].state, State::Ready(How::Work { by_program: true }));
        let prepared = self.keyed(i).and_then(|keyed| {
            let program = if by_program { self.program(i)? } else { PathBuf::new() };
            Ok((keyed, program))
        });
        let (keyed, program) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                if let Some(keyed) = &self.items[i].keyed {
                    self.keys.remove(&keyed.key);
                }
                self.items[i].state = self.failure(i, error);
                return;
            }
        };
        let threads = self.threads_beside(&taken);
        let (known, forced, worker) = (self.known(i), self.is_forced(i), self.worker(i, threads, program));
        let ask =
            matches!(self.items[i].state, State::Ready(How::Ask)).then_some(self.options.remote).flatten();
        self.items[i].asked |= ask.is_some();
        self.items[i].state = State::Running;
        self.running.insert(i, taken);
        let sender = self.sender.clone();
        scope.spawn(move || {
            let work = || match ask {
                Some(remote) => worker.fetch(task, &keyed, remote),
                None => worker.step(task, &keyed, &known, forced).map(Some),
            };
            // Whatever happens here, somebody waits for word of it.
            let result = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
                Err(anyhow!("a fault of the runner, not of the data; its message is above"))
            });
            // The receiver outlives every thread of the scope.
            let _ = sender.send(Over { item: i, result });
        });
    }

    /// The program of a stage. All are built when the first is asked for.
    fn program(&mut self, i: usize) -> anyhow::Result<PathBuf> {
        let Item { run, task, .. } = self.items[i];
        let runs = self.runs;
        let programs = self.programs.get_or_insert_with(|| {
            let built = match runs[run].plan.bin_dir() {
                Some(dir) => Ok(program::in_dir(dir)),
                None => program::build(runs.iter().any(|run| run.plan.places().need_cuda())),
            };
            built.map_err(|error| format!("{error:#}"))
        });
        match programs {
            Ok(programs) => programs
                .get(&task.step)
                .cloned()
                .ok_or_else(|| anyhow!("no program for {}", task.step.name())),
            Err(error) => Err(anyhow!("{error}")),
        }
    }

    /// Threads of a stage that starts now: all are shared by those that run and those that could.
    fn threads_beside(&self, taken: &Taken) -> usize {
        let ready = self.items.iter().filter(|item| matches!(item.state, State::Ready(_))).count();
        let together = if taken.alone { 1 } else { (self.running.len() + ready).min(self.jobs()) };
        match (together, self.options.threads) {
            (0 | 1, threads) => threads,
            (several, 0) => (cores() / several).max(1),
            (several, threads) => (threads / several).max(1),
        }
    }

    fn worker(&self, i: usize, threads: usize, program: PathBuf) -> Worker<'s> {
        let running = &self.runs[self.items[i].run];
        Worker {
            plan: running.plan,
            run: &running.name,
            screen: self.screen,
            label: self.label(i),
            log: self.options.log,
            threads,
            program,
        }
    }

    /// What tells a step from others: what all runs that share it have in common.
    fn label(&self, i: usize) -> String {
        let key = self.items[i].keyed.as_ref().map(|keyed| &keyed.key);
        let shares = |other: &&Item| other.keyed.as_ref().map(|keyed| &keyed.key) == key;
        let sharing = self.items.iter().filter(shares);
        plan::label(sharing.map(|item| (self.runs[item.run].plan, item.task)))
    }

    /// Takes note of a step that is over.
    fn over(&mut self, Over { item: i, result }: Over) {
        self.running.remove(&i);
        let Some(keyed) = self.items[i].keyed.clone() else { return };
        self.keys.remove(&keyed.key);
        if self.is_forced(i) && matches!(result, Ok(Some(_))) {
            self.forced.insert(keyed.key.clone());
        }
        self.items[i].state = match result {
            // Now it has to be done here.
            Ok(None) => State::Waiting,
            Ok(Some(outcome)) => {
                self.said.insert(keyed.key.clone());
                if let Some(peak) = outcome.peak_memory {
                    self.needs.insert(like(self.items[i].task.step, &keyed), Some(peak));
                }
                State::Done(Box::new(outcome))
            }
            Err(error) => {
                let error = match error.downcast::<Damaged>() {
                    Ok(damaged) => match self.make_again(i, damaged) {
                        Ok(()) => return,
                        Err(error) => error,
                    },
                    Err(error) => error,
                };
                if error.downcast_ref::<Interrupted>().is_some() {
                    self.interrupted = true;
                } else {
                    self.failed.insert(keyed.key.clone(), format!("{error:#}"));
                }
                self.failure(i, error)
            }
        };
    }

    /// Has what a step was to read, and what turned out to be damaged, made again before it.
    fn make_again(&mut self, i: usize, damaged: Damaged) -> anyhow::Result<()> {
        let Damaged { kind, id, damage } = damaged;
        let store = &self.runs[self.items[i].run].plan.store;
        ensure!(
            self.discarded.insert(id.clone()),
            "{damage}, just after it was made again: is the disk sound?"
        );
        say!("{damage}: it is removed and made again");
        store.discard_damaged(kind, &id)?;
        self.items[i].state = State::Waiting;
        for item in &mut self.items {
            let State::Done(outcome) = &item.state else { continue };
            if outcome.artifacts.get(kind) == Some(&id) {
                item.state = State::Waiting;
                if let Some(keyed) = &item.keyed {
                    self.said.remove(&keyed.key);
                }
            }
        }
        Ok(())
    }

    fn failure(&mut self, i: usize, error: anyhow::Error) -> State {
        self.say(i, "failed");
        let mut outcome = Outcome::new(self.items[i].task, Status::Failed, format!("{error:#}"));
        outcome.key = self.items[i].keyed.as_ref().map(|keyed| keyed.key.clone());
        self.errors.entry(self.items[i].run).or_insert(error);
        State::Done(Box::new(outcome))
    }

    fn say(&self, i: usize, what: &str) {
        let Item { run, task, .. } = self.items[i];
        self.screen.step(task.step, &self.runs[run].plan.says(task, what), &Outputs::new(), None);
    }

    fn finish(mut self) -> Vec<Finished> {
        let mut finished: Vec<Finished> = self
            .runs
            .iter()
            .enumerate()
            .map(|(run, _)| Finished {
                outcomes: Vec::new(),
                keys: BTreeMap::new(),
                error: self.errors.remove(&run),
            })
            .collect();
        for Item { run, task, keyed, state, asked: _ } in self.items {
            let outcome = match state {
                State::Done(outcome) => *outcome,
                _ => Outcome::new(task, Status::Skipped, INTERRUPTED),
            };
            let is_there = matches!(outcome.status, Status::Ran | Status::Reused | Status::Fetched);
            if let Some(keyed) = keyed.filter(|_| is_there) {
                finished[run].keys.insert(self.runs[run].plan.memory(task), keyed.key);
            }
            finished[run].outcomes.push((task, outcome));
        }
        finished
    }
}

/// Whether a task reads what another one makes.
fn feeds(before: Task, after: Task) -> bool {
    let shard_of_it = before.shard.is_some() && after.shard.is_none() && before.step == after.step;
    let reads = before.step.outputs().iter().any(|kind| after.reads.contains(kind));
    shard_of_it || (reads && before.is_known_to(after))
}

fn done(task: Task, status: Status, reason: &str) -> State {
    State::Done(Box::new(Outcome::new(task, status, reason)))
}

/// What stages that take about as much memory have in common: step and base checkpoint; of `ingest`, which reads none, the step.
fn like(step: Step, keyed: &Keyed) -> (Step, String) {
    (step, keyed.document["inputs"]["base"].as_str().unwrap_or_default().to_owned())
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
