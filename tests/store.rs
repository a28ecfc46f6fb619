//! Care of the store, as a user takes it: nothing damaged is used, nothing needed is removed, and a cache can be handed on.

use resect_tests::{Project, Run, stderr, xtask};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

fn ask(store: &Path, args: &[&str]) -> Output {
    xtask().args(args).arg("--store").arg(store).output().unwrap()
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", stderr(output)))
}

/// The file of an artifact, writable.
fn open_up(path: PathBuf) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    path
}

/// Changes one byte in the middle of a file.
fn flip(path: &Path) {
    let path = open_up(path.to_owned());
    let mut content = fs::read(&path).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    fs::write(&path, content).unwrap();
}

fn checkpoints(project: &Project) -> usize {
    fs::read_dir(project.store().join("checkpoint")).unwrap().count()
}

#[test]
fn what_is_damaged_is_found_and_made_again_and_nothing_else_is() {
    let project = Project::micro();
    let first = project.run(&[]);
    let store = project.store();
    assert!(text(&ask(&store, &["verify"])).contains("7 artifacts of 7 sound"));

    let embeddings = project.artifact(&first, "embeddings");
    flip(&embeddings.join("embeddings-00000.arrow"));
    // The size is the same: only hashing it shows.
    assert_eq!(project.run(&[]).with_status("reused").len(), 4);
    let kept = ask(&store, &["verify", "--keep"]);
    assert_eq!(kept.status.code(), Some(1));
    assert!(embeddings.exists(), "it was only to be reported");
    let named = ask(&store, &["verify", &first.artifact("targets")[..12]]);
    assert!(text(&named).contains("1 artifact of 1 sound"));

    let found = ask(&store, &["verify"]);
    assert_eq!(found.status.code(), Some(1));
    let said = String::from_utf8_lossy(&found.stdout).into_owned();
    let expected = format!(
        "damaged: embeddings {}: embeddings-00000.arrow has other content",
        &first.artifact("embeddings")[..12]
    );
    assert!(said.contains(&expected), "{said}");
    assert!(!embeddings.exists(), "a damaged one is never used again");
    let repaired = project.run(&[]);
    assert_eq!(repaired.with_status("ran"), ["embed"]);
    assert_eq!(repaired.artifacts(), first.artifacts());

    fs::write(embeddings.join("more.txt"), "x").unwrap();
    fs::write(store.join(".resect/runs/broken.json"), "{").unwrap();
    let found = json(&ask(&store, &["verify", "--json"]));
    assert!(
        found["damaged"][0]["damage"].as_str().unwrap().ends_with("holds files that are not its own"),
        "{found}"
    );
    assert!(found["unreadable_records"][0].as_str().unwrap().ends_with("broken.json"));
}

#[test]
fn what_neither_runs_nor_pins_reach_is_removed() {
    let project = Project::micro();
    let store = project.store();
    let runs: Vec<Run> = ["1e-3", "2e-3", "3e-3"]
        .map(|rate| project.run(&["--set", &format!("train.learning_rate={rate}")]))
        .into();
    let name = |run: &Run| run.json()["run"].as_str().unwrap().to_owned();
    assert_eq!(checkpoints(&project), 3);
    fs::create_dir_all(store.join("runs").join(name(&runs[0])).join("train")).unwrap();
    fs::create_dir(store.join(".resect/work/removed-0123-1")).unwrap();

    // All three are of the last 20 runs.
    let all = json(&ask(&store, &["gc", "--json"]));
    assert_eq!(all["sweep"]["artifacts"].as_array().unwrap().len(), 0, "{all}");
    assert!(!store.join(".resect/work/removed-0123-1").exists(), "a leftover");

    text(&ask(&store, &["pin", &name(&runs[0]), "--note", "the paper's"]));
    assert!(text(&ask(&store, &["pin"])).contains("the paper's"));
    let only_last = ["gc", "--keep-runs", "1"];
    let would = text(&ask(&store, &[&only_last[..], &["--dry-run"]].concat()));
    assert!(
        would.contains("would remove     1 checkpoint") && would.contains("would remove     1 evaluation"),
        "{would}"
    );
    assert_eq!(checkpoints(&project), 3, "a dry run removes nothing");
    let logs = store.join("runs").join(name(&runs[0]));
    text(&ask(&store, &only_last));
    assert!(project.artifact(&runs[0], "checkpoint").exists(), "pinned");
    assert!(!project.artifact(&runs[1], "checkpoint").exists());
    assert!(project.artifact(&runs[2], "checkpoint").exists(), "the last run");
    assert!(project.artifact(&runs[2], "dataset").exists(), "what it was made from");
    assert!(logs.exists(), "logs of a run that is kept");
    // What went is made again, and has the same bytes; what stayed is reused.
    let again = project.run(&["--set", "train.learning_rate=2e-3"]);
    assert_eq!(again.with_status("ran"), ["train", "evaluate"]);
    assert_eq!(again.artifacts(), runs[1].artifacts());
    assert_eq!(project.run(&["--set", "train.learning_rate=1e-3"]).with_status("ran").len(), 0);

    text(&ask(&store, &["pin", "--remove", &name(&runs[0])]));
    assert!(text(&ask(&store, &["pin"])).contains("nothing is pinned"));
    assert!(stderr(&ask(&store, &["pin", "--remove", &name(&runs[0])])).contains("is not pinned"));
    // What a record that cannot be read keeps is not known.
    let broken = store.join(".resect/runs/20260101-000000-00001.json");
    fs::write(&broken, "{").unwrap();
    let refused = ask(&store, &["gc", "--max-size", "0"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        stderr(&refused).contains("what a record that cannot be read keeps is not known"),
        "{}",
        stderr(&refused)
    );
    fs::remove_file(broken).unwrap();
    // Too small a budget: what the last run gave stays all the same, and that is said.
    let said = text(&ask(&store, &["gc", "--max-size", "0"]));
    assert!(said.contains("that is more than --max-size"), "{said}");
    assert_eq!(checkpoints(&project), 1);
    assert!(project.artifact(&runs[0], "checkpoint").exists(), "what the last run reused");
    assert!(!logs.exists());

    let used = json(&ask(&store, &["du", "--json"]));
    assert_eq!(used["kinds"]["checkpoint"]["artifacts"], 1);
    let sum: u64 =
        used["kinds"].as_object().unwrap().values().map(|kind| kind["bytes"].as_u64().unwrap()).sum();
    assert_eq!(used["bytes"], sum);
    assert_eq!(used["gc_would_free"], 0);
    assert!(text(&ask(&store, &["du"])).contains("gc would free 0 MB"));
}

#[test]
fn nothing_is_removed_beside_a_runner() {
    let project = Project::micro();
    project.run(&[]);
    let store = resect_artifact::Store::open(&project.store()).unwrap();
    let hold = store.hold(|| panic!("nobody removes")).unwrap();
    let mut gc = xtask();
    gc.args(["gc", "--max-size", "0", "--store"]).arg(project.store());
    let mut gc = gc.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut said = std::io::BufReader::new(gc.stderr.take().unwrap());
    let waits = std::io::BufRead::lines(&mut said)
        .map_while(Result::ok)
        .any(|line| line == "waiting for others who use the store");
    assert!(waits && gc.try_wait().unwrap().is_none(), "it waits while the store is used");
    drop(hold);
    assert!(gc.wait().unwrap().success());
}

#[test]
fn an_embedding_cache_is_handed_on_as_one_file() {
    let project = Project::micro();
    let run = project.run(&[]);
    let dir = tempfile::tempdir().unwrap();
    let tar = dir.path().join("embeddings.tar");
    let id = run.artifact("embeddings");
    let export = |out: &Path, more: &[&str]| {
        let args = [&["export", "--artifact", &id[..12], "--out", out.to_str().unwrap()], more].concat();
        text(&ask(&project.store(), &args))
    };
    let said = export(&tar, &[]);
    assert!(said.contains("cargo xtask import"), "{said}");
    let again = dir.path().join("again.tar");
    export(&again, &[]);
    assert!(fs::read(&tar).unwrap() == fs::read(&again).unwrap(), "the same bytes each time");

    // In another store the same pipeline does not embed.
    let other = Project::micro();
    let imported = json(&ask(&other.store(), &["import", tar.to_str().unwrap(), "--json"]));
    assert_eq!(imported["imported"]["new"].as_array().unwrap().len(), 4, "{imported}");
    assert!(text(&ask(&other.store(), &["pin"])).contains("imported"));
    text(&ask(&other.store(), &["gc", "--max-size", "0"]));
    let reused = other.run(&[]);
    assert_eq!(reused.with_status("reused"), ["embed"], "ingest's targets were not behind the embeddings");
    assert_eq!(reused.artifacts(), run.artifacts());
    assert!(text(&ask(&other.store(), &["import", tar.to_str().unwrap()])).contains("was here"));

    // Data that must not leave.
    let without = dir.path().join("without.tar");
    let said = export(&without, &["--without", "dataset"]);
    assert!(said.contains(&format!("dataset     {}  left out", &run.artifact("dataset")[..12])), "{said}");
    let third = Project::micro();
    text(&ask(&third.store(), &["import", without.to_str().unwrap()]));
    assert!(!third.store().join("dataset").exists());
    assert_eq!(third.run(&[]).with_status("reused"), ["embed"]);

    // A whole run, as one file.
    let all = dir.path().join("run.tar");
    let name = run.json()["run"].as_str().unwrap();
    text(&ask(&project.store(), &["export", "--artifact", name, "--out", all.to_str().unwrap()]));
    let fourth = Project::micro();
    text(&ask(&fourth.store(), &["import", all.to_str().unwrap()]));
    assert_eq!(fourth.run(&[]).with_status("reused").len(), 4);
}

#[test]
fn an_archive_that_is_not_whole_leaves_nothing() {
    let project = Project::micro();
    let run = project.run(&["ingest"]);
    let dir = tempfile::tempdir().unwrap();
    let tar = dir.path().join("images.tar");
    let args = ["export", "--artifact", &run.artifact("images")[..12], "--out", tar.to_str().unwrap()];
    text(&ask(&project.store(), &args));
    let whole = fs::read(&tar).unwrap();
    let names = |store: &Path| -> Vec<String> {
        let entries = fs::read_dir(store).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    };
    let refused = |what: &str, content: &[u8], expected: &str| {
        let path = dir.path().join("hostile.tar");
        fs::write(&path, content).unwrap();
        let other = Project::micro();
        let output = ask(&other.store(), &["import", path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1), "{what}");
        let said = stderr(&output);
        assert!(
            said.contains("is no archive that can be imported: ") && said.contains(expected),
            "{what}: {said}"
        );
        assert_eq!(names(&other.store()), [".resect"], "{what}");
        assert_eq!(names(&other.store().join(".resect/work")).len(), 0, "{what}");
    };
    refused("empty", b"", "it is empty");
    refused("text", &[b'x'; 2048], "cannot be read");
    refused("half", &whole[..whole.len() / 2], "");
    let place = whole.windows(8).rposition(|window| window == b"manifest").unwrap();
    let mut changed = whole.clone();
    changed[place] = b'M';
    refused("a manifest that was changed", &changed, "is not the manifest of that id");
    // One byte of the last file's content.
    let mut flipped = whole.clone();
    let last = whole.len() - 3 * 512;
    flipped[last] ^= 1;
    refused("a byte that was changed", &flipped, "are not those of its manifest");
}
