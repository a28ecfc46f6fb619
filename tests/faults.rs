//! Stopped anywhere: runner and stage programs are killed at the calls by which they change the store, or the system refuses one of
//! them. What comes after is what would have been.
//!
//! `fault/fault.rs` does it. A run is made once to count its calls, then some more times with a fault at one of them, each with a project
//! of its own. `RESECT_FAULTS` says how many times, for each stage, each of its two programs and each kind of fault; 0: once for every call.

#![cfg(target_os = "linux")]

use resect_tests::{Project, Run, fault_library, files, stderr, xtask};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Output;

const STAGES: [&str; 4] = ["ingest", "embed", "train", "evaluate"];

/// Kills for each stage, program and kind, unless `RESECT_FAULTS` says otherwise.
const KILLS: usize = 9;
/// Refusals, likewise.
const REFUSALS: usize = 4;

/// One changing call of a run.
#[derive(Debug)]
struct Call {
    name: String,
    paths: Vec<PathBuf>,
}

/// What a run with a fault did.
struct Faulty {
    output: Output,
    /// Its calls, in order; the fault came at the last one or before.
    calls: Vec<Call>,
}

/// The store before a stage, and what an undisturbed pipeline gives.
struct Bench {
    before: Project,
    stage: &'static str,
    wanted: BTreeMap<String, String>,
}

impl Bench {
    fn new(stage: &'static str) -> Self {
        let before = Project::micro();
        let index = STAGES.iter().position(|name| *name == stage).unwrap();
        if index > 0 {
            before.run(&[STAGES[index - 1]]);
        }
        let wanted = Project::micro().run(&[stage]).artifacts();
        Self { before, stage, wanted }
    }

    /// A project of its own in which the stage is next.
    fn project(&self) -> Project {
        let project = Project::micro();
        if self.before.store().exists() {
            copy(&self.before.store(), &project.store());
        }
        project
    }

    /// Runs the stage with a fault at a call of a program.
    fn run(&self, project: &Project, program: &str, what: &str, at: usize) -> Faulty {
        let dir = tempfile::tempdir().unwrap();
        let (count, log) = (dir.path().join("count"), dir.path().join("log"));
        fs::write(&count, [0; 8]).unwrap();
        fs::write(&log, "").unwrap();
        // One thread, so that calls come in the same order each time as far as can be.
        let mut command = project.command("run", &["--json", self.stage, "--threads", "1"]);
        command.args(["--set", "runtime.save_steps=1"]);
        command.env("LD_PRELOAD", fault_library()).env("FAULT_BELOW", project.store());
        command.env("FAULT_PROGRAM", program).env("FAULT_COUNT", &count).env("FAULT_LOG", &log);
        command.env("FAULT_DO", what).env("FAULT_AT", at.to_string());
        let output = command.output().unwrap();
        let call = |line: &str| {
            let mut parts = line.split('\t').map(str::to_owned);
            let name = parts.next().unwrap();
            Call { name, paths: parts.map(PathBuf::from).collect() }
        };
        Faulty { output, calls: fs::read_to_string(&log).unwrap().lines().map(call).collect() }
    }

    /// The calls at which something is to happen, evenly among all.
    fn points(&self, program: &str, usual: usize) -> Vec<usize> {
        let project = self.project();
        let faulty = self.run(&project, program, "kill", usize::MAX);
        assert!(faulty.output.status.success(), "{}", stderr(&faulty.output));
        if program == "xtask" {
            in_order(&faulty.calls);
        }
        let count = faulty.calls.len();
        assert!(count > 0, "{program} of {} changes nothing", self.stage);
        let wanted = std::env::var("RESECT_FAULTS").map_or(usual, |text| text.parse().unwrap());
        if wanted == 0 || wanted >= count {
            return (1..=count).collect();
        }
        (0..wanted).map(|i| 1 + i * count / wanted + (count / wanted) / 2).collect()
    }

    /// The run that follows a fault: it succeeds, gives what an undisturbed one gives, and leaves nothing lying about.
    fn recovers(&self, project: &Project, after: &str) {
        spoil_leftovers(&project.store());
        let output = project.output("run", &["--json", self.stage]);
        let run = Run::of(&output).unwrap_or_else(|| panic!("after {after}:\n{}", stderr(&output)));
        assert_eq!(run.artifacts(), self.wanted, "after {after}");
        let output = xtask().args(["verify", "--store"]).arg(project.store()).output().unwrap();
        assert!(
            output.status.success(),
            "after {after}:\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            stderr(&output)
        );
        let store = project.store();
        assert_eq!(fs::read_dir(store.join(".resect/work")).unwrap().count(), 0, "after {after}");
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).unwrap();
        }
    }
}

/// Whether a file was not finished, by its name or its folder's.
fn is_leftover(path: &Path) -> bool {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    name.contains(".tmp") || path.parent().unwrap().ends_with("writing")
}

/// Fills what was not finished with rubbish, so that whoever reads it gives other bytes, or fails.
fn spoil_leftovers(store: &Path) {
    for path in files(&store.join(".resect")).into_iter().filter(|path| is_leftover(path)) {
        let length = fs::metadata(&path).unwrap().len() as usize;
        // A file of its own: kept weights have a second name in the finished state.
        fs::remove_file(&path).unwrap();
        fs::write(&path, vec![0xA5; length]).unwrap();
    }
}

/// Whatever is moved into an artifact's or a record's place was synced after it was last written to: a power cut leaves the old or the
/// new.
fn in_order(calls: &[Call]) {
    for (i, call) in calls.iter().enumerate().filter(|(_, call)| call.name == "rename") {
        let [from, to] = call.paths.as_slice() else { panic!("{call:?}") };
        let is_artifact = to.ancestors().nth(2).is_some_and(|dir| dir.ends_with("artifacts"));
        let is_record = to.extension().is_some_and(|extension| extension == "json");
        let moved = if is_artifact { files(to) } else { Vec::from_iter(is_record.then(|| to.clone())) };
        for file in moved {
            let before = if file == *to { from.clone() } else { from.join(file.strip_prefix(to).unwrap()) };
            let last = calls[..i]
                .iter()
                .rfind(|call| call.paths == [before.clone()] && !call.name.ends_with("chmod"));
            let last = last.map(|call| call.name.as_str());
            assert_eq!(last, Some("fsync"), "what happened last to {} before it was moved", before.display());
        }
    }
}

/// Kills, each followed by a run; how many there were.
fn kills(stage: &'static str) {
    let bench = Bench::new(stage);
    let own = format!("resect-{stage}");
    for (program, torn) in [("xtask", false), ("xtask", true), (&own, false), (&own, true)] {
        let what = if torn { "torn" } else { "kill" };
        let points = bench.points(program, KILLS);
        let mut killed = 0;
        for at in &points {
            let project = bench.project();
            let faulty = bench.run(&project, program, what, *at);
            let code = faulty.output.status.code();
            if faulty.calls.len() < *at {
                assert_eq!(code, Some(0), "{}", stderr(&faulty.output));
                continue;
            }
            killed += 1;
            let after = format!("{what} {program} at {at}, {:?}", faulty.calls.last());
            // The runner has no code when it was killed; the stage's end it tells.
            assert_eq!(code, (program != "xtask").then_some(1), "{after}\n{}", stderr(&faulty.output));
            if program != "xtask" {
                let said = stderr(&faulty.output);
                assert!(said.contains("signal: 9"), "{after}\n{said}");
            }
            let finished = finished_shards(&project.store());
            bench.recovers(&project, &after);
            let kept = finished_shards(&project.store());
            for (name, inode) in finished {
                assert_eq!(kept.get(&name), Some(&inode), "{name} was written again after {after}");
            }
        }
        assert!(killed * 10 >= points.len() * 9, "{program} of {stage}: {killed} of {} kills", points.len());
    }
}

/// Shards of embeddings under their final names, in the work folder or published, and their inodes: a file that is only moved keeps its own.
fn finished_shards(store: &Path) -> BTreeMap<String, u64> {
    let all = files(store).into_iter().filter(|path| path.extension().is_some_and(|end| end == "arrow"));
    let shards = all.filter_map(|path| {
        let name = path.file_name()?.to_str()?.to_owned();
        name.starts_with("embeddings-").then(|| Some((name, fs::metadata(&path).ok()?.ino())))?
    });
    shards.collect()
}

#[test]
fn a_kill_at_any_change_of_ingest() {
    kills("ingest");
}

#[test]
fn a_kill_at_any_change_of_embed() {
    kills("embed");
}

#[test]
fn a_kill_at_any_change_of_train() {
    kills("train");
}

#[test]
fn a_kill_at_any_change_of_evaluate() {
    kills("evaluate");
}

/// Refusals of the system, each followed by a run.
fn refusals(stage: &'static str) {
    let bench = Bench::new(stage);
    let own = format!("resect-{stage}");
    let kinds = [
        ("io", "Input/output error"),
        ("full", "No space left on device"),
        ("read-only", "Read-only file system"),
    ];
    for (program, (what, words)) in
        ["xtask", &own].into_iter().flat_map(|program| kinds.map(|kind| (program, kind)))
    {
        for at in bench.points(program, REFUSALS) {
            let project = bench.project();
            let faulty = bench.run(&project, program, what, at);
            let after = format!("{what} for {program} at {at}, {:?}", faulty.calls.get(at - 1));
            let said = stderr(&faulty.output);
            assert!(!said.contains("panicked") && !said.contains("a fault of"), "{after}\n{said}");
            match faulty.output.status.code() {
                // What is only for convenience may fail.
                Some(0) => {}
                Some(1) => assert!(said.contains("error: ") && said.contains(words), "{after}\n{said}"),
                other => panic!("{other:?} after {after}\n{said}"),
            }
            bench.recovers(&project, &after);
        }
    }
}

#[test]
fn a_refusal_at_any_change_of_ingest() {
    refusals("ingest");
}

#[test]
fn a_refusal_at_any_change_of_embed() {
    refusals("embed");
}

#[test]
fn a_refusal_at_any_change_of_train() {
    refusals("train");
}

#[test]
fn a_refusal_at_any_change_of_evaluate() {
    refusals("evaluate");
}

#[test]
fn what_the_system_refuses_from_the_start_comes_with_what_to_do() {
    let bench = Bench::new("ingest");
    let cases = [
        ("full", "cargo xtask gc --dry-run"),
        ("read-only", "mount it for writing, or name another store (--store, RESECT_STORE)"),
        ("denied", "this user may not: change whose it is, or name another store"),
    ];
    for (what, words) in cases {
        let project = bench.project();
        let faulty = bench.run(&project, "xtask", what, 1);
        let said = stderr(&faulty.output);
        assert_eq!(faulty.output.status.code(), Some(1), "{said}");
        assert!(said.contains("error: cannot ") && said.contains(words), "{said}");
        bench.recovers(&project, what);
    }
}
