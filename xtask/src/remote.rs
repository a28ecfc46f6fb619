//! A store that machines share: `push`, `pull`, and what a run takes from it instead of working.
//!
//! The traffic is the program `resect-remote`'s (`tools/remote`), which is built when it is first needed. It asks and answers in one line
//! each; whatever goes wrong there costs a run a warning and nothing else.

use crate::pipeline::RemoteSettings;
use crate::plan::{Decision, Known, Plan, Step};
use crate::record::{self, RunRecord};
use crate::{PipelineArgs, StoreArgs, find, inspect, pipeline, program, show};
use anyhow::{Context, bail, ensure};
use clap::Args;
use resect_artifact::{Action, Ancestry, Key, Named, Store, StoreError};
use resect_remote_job::{Answer, Job, Task};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

/// Which shared store.
#[derive(Args, Clone)]
pub struct RemoteArgs {
    /// The store that machines share: s3://bucket/prefix, gs://, az://, https://, or a folder [default: remote.url of the pipeline].
    #[arg(long, value_name = "URL", env = "RESECT_REMOTE", hide_env_values = true)]
    pub remote: Option<String>,
}

/// A shared store.
pub struct Remote {
    url: String,
    /// The program once it is there; `None` from the first trouble on.
    state: Mutex<State>,
    bin_dir: Option<PathBuf>,
}

enum State {
    Unused,
    Ready(PathBuf),
    /// It made trouble, and is asked no more.
    Left,
}

impl Remote {
    /// The shared store that a command names, else the pipeline; none where neither does.
    ///
    /// # Errors
    /// A URL that holds a password or a token: those belong into the environment.
    pub fn open(
        args: &RemoteArgs,
        settings: &RemoteSettings,
        bin_dir: Option<&Path>,
    ) -> anyhow::Result<Option<Self>> {
        let url = args.remote.clone().unwrap_or_else(|| settings.url.clone());
        if url.is_empty() {
            return Ok(None);
        }
        check(&url)?;
        let bin_dir = bin_dir.map(Path::to_path_buf);
        Ok(Some(Self { url, state: Mutex::new(State::Unused), bin_dir }))
    }

    /// What a stage gave for a key on another machine, brought into the store; none where there is none, or where something went wrong,
    /// which is said once.
    pub fn fetch(&self, stage: &str, key: &Key, store: &Store) -> Option<(Action, Answer)> {
        let program = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            match &*state {
                State::Left => return None,
                State::Ready(program) => program.clone(),
                State::Unused => match program::remote(self.bin_dir.as_deref()) {
                    Ok(program) => {
                        *state = State::Ready(program.clone());
                        program
                    }
                    Err(error) => {
                        *state = State::Left;
                        say!("the shared store cannot be asked: {error:#}; going on without");
                        return None;
                    }
                },
            }
        };
        let task = Task::Fetch { stage: stage.to_owned(), key: key.clone() };
        match self.ask(&program, store, task) {
            Ok(answer) if answer.found => record::action(store, stage, key).map(|action| (action, answer)),
            Ok(answer) => {
                if let Some(wrong) = answer.wrong {
                    say!("{stage}: in the shared store {wrong}; it is made here");
                }
                None
            }
            Err(error) => {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                if !matches!(*state, State::Left) {
                    say!("the shared store {} makes trouble: {error:#}; going on without", self.url);
                }
                *state = State::Left;
                None
            }
        }
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    fn ask(&self, program: &Path, store: &Store, task: Task) -> anyhow::Result<Answer> {
        let job = Job { url: self.url.clone(), store: store.root().to_owned(), task };
        let mut answer = None;
        let status = program::run_tool(program, &job, 0, |line| answer = Some(line), |line| say!("{line}"))?;
        answer.with_context(|| format!("resect-remote ended without a word ({status})"))
    }

    /// Sends artifacts with their records.
    ///
    /// # Errors
    /// A shared store that cannot be reached or written to, an artifact that is damaged.
    pub fn push(&self, store: &Store, ancestry: Ancestry, without: &[String]) -> anyhow::Result<Answer> {
        let is_here = |(kind, id): &Named| store.path(kind, id).exists();
        let artifacts =
            ancestry.artifacts.into_iter().filter(|named| !without.contains(&named.0) && is_here(named));
        let task = Task::Push { artifacts: artifacts.collect(), actions: ancestry.actions };
        self.ask(&program::remote(self.bin_dir.as_deref())?, store, task)
    }
}

/// A URL is shown and recorded, so nothing secret may stand in it.
fn check(url: &str) -> anyhow::Result<()> {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or_default();
    // Only that of abfs has a container there, and that no colon.
    let before = host.split_once('@').map(|(before, _)| before);
    ensure!(
        before.is_none_or(|container| url.starts_with("abfs") && !container.contains(':')),
        "the shared store's URL holds a user or a password; give those by the environment (docs/remote.md says how)"
    );
    ensure!(
        !rest.contains('?'),
        "the shared store's URL holds a query; tokens belong into the environment (docs/remote.md says how)"
    );
    Ok(())
}

#[derive(Args)]
pub struct PushArgs {
    /// Runs or artifacts, with all behind them [default: what the pipeline gave last].
    #[arg(value_name = "RUN|ARTIFACT")]
    what: Vec<String>,
    /// Leave artifacts of this kind at home, such as dataset, where data must not leave; records go. Repeatable.
    #[arg(long, value_name = "KIND")]
    without: Vec<String>,
    #[command(flatten)]
    remote: RemoteArgs,
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

pub fn push(args: &PushArgs) -> anyhow::Result<ExitCode> {
    let store = args.store.open()?;
    let file = pipeline::file(args.pipeline.as_deref())?;
    let settings = match &args.remote.remote {
        Some(_) => RemoteSettings::default(),
        None => pipeline::Pipeline::load(Some(&file), &[])?.remove(0).1.remote,
    };
    let remote = Remote::open(&args.remote, &settings, args.bin_dir.as_deref())?;
    let remote = remote
        .context("which shared store? --remote URL, RESECT_REMOTE, or url in [remote] of the pipeline")?;
    let (mut artifacts, mut keys): (Vec<Named>, Vec<(String, Key)>) = (Vec::new(), Vec::new());
    for name in &args.what {
        match RunRecord::find(&store, name)? {
            Some(run) => keys.extend(run.keys()),
            None => artifacts.push(find::artifact(name, &store)?),
        }
    }
    if args.what.is_empty() {
        let stage = |memory: &str| memory.split(',').next().unwrap_or_default().to_owned();
        let latest = store.latest(pipeline::name(&file)?)?.into_iter();
        keys.extend(latest.map(|(memory, key)| (stage(&memory), key)));
    }
    let ancestry = behind(&store, artifacts, &keys)?;
    ensure!(
        !ancestry.artifacts.is_empty(),
        "{} has given nothing yet; run it first",
        crate::workspace::display(&file)
    );
    let answer = remote.push(&store, ancestry, &args.without)?;
    if args.json {
        show::print(serde_json::to_string_pretty(
            &json!({ "format": "resect-push/1.0", "url": remote.url, "sent": answer }),
        )?);
    } else {
        show::print(sent(&remote.url, &answer));
    }
    Ok(ExitCode::SUCCESS)
}

/// Artifacts, and what stages gave for keys, with all behind them. The records are those of the keys: another key may have given the same bytes.
///
/// # Errors
/// A record that cannot be read: what lies behind it is not known.
pub fn behind(
    store: &Store,
    mut artifacts: Vec<Named>,
    keys: &[(String, Key)],
) -> Result<Ancestry, StoreError> {
    let of_keys = keys.iter().filter_map(|(stage, key)| store.action(stage, key).transpose());
    let of_keys: Vec<Action> = of_keys.collect::<Result<_, _>>()?;
    artifacts.extend(of_keys.iter().flat_map(|action| action.outputs.clone()));
    let mut ancestry = record::all(store)?.ancestry(artifacts);
    for action in of_keys {
        if !ancestry.actions.iter().any(|known| (&known.stage, &known.key) == (&action.stage, &action.key)) {
            ancestry.actions.push(action);
        }
    }
    Ok(ancestry)
}

/// What was sent, in a line.
pub fn sent(url: &str, answer: &Answer) -> String {
    format!(
        "{url}: sent {} artifacts ({} files, {}) and {} records; {} files were there",
        answer.artifacts.len(),
        answer.files,
        inspect::megabytes(answer.bytes),
        answer.records,
        answer.known
    )
}

#[derive(Args)]
pub struct PullArgs {
    /// Artifacts, by the first digits of their ids [default: what the pipeline's keys name].
    #[arg(value_name = "ARTIFACT")]
    what: Vec<String>,
    #[command(flatten)]
    pipeline: PipelineArgs,
}

pub fn pull(args: &PullArgs) -> anyhow::Result<ExitCode> {
    let plans = Plan::all(&args.pipeline)?;
    let remote =
        Remote::open(&args.pipeline.remote, &plans[0].pipeline.remote, args.pipeline.bin_dir.as_deref())?;
    let remote = remote
        .context("which shared store? --remote URL, RESECT_REMOTE, or url in [remote] of the pipeline")?;
    ensure!(!args.pipeline.offline, "--offline asks nobody");
    let program = program::remote(args.pipeline.bin_dir.as_deref())?;
    let store = &plans[0].store;
    let mut fetched: Vec<Named> = Vec::new();
    for digits in &args.what {
        let is_hex = digits.len() >= 6 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        ensure!(is_hex, "{digits} is no artifact: give six digits of its id, or more");
        let answer = remote.ask(&program, store, Task::Artifact { digits: digits.clone() })?;
        if !answer.found {
            bail!("{} has no artifact {digits}", remote.url);
        }
        fetched.extend(answer.artifacts);
    }
    for plan in plans.iter().filter(|_| args.what.is_empty()) {
        let mut known = Known::new();
        for task in plan.tasks(None) {
            if task.step == Step::Train {
                known.remove("checkpoint");
            }
            if task.reads.iter().any(|kind| !known.contains_key(kind)) {
                continue;
            }
            let keyed = plan.key(task, &known)?;
            if !matches!(plan.decide(task, &keyed, false, ""), Decision::Reuse(_)) {
                let task = Task::Fetch { stage: task.step.name().into(), key: keyed.key.clone() };
                fetched.extend(remote.ask(&program, store, task)?.artifacts);
            }
            if let Decision::Reuse(action) = plan.decide(task, &keyed, false, "") {
                let outputs = task.step.outputs().iter();
                known.extend(outputs.filter_map(|kind| Some((*kind, action.outputs.get(*kind)?.clone()))));
            }
        }
    }
    if args.pipeline.json {
        show::print(serde_json::to_string_pretty(
            &json!({ "format": "resect-pull/1.0", "url": remote.url, "fetched": fetched }),
        )?);
        return Ok(ExitCode::SUCCESS);
    }
    for (kind, id) in &fetched {
        show::print(format_args!("{kind:<11} {}", id.short()));
    }
    show::print(format_args!("{}: fetched {} artifacts", remote.url, fetched.len()));
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests;
