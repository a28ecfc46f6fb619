//! Artifacts whose files are no longer what they were: `verify` finds each, `run` uses none and makes just those again.

use resect_artifact::{ArtifactId, Hash, Store};
use resect_tests::{Project, Run, files, stderr, xtask};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// Kinds of artifacts and the steps that make them.
const KINDS: [(&str, &str); 7] = [
    ("dataset", "dataset"),
    ("base", "base"),
    ("images", "ingest"),
    ("targets", "ingest"),
    ("embeddings", "embed"),
    ("checkpoint", "train"),
    ("evaluation", "evaluate"),
];

/// What can happen to a file.
const DAMAGES: [Damage; 7] = [
    ("a byte is another", |path| {
        change(path, |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x10;
        });
    }),
    ("the first byte is another", |path| change(path, |bytes| bytes[0] ^= 0x01)),
    ("it is cut in half", |path| change(path, |bytes| bytes.truncate(bytes.len() / 2))),
    ("it is empty", |path| change(path, Vec::clear)),
    ("it goes on", |path| change(path, |bytes| bytes.push(0))),
    ("it is gone", |path| fs::remove_file(path).unwrap()),
    ("it is another one", |path| {
        let dir = path.parent().unwrap();
        let others = files(dir).into_iter().filter(|other| other != path);
        let other = others.min_by_key(|other| fs::read(other).unwrap() == fs::read(path).unwrap());
        change(path, |bytes| *bytes = other.map_or(b"another".into(), |other| fs::read(other).unwrap()));
    }),
];

type Damage = (&'static str, fn(&Path));

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    put(path, &bytes);
}

/// Writes a file of an artifact, which is read-only.
fn put(path: &Path, bytes: &[u8]) {
    if path.exists() {
        fs::remove_file(path).unwrap();
    }
    fs::write(path, bytes).unwrap();
}

fn largest(dir: &Path) -> PathBuf {
    files(dir).into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap()
}

fn id(run: &Run, kind: &str) -> ArtifactId {
    Hash::try_from(run.artifact(kind)).unwrap()
}

#[test]
fn any_damage_to_any_file_is_found() {
    let project = Project::micro();
    let run = project.run(&[]);
    let store = Store::open(&project.store()).unwrap();
    let mut found = 0;
    for (kind, _) in KINDS {
        let (id, dir) = (id(&run, kind), project.artifact(&run, kind));
        assert!(store.verify(kind, &id).is_ok());
        for path in files(&dir) {
            let content = fs::read(&path).unwrap();
            for (what, damage) in DAMAGES {
                damage(&path);
                let verdict = store.verify(kind, &id);
                let name = path.strip_prefix(&dir).unwrap().to_str().unwrap();
                let words = verdict.expect_err(&format!("{kind}/{name}: {what}"));
                assert!(words.contains(name) || name == "manifest.json", "{name}: {what}: {words}");
                put(&path, &content);
                found += 1;
            }
        }
        fs::write(dir.join("one-more"), "").unwrap();
        assert!(store.verify(kind, &id).unwrap_err().contains("files that are not its own"));
        fs::remove_file(dir.join("one-more")).unwrap();
        assert!(store.verify(kind, &id).is_ok(), "it is as it was");
    }
    assert!(found > 500, "{found}");
}

#[test]
fn the_command_names_what_is_damaged_and_removes_it() {
    let project = Project::micro();
    let run = project.run(&[]);
    let verify = |args: &[&str]| {
        let output =
            xtask().args(["verify", "--json", "--store"]).arg(project.store()).args(args).output().unwrap();
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), said)
    };
    for (kind, _) in KINDS {
        let path = largest(&project.artifact(&run, kind));
        DAMAGES[0].1(&path);
        let (code, said) = verify(&["--keep"]);
        assert_eq!(
            (code, said["damaged"].as_array().unwrap().len(), &said["sound"]),
            (Some(1), 1, &6.into()),
            "{said}"
        );
        let (found, damage) = (&said["damaged"][0], said["damaged"][0]["damage"].as_str().unwrap());
        assert_eq!((&found["kind"], &found["id"]), (&kind.into(), &run.artifact(kind).into()));
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(damage.contains(&format!("{name} has other content")), "{damage}");
        assert!(path.exists(), "it is kept");
        assert_eq!(verify(&[&run.artifact(kind)]).0, Some(1));
        assert!(!project.artifact(&run, kind).exists(), "it is removed");
        let repaired = project.run(&[]);
        assert_eq!(repaired.artifacts(), run.artifacts());
        assert_eq!(verify(&[]).0, Some(0));
    }
}

#[test]
fn what_shows_at_a_look_is_made_again_and_only_that() {
    let project = Project::micro();
    let first = project.run(&[]);
    for (kind, maker) in KINDS {
        for (what, damage) in &DAMAGES[2..] {
            let path = largest(&project.artifact(&first, kind));
            let content = fs::read(&path).unwrap();
            damage(&path);
            let again = project.run(&[]);
            assert_eq!(again.ran("name"), [maker], "{kind}: {what}");
            assert_eq!(again.artifacts(), first.artifacts(), "{kind}: {what}");
            assert_eq!(fs::read(&path).unwrap(), content, "{kind}: {what}");
        }
    }
}

#[test]
fn no_stage_computes_with_damaged_bytes() {
    let project = Project::micro();
    let first = project.run(&[]);
    let read = KINDS.into_iter().filter(|(kind, _)| *kind != "evaluation");
    for (number, (kind, maker)) in read.enumerate() {
        // Size, name and manifest are what they were: only who reads it all can tell.
        let damaged = largest(&project.artifact(&first, kind));
        DAMAGES[0].1(&damaged);
        assert!(project.run(&[]).ran("name").is_empty(), "nobody needs to read it");
        // Now somebody does.
        let (args, reader) = match kind {
            "dataset" => (vec!["--force".to_owned(), "ingest".into()], "ingest"),
            _ => (vec!["--set".into(), format!("evaluate.resamples={}", 100 + number)], "evaluate"),
        };
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let output = project.output("run", &[&["--json"], args.as_slice()].concat());
        let said = stderr(&output);
        let run = Run::of(&output).unwrap_or_else(|| panic!("{kind}: {said}"));
        assert!(said.contains("has other content: it is removed and made again"), "{kind}: {said}");
        assert_eq!(run.ran("name"), [maker, reader], "{kind}: {said}");
        let elsewhere = Project::micro().run(&args);
        assert_eq!(run.artifacts(), elsewhere.artifacts(), "{kind}");
    }
}

#[test]
fn all_is_hashed_on_request() {
    let project = Project::micro();
    let first = project.run(&[]);
    for (kind, maker) in [("evaluation", "evaluate"), ("embeddings", "embed")] {
        DAMAGES[0].1(&largest(&project.artifact(&first, kind)));
        assert!(project.run(&[]).ran("name").is_empty());
        let again = project.run(&["--verify"]);
        assert_eq!(again.ran("name"), [maker]);
        assert!(again.reason(maker).contains("has other content"), "{}", again.reason(maker));
        assert_eq!(again.artifacts(), first.artifacts());
    }
    assert!(project.run(&["--verify"]).ran("name").is_empty());
}
