//! Artifacts of other code, or of another device, reused because the user says so.

use resect_artifact::{Action, Hash, Key};
use resect_tests::{Project, Run};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

/// The records of a stage.
fn records(project: &Project, stage: &str) -> Vec<PathBuf> {
    let dir = project.store().join(".resect/actions").join(stage);
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Makes the store look as if its only record of a stage had been made with these fields in its key.
fn pretend(project: &Project, stage: &str, fields: &[(&str, &str)]) -> Key {
    let [path] = records(project, stage).try_into().unwrap();
    let mut action: Action = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let before = action.key.to_string();
    fields.iter().for_each(|(field, value)| action.document[*field] = Value::from(*value));
    action.key = Hash::key(&action.document);
    fs::remove_file(&path).unwrap();
    let text = serde_json::to_vec(&action).unwrap();
    fs::write(path.with_file_name(format!("{}.json", action.key)), text).unwrap();
    for entry in fs::read_dir(project.store().join(".resect/latest")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace(&before, action.key.as_str())).unwrap();
    }
    action.key
}

fn accepted(run: &Run, stage: usize) -> &Value {
    &run.json()["stages"][stage]["accepted"]
}

#[test]
fn an_edit_that_changes_no_output_can_be_accepted() {
    let all = ["ingest", "embed", "train", "evaluate"];
    let project = Project::micro();
    let first = project.run(&[]);
    assert!(accepted(&first, 2).is_null());
    let made_by = pretend(&project, "train", &[("code", &"0".repeat(64))]);

    let why = |args: &[&str]| {
        let output = project.output("why", &[&["train"], args].concat());
        String::from_utf8(output.stdout).unwrap()
    };
    let dry = |args: &[&str]| -> Value {
        let output = project.output("run", &[&["--dry-run", "--json"], args].concat());
        let mut object: Value = serde_json::from_slice(&output.stdout).unwrap();
        object["stages"][2].take()
    };
    assert_eq!(
        why(&[]),
        "train would run:\n  its code changed\n  (--accept-code train would reuse what is there)\n"
    );
    assert_eq!(dry(&[])["status"], "would_run");
    assert_eq!(dry(&["--accept-device", "train", "--accept-code", "embed"])["status"], "would_run");
    let reused = dry(&["--accept-code", "train"]);
    assert_eq!(
        (reused["status"].as_str(), reused["reason"].as_str()),
        (Some("reused"), Some("up to date, accepted: its code changed since"))
    );
    assert!(
        why(&["--accept-code", "train"]).contains("would be reused: accepted: its code changed since; run")
    );
    assert_eq!(records(&project, "train").len(), 1, "so far nothing is recorded");

    let run = project.run(&["--accept-code", "train"]);
    assert_eq!(run.with_status("reused"), all);
    assert_eq!(run.artifacts(), first.artifacts());
    assert_eq!(run.reason("train"), "accepted: its code changed since");
    assert_eq!(accepted(&run, 2)["key"], made_by.as_str());

    // It holds from now on, and is still told.
    let run_id = run.json()["run"].as_str().unwrap();
    let later = project.run(&[]);
    assert_eq!(later.with_status("reused"), all);
    assert_eq!(later.reason("train"), "accepted: its code changed since");
    assert_eq!(accepted(&later, 2), accepted(&run, 2));
    assert_eq!(accepted(&later, 2)["run"], run_id);
    assert!(why(&[]).contains(&format!("accepted in run {run_id}: its code changed since")), "{}", why(&[]));

    // What is damaged is not accepted, and what today's code makes takes its place.
    fs::remove_dir_all(project.artifact(&first, "checkpoint")).unwrap();
    let repaired = project.run(&["--accept-code", "train"]);
    assert_eq!(repaired.with_status("ran"), ["train"]);
    assert!(repaired.reason("train").contains("is missing"), "{}", repaired.reason("train"));
    assert!(!repaired.reason("train").contains("NOT DETERMINISTIC"));
    assert_eq!(repaired.artifacts(), first.artifacts());
    let last = project.run(&["--accept-code", "train"]);
    assert_eq!(last.reason("train"), "nothing changed");
    assert!(accepted(&last, 2).is_null());
}

#[test]
fn what_another_device_made_can_be_accepted() {
    let project = Project::micro();
    let first = project.run(&["embed"]);
    let elsewhere = "cuda-f32-sm90";
    pretend(&project, "embed", &[("numeric", elsewhere), ("code", &"1".repeat(64))]);
    let why = project.output("why", &["embed", "--accept-device", "embed"]);
    let why = String::from_utf8(why.stdout).unwrap();
    assert!(why.contains("(--accept-code embed --accept-device embed would reuse what is there)"), "{why}");
    let run = project.run(&["embed", "--accept-device", "embed", "--accept-code", "embed"]);
    assert_eq!(run.with_status("reused"), ["ingest", "embed"]);
    assert_eq!(run.reason("embed"), format!("accepted: its code changed since, made on {elsewhere}"));
    assert_eq!(run.artifacts(), first.artifacts());

    // No rows are copied from what was only accepted, nor from what other code made.
    let grown = project.run(&["embed", "--set", "dataset.images=26"]);
    assert_eq!(grown.with_status("ran"), ["ingest", "embed"]);
    assert!(grown.notes("embed").iter().all(|note| !note.contains("copied")), "{:?}", grown.notes("embed"));
    // A forced run ends it.
    let forced = project.run(&["embed", "--force", "embed"]);
    assert_eq!(forced.artifacts(), first.artifacts());
    assert_eq!((forced.reason("embed"), accepted(&forced, 1)), ("forced", &Value::Null));
    assert_eq!(project.run(&["embed"]).reason("embed"), "nothing changed");
}
