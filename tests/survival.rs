//! Kills and damage: what comes after is what would have been.
//!
//! Nothing here depends on how fast the machine is: a kill follows something that was seen, and one that came too late
//! is tried again.

use resect_tests::{Project, Run};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
#[cfg(unix)]
use std::path::PathBuf;
#[cfg(unix)]
use std::process::Command;
use std::process::Stdio;
#[cfg(unix)]
use std::time::Duration;

/// What shows in a stage's work folder that it is in the middle of its work.
#[cfg(unix)]
type Sign = fn(&Path) -> bool;

/// The stage program has begun.
#[cfg(unix)]
fn at_work(work: &Path) -> bool {
    work.join("stage.lock").exists()
}

/// The first shard is finished.
#[cfg(unix)]
fn a_shard(work: &Path) -> bool {
    work.join("out/embeddings/embeddings-00000.arrow").exists()
}

/// The first epoch is saved.
#[cfg(unix)]
fn an_epoch(work: &Path) -> bool {
    work.join("state/epoch-00001").exists()
}

/// A step within an epoch is saved.
#[cfg(unix)]
fn a_step(work: &Path) -> bool {
    let mut entries = fs::read_dir(work.join("state")).into_iter().flatten().flatten();
    entries.any(|entry| entry.file_name().to_string_lossy().contains("-step-"))
}

/// The work folder of a stage, while there is one.
#[cfg(unix)]
fn work_of(project: &Project, stage: &str) -> Option<PathBuf> {
    let mut entries = fs::read_dir(project.store().join(".resect/work")).into_iter().flatten().flatten();
    entries.find(|entry| entry.file_name().to_string_lossy().starts_with(stage)).map(|entry| entry.path())
}

/// Runs up to `stage` and kills the runner without warning as soon as `sign` is seen there. A run that was over by
/// then is made again; what was killed had a work folder and no end.
#[cfg(unix)]
fn kill_in(project: &Project, stage: &str, sign: Sign) {
    use std::os::unix::process::ExitStatusExt;
    const KILLED: i32 = 9;
    const LOOK_AGAIN: Duration = Duration::from_millis(1);
    let work = || work_of(project, stage);
    for _ in 0..100 {
        let args = ["--json", stage, "--force", stage, "--set", "runtime.save_steps=1"];
        let mut command = project.command("run", &args);
        // `cargo xtask` becomes the runner: it keeps the process that is spawned here.
        let mut runner = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let begins = format!("{stage}: forced");
        let mut lines = BufReader::new(runner.stderr.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.starts_with(&begins)), "{stage} never began");
        while runner.try_wait().unwrap().is_none() && !work().is_some_and(|work| sign(&work)) {
            std::thread::sleep(LOOK_AGAIN);
        }
        let _ = runner.kill();
        if runner.wait().unwrap().signal() == Some(KILLED) && work().is_some() {
            return;
        }
    }
    panic!("{stage} was always over before it could be killed");
}

#[cfg(unix)]
#[test]
fn a_kill_in_any_stage_changes_nothing_in_the_end() {
    let undisturbed = Project::micro().run(&[]);
    let project = Project::micro();
    let kills: [(&str, Sign); 7] = [
        ("ingest", at_work),
        ("embed", at_work),
        ("embed", a_shard),
        ("train", at_work),
        ("train", a_step),
        ("train", an_epoch),
        ("evaluate", at_work),
    ];
    for (stage, sign) in kills {
        kill_in(&project, stage, sign);
    }
    let after = project.run(&[]);
    assert_eq!(after.artifacts(), undisturbed.artifacts());
    let work = project.store().join(".resect/work");
    assert_eq!(fs::read_dir(&work).unwrap().count(), 0, "no work folder is left");

    // A rerun that nothing asked for but `--force`: what it was to make is there, so what it left is of no use.
    kill_in(&project, "train", an_epoch);
    let after = project.run(&[]);
    assert_eq!(after.with_status("reused"), ["ingest", "embed", "train", "evaluate"]);
    assert_eq!(after.artifacts(), undisturbed.artifacts());
    assert_eq!(fs::read_dir(&work).unwrap().count(), 0, "no work folder is left");
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_everything_and_keeps_what_is_finished() {
    use std::os::unix::process::CommandExt;
    let undisturbed = Project::micro().run(&[]);
    let project = Project::micro();
    let cases: [(&str, Sign); 4] =
        [("ingest", at_work), ("embed", a_shard), ("train", a_step), ("evaluate", at_work)];
    for (stage, sign) in cases {
        let interrupted = || {
            let args = ["--json", stage, "--force", stage, "--set", "runtime.save_steps=1"];
            let mut command = project.command("run", &args);
            // As in a terminal, where runner and stage are of one group and the signal comes to both.
            command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut runner = command.spawn().unwrap();
            let work = || work_of(&project, stage);
            while runner.try_wait().unwrap().is_none() && !work().is_some_and(|work| sign(&work)) {
                std::thread::sleep(Duration::from_millis(1));
            }
            let group = format!("-{}", runner.id());
            // The group is gone where the run was over by now.
            let _ = Command::new("kill").args(["-INT", "--", &group]).stderr(Stdio::null()).status();
            runner.wait_with_output().unwrap()
        };
        let output = (0..100).map(|_| interrupted()).find(|output| output.status.code() != Some(0));
        let output = output.unwrap_or_else(|| panic!("{stage} was always over before it could be stopped"));
        let said = resect_tests::stderr(&output);
        assert_eq!(output.status.code(), Some(130), "{said}");
        assert!(
            said.contains("interrupted; what was finished is kept, and the same command goes on from there"),
            "{said}"
        );
        let record: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(record["status"], "interrupted");
        // No program is left: its lock is free.
        if let Some(work) = work_of(&project, stage) {
            assert!(
                File::open(work.join("stage.lock")).is_ok_and(|lock| lock.try_lock().is_ok()),
                "{stage} still runs"
            );
        }
    }
    let after = project.run(&[]);
    assert_eq!(after.artifacts(), undisturbed.artifacts());
}

#[cfg(unix)]
#[test]
fn a_resumed_run_logs_from_where_it_goes_on() {
    let project = Project::micro();
    kill_in(&project, "train", an_epoch);
    let run = project.run(&["train", "--log", "csv"]);
    let resumed =
        run.notes("train").into_iter().find(|note| note.starts_with("resumed after epoch ")).unwrap();
    // "epoch 1", or "epoch 1, step 3": of two steps an epoch, those after that are logged.
    let numbers: Vec<u32> =
        resumed.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect();
    let saved = numbers.get(1).copied().unwrap_or(2 * numbers[0]);
    let logs = Path::new(run.stage("train")["logs"].as_str().unwrap());
    let steps = fs::read_to_string(logs.join("steps.csv")).unwrap();
    let found: Vec<u32> =
        steps.lines().skip(1).map(|row| row.split(',').nth(1).unwrap().parse().unwrap()).collect();
    assert_eq!(found, (saved + 1..=6).collect::<Vec<_>>(), "{resumed}");
    assert_eq!(run.stage("train")["timing"]["steps"], 6 - saved);
}

#[test]
fn a_kill_among_views_changes_nothing_in_the_end() {
    let augmented = || Project::micro_trained_with("augment = \"flips\"");
    let undisturbed = augmented().run(&[]);
    let project = augmented();
    kill_in(&project, "embed", a_shard);
    kill_in(&project, "train", an_epoch);
    let after = project.run(&[]);
    assert!(
        after.notes("train").iter().any(|note| note.starts_with("resumed after epoch ")),
        "{:?}",
        after.notes("train")
    );
    assert_eq!(after.artifacts(), undisturbed.artifacts());
}

#[test]
fn a_damaged_artifact_is_made_again_and_only_that() {
    let project = Project::micro();
    let first = project.run(&[]);
    let embeddings = project.artifact(&first, "embeddings").join("embeddings-00000.arrow");
    make_writable(&embeddings);
    let content = fs::read(&embeddings).unwrap();
    fs::write(&embeddings, &content[..content.len() / 2]).unwrap();
    let repaired = project.run(&[]);
    assert_eq!(repaired.with_status("ran"), ["embed"]);
    assert!(repaired.reason("embed").contains("embeddings-00000.arrow has"), "{}", repaired.reason("embed"));
    assert_eq!(repaired.artifacts(), first.artifacts());
    assert_eq!(fs::read(&embeddings).unwrap(), content);

    fs::remove_dir_all(project.artifact(&first, "checkpoint")).unwrap();
    let repaired = project.run(&[]);
    assert_eq!(repaired.with_status("ran"), ["train"]);
    assert_eq!(repaired.artifacts(), first.artifacts());

    // A record of a step that is damaged is a miss, too, and the run says which and why.
    let key = first.stage("train")["key"].as_str().unwrap();
    let record = project.store().join(format!(".resect/actions/train/{key}.json"));
    fs::write(&record, "{").unwrap();
    let repaired = project.run(&[]);
    assert_eq!(repaired.with_status("ran"), ["train"]);
    let reason = repaired.reason("train");
    assert!(reason.contains(&format!("{key}.json cannot be read: ")), "{reason}");
    assert!(project.run(&[]).with_status("ran").is_empty());
}

fn make_writable(path: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    }
}

#[test]
fn two_runners_on_one_store_do_the_work_once() {
    let project = Project::micro();
    project.run(&["ingest"]);
    let status = project.output("status", &["--json"]);
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    let key = status["stages"][1]["key"].as_str().unwrap();

    // A third holds the next stage's lock until both have come to it, so that one of them certainly waits for the other.
    let locks = project.store().join(".resect/locks");
    let mut lock = File::create(locks.join(format!("{key}.lock"))).unwrap();
    lock.lock().unwrap();
    writeln!(lock, "run of the test").unwrap();
    let mut runners = [(); 2].map(|()| {
        let mut command = project.command("run", &["--json"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    });
    let rests = runners.each_mut().map(|runner| {
        let mut lines = BufReader::new(runner.stderr.take().unwrap()).lines().map_while(Result::ok);
        let waits = lines.any(|line| line == "embed: waiting for run of the test");
        assert!(waits, "the one that came second says for whom it waits");
        // Read on, so that the runner never waits for its reader.
        std::thread::spawn(move || lines.collect::<Vec<_>>().join("\n"))
    });
    drop(lock);
    let runs = runners.map(|runner| runner.wait_with_output().unwrap());
    let said = rests.map(|rest| rest.join().unwrap());
    let [a, b] = runs.map(|output| Run::of(&output).unwrap_or_else(|| panic!("a runner failed:\n{said:?}")));
    assert_eq!(a.artifacts(), b.artifacts());
    for stage in ["embed", "train", "evaluate"] {
        let ran = [&a, &b].iter().filter(|run| run.with_status("ran").contains(&stage.to_owned())).count();
        assert_eq!(ran, 1, "{stage} ran once");
    }
}
