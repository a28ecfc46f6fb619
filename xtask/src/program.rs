//! Building and spawning the programs of stages and tools.

use crate::plan::Step;
use crate::{interrupt, workspace};
use anyhow::{Context, bail, ensure};
use resect_stage::Message;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

fn file_name(name: &str) -> String {
    format!("resect-{name}{}", std::env::consts::EXE_SUFFIX)
}

/// Builds all stage programs with cargo, with their backend for GPUs where one `needs_cuda`, and says where they are.
pub fn build(needs_cuda: bool) -> anyhow::Result<BTreeMap<Step, PathBuf>> {
    let mut built = build_all(needs_cuda)?;
    let one = |step: Step| Ok((step, take(&mut built, step.name())?));
    Step::STAGES.into_iter().map(one).collect()
}

/// The program of a tool: that in a folder, built elsewhere, or else built with cargo, with its backend for GPUs where it
/// `needs_cuda`.
pub fn tool(name: &str, bin_dir: Option<&Path>, needs_cuda: bool) -> anyhow::Result<PathBuf> {
    match bin_dir {
        Some(dir) => Ok(std::path::absolute(dir)?.join(file_name(name))),
        None => take(&mut build_all(needs_cuda)?, name),
    }
}

/// The program that talks to a shared store: that in a folder, or else built with cargo, alone: its clients and their TLS are many
/// packages that nothing else needs.
pub fn remote(bin_dir: Option<&Path>) -> anyhow::Result<PathBuf> {
    match bin_dir {
        Some(dir) => Ok(std::path::absolute(dir)?.join(file_name("remote"))),
        None => {
            // Beside what the workspace builds, so that one `target` holds it all.
            let target = workspace::root().join("target/remote");
            let target = target.to_string_lossy();
            let args = ["--manifest-path", "tools/remote/Cargo.toml", "--target-dir", &target];
            take(&mut cargo_build(&args)?, "remote")
        }
    }
}

fn take(built: &mut BTreeMap<String, PathBuf>, name: &str) -> anyhow::Result<PathBuf> {
    let name = file_name(name);
    built.remove(&name).with_context(|| format!("cargo built no {name}"))
}

/// Builds all programs of the workspace, the whole, so that dependencies have the features they have in its tests and are built once.
fn build_all(needs_cuda: bool) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let features = resect_device::CUDA_FEATURES.join(",");
    let mut args = vec!["--workspace", "--bins"];
    if needs_cuda {
        args.extend(["--features", &features]);
    }
    cargo_build(&args)
}

/// Has cargo build programs; file name to path. Cargo's own progress goes to standard error.
fn cargo_build(args: &[&str]) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--release", "--message-format=json-render-diagnostics"]).args(args);
    let mut child =
        cargo.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().context("cannot start cargo")?;
    let mut output = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_string(&mut output)?;
    }
    ensure!(child.wait()?.success(), "the programs do not build");

    #[derive(Deserialize)]
    struct Built {
        executable: Option<PathBuf>,
    }
    let built = output.lines().filter_map(|line| serde_json::from_str::<Built>(line).ok()?.executable);
    Ok(built.filter_map(|path| Some((path.file_name()?.to_string_lossy().into_owned(), path))).collect())
}

/// The stage programs in a folder, built elsewhere.
pub fn in_dir(bin_dir: &Path) -> BTreeMap<Step, PathBuf> {
    Step::STAGES.into_iter().map(|step| (step, bin_dir.join(file_name(step.name())))).collect()
}

/// Asks a stage program in a folder for the identity of its code.
pub fn identity(bin_dir: &Path, step: Step) -> anyhow::Result<String> {
    let path = bin_dir.join(file_name(step.name()));
    let output = Command::new(&path)
        .arg("--identity")
        .output()
        .with_context(|| format!("cannot start {} (from --bin-dir)", path.display()))?;
    let identity = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    ensure!(output.status.success() && identity.len() == 64, "{} does not tell its identity", path.display());
    Ok(identity)
}

/// How a stage program ended well.
pub struct Finished {
    pub peak_memory: Option<u64>,
    pub notes: Vec<String>,
    /// Durations and rates, where the stage tells them.
    pub timing: Option<serde_json::Value>,
}

/// The user stopped the run.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

enum Event<M> {
    Message(M),
    Log(String),
    Closed,
}

/// Runs a stage program on a job and passes on what it says, line by line, to `on`.
pub fn run(
    program: &Path,
    job: &Path,
    threads: usize,
    mut on: impl FnMut(&Message),
    log: impl FnMut(&str),
) -> anyhow::Result<Finished> {
    let mut command = Command::new(program);
    command.arg("--job").arg(job).arg("--watch-stdin");
    let (mut notes, mut timing, mut done) = (Vec::new(), None, None);
    let take = |message: Message| {
        match &message {
            Message::Note(line) => notes.push(line.clone()),
            Message::Done { peak_memory } => done = Some(*peak_memory),
            Message::Timing(of_stage) => timing = Some(of_stage.clone()),
            Message::Progress(_) | Message::Row(_) => {}
        }
        on(&message);
    };
    let status = converse(command, &[], threads, take, log)?;
    match done {
        Some(peak_memory) if status.success() => Ok(Finished { peak_memory, notes, timing }),
        _ => bail!("{} ended without a word ({status})", workspace::display(program)),
    }
}

/// Runs the program of a tool: `job` becomes one line of JSON on its standard input, and each line of JSON that it prints a
/// message. How it ended, where it printed no error.
pub fn run_tool<M: DeserializeOwned + Send + 'static>(
    program: &Path,
    job: &impl Serialize,
    threads: usize,
    on: impl FnMut(M),
    log: impl FnMut(&str),
) -> anyhow::Result<ExitStatus> {
    let mut job = serde_json::to_vec(job).context("the job cannot be written as JSON")?;
    job.push(b'\n');
    converse(Command::new(program), &job, threads, on, log)
}

/// Starts a program, writes `input` to it and handles what it says until it ends. An error that it printed is returned; its
/// standard input stays open as long as the runner lives and the user does not stop it.
fn converse<M: DeserializeOwned + Send + 'static>(
    mut command: Command,
    input: &[u8],
    threads: usize,
    mut on: impl FnMut(M),
    mut log: impl FnMut(&str),
) -> anyhow::Result<ExitStatus> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if threads > 0 {
        command.env("RAYON_NUM_THREADS", threads.to_string());
    }
    let program = command.get_program().to_owned();
    let mut child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
    let (sender, events) = channel();
    if let Some(stdout) = child.stdout.take() {
        let parse = |line: String| match serde_json::from_str(&line) {
            Ok(message) => Event::Message(message),
            Err(_) => Event::Log(line),
        };
        forward(stdout, sender.clone(), parse);
    }
    if let Some(stderr) = child.stderr.take() {
        forward(stderr, sender, Event::Log);
    }
    if let Some(stdin) = &mut child.stdin {
        // A program that ends before it has read this says why on its other pipes.
        let _ = stdin.write_all(input).and_then(|()| stdin.flush());
    }
    let mut last_words: Vec<String> = Vec::new();
    let mut take = |event| match event {
        Event::Message(message) => on(message),
        Event::Log(line) if line.starts_with("error: ") || !last_words.is_empty() => last_words.push(line),
        Event::Log(line) => log(&line),
        Event::Closed => {}
    };
    pump(&events, &mut child, &mut take)?;
    let status = child.wait()?;
    if !status.success() && (interrupt::requested() || is_interrupted(status)) {
        return Err(Interrupted.into());
    }
    if !status.success() && !last_words.is_empty() {
        bail!("{}", last_words.join("\n").trim_start_matches("error: ").to_owned())
    }
    Ok(status)
}

/// Whether Ctrl-C ended a program: it comes to all programs of a terminal, and may have ended this one before it is noted here.
fn is_interrupted(status: ExitStatus) -> bool {
    #[cfg(unix)]
    return std::os::unix::process::ExitStatusExt::signal(&status) == Some(2);
    #[cfg(not(unix))]
    return false;
}

/// Handles events until both pipes are closed; ends the program when the user stops the run.
fn pump<M>(
    events: &Receiver<Event<M>>,
    child: &mut Child,
    take: &mut impl FnMut(Event<M>),
) -> anyhow::Result<()> {
    let mut open = 2;
    while open > 0 {
        match events.recv_timeout(Duration::from_millis(100)) {
            Ok(Event::Closed) => open -= 1,
            Ok(event) => take(event),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if interrupt::requested() {
            // The program ends when its standard input closes; it is killed only if it does not.
            drop(child.stdin.take());
            let patience = Instant::now() + Duration::from_secs(3);
            while child.try_wait()?.is_none() {
                if Instant::now() > patience {
                    child.kill()?;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            return Err(Interrupted.into());
        }
    }
    Ok(())
}

fn forward<M: Send + 'static>(
    pipe: impl Read + Send + 'static,
    sender: Sender<Event<M>>,
    wrap: fn(String) -> Event<M>,
) {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(wrap(line)).is_err() {
                return;
            }
        }
        let _ = sender.send(Event::Closed);
    });
}
