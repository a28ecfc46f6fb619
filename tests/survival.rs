//! Kills and damage: what comes after is what would have been.

use resect_tests::{Project, Run, stderr};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

/// Starts a run and kills the runner without warning once `stage` has been at work for `pause`.
fn kill_in(project: &Project, stage: &str, pause: Duration) {
    let mut child: Child =
        project.command("run", &["--json"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let begins = format!("{stage}: ");
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let begun = lines.any(|line| line.starts_with(&begins));
    assert!(begun, "{stage} never began");
    std::thread::sleep(pause);
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

#[cfg(unix)]
#[test]
fn a_kill_in_any_stage_changes_nothing_in_the_end() {
    let undisturbed = Project::micro().run(&[]);
    let project = Project::micro();
    for (stage, milliseconds) in [("ingest", 5), ("embed", 900), ("train", 1500), ("evaluate", 30)] {
        kill_in(&project, stage, Duration::from_millis(milliseconds));
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
