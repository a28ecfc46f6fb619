//! Kills and damage: what comes after is what would have been.

use resect_tests::{Project, Run, stderr};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// Starts a run and kills the runner without warning once `stage` is at work and has left `trace` in its work folder: a file or
/// folder whose name begins so. How fast the stage is does not matter then.
fn kill_in(project: &Project, stage: &str, trace: &str) {
    let mut child: Child =
        project.command("run", &["--json"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let begins = format!("{stage}: ");
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let begun = lines.any(|line| line.starts_with(&begins));
    assert!(begun, "{stage} never began");
    let work = project.store().join(".resect/work");
    let patience = Instant::now() + Duration::from_secs(60);
    while !has(&work, trace) && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(1));
    }
    // `cargo xtask` is cargo with the runner below it; the runner's lock file names its process.
    let locks = project.store().join(".resect/locks");
    let holders =
        fs::read_dir(locks).unwrap().filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok());
    for holder in holders {
        let process =
            holder.split("process ").nth(1).map(|text| text.trim().trim_end_matches(')').to_owned());
        if let Some(process) = process {
            let _ = std::process::Command::new("kill").args(["-9", &process]).stderr(Stdio::null()).status();
        }
    }
    let _ = child.wait();
}

/// Whether something below a folder has a name that begins so.
fn has(dir: &Path, start: &str) -> bool {
    fs::read_dir(dir).into_iter().flatten().flatten().any(|entry| {
        entry.file_name().to_string_lossy().starts_with(start)
            || entry.file_type().is_ok_and(|kind| kind.is_dir()) && has(&entry.path(), start)
    })
}

#[cfg(unix)]
#[test]
fn a_kill_in_any_stage_changes_nothing_in_the_end() {
    let undisturbed = Project::micro().run(&[]);
    let project = Project::micro();
    for (stage, trace) in [
        ("ingest", "images"),
        ("embed", "embeddings-00000"),
        ("train", "epoch-00001"),
        ("evaluate", "evaluation"),
    ] {
        kill_in(&project, stage, trace);
    }
    let after = project.run(&[]);
    assert_eq!(after.artifacts(), undisturbed.artifacts());
    let work = project.store().join(".resect/work");
    assert_eq!(fs::read_dir(work).unwrap().count(), 0, "no work folder is left");
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
    let start = || {
        let mut command = project.command("run", &["--json"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let (a, b) = (start(), start());
    let (a, b) = (a.wait_with_output().unwrap(), b.wait_with_output().unwrap());
    let waited = stderr(&a).contains("waiting for run") || stderr(&b).contains("waiting for run");
    let (a, b) = (Run::of(&a).expect("the first succeeds"), Run::of(&b).expect("the second succeeds"));
    assert_eq!(a.artifacts(), b.artifacts());
    for stage in ["ingest", "embed", "train", "evaluate"] {
        let ran = [&a, &b].iter().filter(|run| run.with_status("ran").contains(&stage.to_owned())).count();
        assert_eq!(ran, 1, "{stage} ran once");
    }
    assert!(waited, "the one that came second said for whom it waited");
}
