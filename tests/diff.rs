//! `cargo xtask diff`, as a person and as a script use it.

use resect_tests::{Project, Run, stderr, xtask};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Output;

fn diff(project: &Project, args: &[&str]) -> Output {
    xtask().arg("diff").args(args).arg("--store").arg(project.store()).output().unwrap()
}

/// The object of `--json` for two things that differ.
fn differences(project: &Project, a: &str, b: &str) -> Value {
    let output = diff(project, &[a, b, "--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The lines for two things that differ.
fn lines(project: &Project, a: &str, b: &str) -> String {
    let output = diff(project, &[a, b]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn short(run: &Run, kind: &str) -> String {
    run.artifact(kind)[..12].to_owned()
}

/// Standard error of a comparison that cannot be done.
fn trouble(project: &Project, a: &str, b: &str) -> String {
    let output = diff(project, &[a, b]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    stderr(&output)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn artifacts_of_a_pipeline_are_compared_in_numbers() {
    let project = Project::micro();
    let half = project.run(&[]);
    let single = project.run(&["--set", "embed.dtype=f32"]);

    // Half precision keeps 11 bits, so no number is off by more than 2^-11 of itself.
    let (a, b) = (short(&half, "embeddings"), short(&single, "embeddings"));
    let found = differences(&project, &a, &b);
    assert_eq!((&found["kind"], &found["equal"]), (&Value::from("embeddings"), &Value::from(false)));
    let [dtype] = found["metadata"].as_array().unwrap().as_slice() else { panic!("{found:#}") };
    assert_eq!((&dtype["field"], &dtype["a"], &dtype["b"]), (&"dtype".into(), &"f16".into(), &"f32".into()));
    let states: Vec<_> = found["files"].as_array().unwrap().iter().map(|file| &file["state"]).collect();
    assert_eq!(states, ["differs", "differs", "differs", "equal"]);
    let [numbers] = found["numbers"].as_array().unwrap().as_slice() else { panic!("{found:#}") };
    let number = |field: &str| numbers[field].as_f64().unwrap();
    assert_eq!(number("elements") as usize, 24 * numbers_of_a_row(&project.artifact(&half, "embeddings")));
    assert!(number("differing") > 0.9 * number("elements"));
    let relative = number("max_relative");
    assert!(relative > 0.0 && relative <= 2f64.powi(-11), "{relative}");
    assert!(number("mean_abs") < number("max_abs"));
    let place = &numbers["at"];
    assert!(place["row"].as_str().unwrap().ends_with(" identity"), "{place}");
    assert_eq!(place["index"].as_array().unwrap().len(), 3);
    let difference = (place["a"].as_f64().unwrap() - place["b"].as_f64().unwrap()).abs();
    assert_eq!(difference, number("max_abs"));

    // What was trained and scored on them.
    let weights = lines(&project, &short(&half, "checkpoint"), &short(&single, "checkpoint"));
    for part in
        ["tuned.safetensors: ", "  mask_decoder.", "history.parquet: 4 of 7", "  loss ", "  train_loss "]
    {
        assert!(weights.contains(part), "{part} is not in\n{weights}");
    }
    let scores = lines(&project, &short(&half, "evaluation"), &short(&single, "evaluation"));
    assert!(scores.contains("samples.parquet: ") && scores.contains("  dice "), "{scores}");

    // The same thing, by its digits and by its folder.
    let folder = project.artifact(&half, "embeddings");
    let output = diff(&project, &[&a, text(&folder)]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("equal in every byte, 4 files"));

    // Two files of them.
    let files = [&half, &single].map(|run| project.artifact(run, "checkpoint").join("tuned.safetensors"));
    let found = differences(&project, text(&files[0]), text(&files[1]));
    assert_eq!(found["kind"]["file"], "safetensors");
    assert!(found["numbers"].as_array().unwrap().len() > 100);

    let other = short(&half, "targets");
    assert!(
        trouble(&project, &a, &other).contains("of different kinds: the one embeddings, the other targets")
    );
    assert!(trouble(&project, &a, "").contains("can be any of "));
    assert!(trouble(&project, &a, text(&files[0])).contains("a .safetensors file"));
}

/// Numbers of an embedding.
fn numbers_of_a_row(embeddings: &Path) -> usize {
    let header: Value =
        serde_json::from_slice(&fs::read(embeddings.join("embeddings.json")).unwrap()).unwrap();
    header["shape"].as_array().unwrap().iter().map(|length| length.as_u64().unwrap() as usize).product()
}

#[test]
fn what_cannot_be_found_is_a_usage_error() {
    let project = Project::micro();
    let said = trouble(&project, "0123", "no/such/folder");
    assert!(said.contains("there is no file, folder, artifact or run 0123"), "{said}");
    assert_eq!(diff(&project, &["only-one"]).status.code(), Some(2));
}

#[test]
fn folders_of_results_are_compared_file_by_file() {
    let dir = tempfile::tempdir().unwrap();
    for (file, content) in [
        ("a/coco.json", r#"{"annotations": [{"score": 0.5}]}"#),
        ("b/coco.json", r#"{"annotations": [{"score": 0.25}]}"#),
        ("a/polyp.png", "the one"),
        ("b/polyp.png", "another"),
        ("a/broken.json", "{"),
        ("b/broken.json", "["),
        ("b/more.png", ""),
    ] {
        let path = dir.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
    let said = lines(&Project::micro(), text(&a), text(&b));
    for part in [
        "4 of 4 files differ",
        "polyp.png    differs",
        "more.png     only b has it",
        "coco.json  annotations[0].score: 0.5 → 0.25",
        "is no JSON",
    ] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
}
