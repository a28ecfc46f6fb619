//! Disks that are full, read-only, or gone: one clear error, nothing lost, and the next run works.

#![cfg(target_os = "linux")]

use resect_tests::{Project, Run, stderr};
use std::fs;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// A command in a mount namespace of its own, of which nothing is left when it ends: `script` gets the runner's command as its arguments
/// and its folders from the environment. Who is not root becomes it there.
fn with_mounts(script: &str, command: &Command, env: &[(&str, &str)]) -> Output {
    let mut unshare = Command::new("unshare");
    let id = Command::new("id").arg("-u").output().unwrap();
    if id.stdout != b"0\n" {
        unshare.args(["--user", "--map-root-user"]);
    }
    unshare.args(["--mount", "sh", "-c", script, "sh"]).arg(command.get_program()).args(command.get_args());
    unshare.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    unshare.envs(env.iter().copied()).current_dir(command.get_current_dir().unwrap());
    unshare.stdin(Stdio::null()).output().unwrap()
}

#[test]
fn a_full_disk_loses_nothing() {
    const SCRIPT: &str = r#"
        set -e
        mkdir -p "$STORE"
        mount -t tmpfs -o size="$SIZE" none "$STORE"
        code=0; "$@" > "$OUT/first.out" 2> "$OUT/first.err" || code=$?
        echo "$code" > "$OUT/first.code"
        find "$STORE" -name '*.tmp*' -path '*/.resect/latest/*' -o -name '*.tmp*' -path '*/.resect/runs/*' > "$OUT/leftovers"
        mount -o remount,size=64m "$STORE"
        "$@"
    "#;
    let undisturbed = Project::micro().run(&[]);
    let mut finished = Vec::new();
    // Full before anything is made, in the midst of each stage, and at the end.
    for size in ["16k", "400k", "12m", "18m", "20m", "23m"] {
        let (project, out) = (Project::micro(), tempfile::tempdir().unwrap());
        let store = project.store();
        let env = [("STORE", store.to_str().unwrap()), ("SIZE", size), ("OUT", out.path().to_str().unwrap())];
        let output = with_mounts(SCRIPT, &project.command("run", &["--json"]), &env);
        let again = Run::of(&output).unwrap_or_else(|| panic!("{size}: {}", stderr(&output)));
        let text = |name: &str| fs::read_to_string(out.path().join(name)).unwrap();
        let said = text("first.err");
        assert_eq!(text("first.code"), "1\n", "{size}: {said}");
        for words in ["error: ", "No space left on device", "cargo xtask gc --dry-run"] {
            assert!(said.contains(words), "{size}: {said}");
        }
        assert!(!said.contains("panicked"), "{said}");
        assert_eq!(text("leftovers"), "", "{size}: records that were not finished");
        assert_eq!(again.artifacts(), undisturbed.artifacts(), "{size}");
        finished = again.with_status("reused");
    }
    assert_eq!(finished, ["ingest", "embed"], "what was finished is kept");
}

#[test]
fn a_read_only_store_can_be_looked_at() {
    const SCRIPT: &str = r#"
        set -e
        mount --bind "$STORE" "$STORE"
        mount -o remount,bind,ro "$STORE"
        "$@"
    "#;
    let project = Project::micro();
    project.run(&[]);
    let store = project.store();
    let with = |command: &str, args: &[&str]| {
        with_mounts(SCRIPT, &project.command(command, args), &[("STORE", store.to_str().unwrap())])
    };
    for (command, args) in [("status", &[][..]), ("why", &["train"]), ("run", &["--dry-run"])] {
        let output = with(command, args);
        assert!(output.status.success(), "{command}: {}", stderr(&output));
    }
    let output = with("run", &["--force", "train"]);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for words in ["error: cannot ", "Read-only file system", "mount it for writing, or name another store"] {
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn a_store_that_vanishes_is_an_error_and_made_again() {
    for vanishing in ["", ".resect/work"] {
        let project = Project::micro();
        let undisturbed = project.run(&[]);
        let mut tries = 0..100;
        let said = loop {
            assert!(tries.next().is_some(), "train was always over before its store was gone");
            let command = &mut project.command("run", &["--force", "train", "--set", "runtime.save_steps=1"]);
            let mut runner = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
            let work = project.store().join(".resect/work");
            let at_work = || {
                let mut entries = fs::read_dir(&work).into_iter().flatten().flatten();
                entries.any(|entry| entry.path().join("state").exists())
            };
            while runner.try_wait().unwrap().is_none() && !at_work() {
                std::thread::sleep(Duration::from_millis(1));
            }
            // As when a disk goes: all of it at one moment.
            let gone = tempfile::tempdir_in(project.store().parent().unwrap()).unwrap();
            fs::rename(project.store().join(vanishing), gone.path().join("gone")).unwrap();
            let output = runner.wait_with_output().unwrap();
            match output.status.code() {
                Some(0) => continue,
                Some(1) => break stderr(&output),
                other => panic!("{other:?}: {}", stderr(&output)),
            }
        };
        assert!(said.contains("error: ") && said.contains("No such file"), "{vanishing}: {said}");
        assert!(!said.contains("panicked") && !said.contains("a fault of"), "{vanishing}: {said}");
        assert_eq!(project.run(&[]).artifacts(), undisturbed.artifacts(), "{vanishing}");
    }
}
