//! What a user relies on: what runs, what is reused, and why.

use resect_tests::{Project, Run, cargo_xtask, programs, stderr, workspace};
use std::fs;
use std::process::Stdio;

#[test]
fn only_what_depends_on_a_change_runs() {
    let project = Project::micro();
    let all = ["ingest", "embed", "train", "evaluate"];

    let first = project.run(&[]);
    assert_eq!(first.with_status("ran"), all);
    assert_eq!(first.reason("train"), "first run");
    for kind in ["dataset", "base", "images", "targets", "embeddings", "checkpoint", "evaluation"] {
        let dir = project.artifact(&first, kind);
        assert!(dir.join("manifest.json").is_file(), "{}", dir.display());
    }
    for stage in first.json()["stages"].as_array().unwrap() {
        assert_eq!(stage["key"].as_str().unwrap().len(), 64);
        assert!(stage["seconds"].is_number());
    }
    assert!(first.json()["run"].is_string());

    let second = project.run(&[]);
    assert_eq!(second.with_status("reused"), all, "nothing changed");
    assert_eq!(second.artifacts(), first.artifacts());

    let trained = project.run(&["--set", "train.learning_rate=3e-3"]);
    assert_eq!(trained.with_status("ran"), ["train", "evaluate"]);
    assert_eq!(trained.reason("train"), "train.learning_rate 0.001 → 0.003");
    assert!(trained.reason("evaluate").starts_with("checkpoint "), "{}", trained.reason("evaluate"));

    let back = project.run(&[]);
    assert_eq!(back.with_status("reused"), all, "the earlier setting's artifacts are still there");

    // Phantom masks hold 0 and 255 alone: another threshold gives the same bytes, and everything stops there.
    let same_bytes = project.run(&["--set", "mask.threshold=100"]);
    assert_eq!(same_bytes.with_status("ran"), ["ingest"]);
    assert_eq!(same_bytes.reason("ingest"), "mask.threshold 128 → 100");
    assert_eq!(same_bytes.artifacts(), first.artifacts());

    // This one does change the targets, and still costs no encoder pass.
    let components = project.run(&["--set", "split.validation_share=0.3"]);
    assert_eq!(components.with_status("ran"), ["ingest", "train", "evaluate"]);
    assert_eq!(components.artifact("images"), first.artifact("images"));

    let partial = project.run(&["embed", "--set", "embed.dtype=f32"]);
    assert_eq!(partial.with_status("ran"), ["embed"]);
    assert_eq!(partial.with_status("skipped"), ["train", "evaluate"]);

    let forced = project.run(&["--force", "train"]);
    assert_eq!(forced.with_status("ran"), ["train"], "the same bytes come out, so evaluate is reused");
    assert_eq!(forced.artifacts(), first.artifacts());
}

#[test]
fn added_images_are_all_that_is_encoded() {
    let with = |images: &str| ["embed".to_owned(), "--set".to_owned(), format!("dataset.images={images}")];
    let run = |project: &Project, images: &str| project.run(&with(images).each_ref().map(String::as_str));
    let copied = |run: &Run| {
        let notes = run.notes("embed").into_iter();
        notes.filter_map(|line| line.strip_suffix(" copied from earlier embeddings")).collect::<String>()
    };
    let grown = Project::micro();
    let first = run(&grown, "24");
    assert_eq!(copied(&first), "");
    let second = run(&grown, "30");
    assert_eq!(copied(&second), "24 of 30");
    let fresh = Project::micro();
    let whole = run(&fresh, "30");
    assert_eq!(copied(&whole), "");
    assert_eq!(second.artifacts(), whole.artifacts());
    // Forced, it is all encoded again, to show whether the same bytes come out.
    let forced = grown.run(&["embed", "--set", "dataset.images=30", "--force", "embed"]);
    assert_eq!((copied(&forced), forced.reason("embed")), (String::new(), "forced"));
    assert_eq!(forced.artifacts(), whole.artifacts());

    // A byte of each earlier artifact is another one, which no size tells: nothing is copied from either.
    for run in [&first, &second] {
        let shard = grown.artifact(run, "embeddings").join("embeddings-00000.arrow");
        let mut content = fs::read(&shard).unwrap();
        let middle = content.len() / 2;
        content[middle] ^= 1;
        fs::remove_file(&shard).unwrap();
        fs::write(&shard, content).unwrap();
    }
    let output = grown.output("run", &["embed", "--json", "--set", "dataset.images=32"]);
    let third = Run::of(&output).unwrap();
    assert_eq!(copied(&third), "");
    assert_eq!(stderr(&output).matches("embed: nothing is copied from embeddings ").count(), 2);
    let whole = run(&fresh, "32");
    assert_eq!(copied(&whole), "30 of 32");
    assert_eq!(third.artifacts(), whole.artifacts());
}

#[test]
fn a_dry_run_status_and_why_tell_and_do_nothing() {
    let project = Project::micro();
    let dry = project.output("run", &["--dry-run"]);
    assert!(dry.status.success());
    let text = String::from_utf8_lossy(&dry.stdout).into_owned();
    assert!(
        text.contains("would run: first run") && text.contains("may run: depends on the dataset"),
        "{text}"
    );
    assert!(!project.store().join("dataset").exists());

    project.run(&["ingest"]);
    let status = project.output("status", &["--json"]);
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    let of = |i: usize| status["stages"][i]["status"].as_str().unwrap();
    assert_eq!([of(0), of(1), of(2), of(3)], ["reused", "would_run", "unknown", "unknown"]);

    let why = project.output("why", &["ingest", "--set", "mask.threshold=90", "--set", "split.seed=4"]);
    let why = String::from_utf8_lossy(&why.stdout).into_owned();
    assert_eq!(why, "ingest would run:\n  mask.threshold 128 → 90\n  split.seed 0 → 4\n");
    let why = project.output("why", &["ingest"]);
    assert!(String::from_utf8_lossy(&why.stdout).starts_with("ingest would be reused"), "{why:?}");
}

#[test]
fn a_run_prints_a_line_a_step_and_the_five_rows() {
    let project = Project::micro();
    let output = project.output("run", &[]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", stderr(&output));
    for step in ["dataset", "base", "ingest", "embed", "train", "evaluate"] {
        assert!(text.lines().any(|line| line.starts_with(step)), "no line for {step} in\n{text}");
    }
    for row in ["box", "ellipse", "otsu", "untuned", "tuned"] {
        assert!(text.lines().any(|line| line.trim_start().starts_with(row)), "no row {row} in\n{text}");
    }
    let again = project.output("run", &[]);
    let again = String::from_utf8_lossy(&again.stdout).into_owned();
    assert_eq!(again.lines().filter(|line| line.contains(" reused ")).count(), 6, "{again}");
}

#[test]
fn the_order_of_work_changes_no_byte() {
    let one = Project::micro();
    let two = Project::micro();
    let first = one.run(&["--threads", "1"]);
    let second =
        two.run(&["--threads", "3", "--set", "runtime.embed_batch=5", "--set", "runtime.decode_batch=3"]);
    assert_eq!(first.artifacts(), second.artifacts());
}

#[test]
fn programs_built_elsewhere_run_from_a_folder() {
    let project = Project::micro();
    // As a user does it, with cargo all the way.
    let output = project.with(cargo_xtask(), "run", &["--json", "embed"]).output().unwrap();
    let first = Run::of(&output).unwrap_or_else(|| panic!("{}", stderr(&output)));
    // The programs lie where cargo put them; a copy elsewhere stands in for another machine's.
    let bin_dir = tempfile::tempdir().unwrap();
    for stage in ["ingest", "embed", "train", "evaluate"] {
        let name = format!("resect-{stage}{}", std::env::consts::EXE_SUFFIX);
        fs::copy(programs().join(&name), bin_dir.path().join(&name)).unwrap();
    }
    let dir = bin_dir.path().to_str().unwrap();
    let run = project.run(&["embed", "--bin-dir", dir]);
    assert_eq!(run.with_status("reused"), ["ingest", "embed"], "the programs carry their identity");
    assert_eq!(run.artifacts(), first.artifacts());
    let run = project.run(&["embed", "--bin-dir", dir, "--force", "embed"]);
    assert_eq!(run.with_status("ran"), ["embed"]);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let project = Project::micro();
    for args in
        [&["status"][..], &["status", "--json"], &["run", "ingest"], &["run", "ingest", "--force", "ingest"]]
    {
        let mut command = project.command(args[0], &args[1..]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(!stderr(&output).contains("Broken pipe"), "{}", stderr(&output));
        let mut child = project.command(args[0], &args[1..]);
        let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stderr.take());
        assert!(child.wait_with_output().unwrap().status.success(), "{args:?}");
    }
    assert_eq!(project.run(&["ingest"]).with_status("reused"), ["ingest"]);
}

#[test]
fn it_works_from_any_folder_of_the_workspace() {
    let project = Project::micro();
    let mut command = project.command("status", &[]);
    command.current_dir(workspace().join("stages/train/src"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(Run::of(&project.command("run", &["ingest", "--json"]).output().unwrap()).is_some());
}

#[test]
fn several_seeds_share_all_but_training() {
    let project = Project::micro();
    let seeds = ["--set", "train.seeds=[7, 0]"];
    let first = project.run(&seeds);
    assert_eq!(first.with_status("ran"), ["ingest", "embed", "train", "evaluate", "train", "evaluate"]);
    let stages = first.json()["stages"].as_array().unwrap();
    let of = |name: &str, field: &str| -> Vec<serde_json::Value> {
        stages.iter().filter(|stage| stage["name"] == name).map(|stage| stage[field].clone()).collect()
    };
    assert_eq!(of("train", "seed"), [7, 0]);
    assert_eq!(of("embed", "seed"), [serde_json::Value::Null]);
    let checkpoints = of("train", "artifacts");
    assert_ne!(checkpoints[0], checkpoints[1]);

    // The spread is that of the evaluations.
    let dice: Vec<f64> = of("evaluate", "artifacts")
        .iter()
        .map(|artifacts| {
            let path = project.store().join("evaluation").join(artifacts["evaluation"].as_str().unwrap());
            let metrics: serde_json::Value =
                serde_json::from_slice(&fs::read(path.join("metrics.json")).unwrap()).unwrap();
            let methods = metrics["methods"].as_array().unwrap();
            methods.iter().find(|row| row["method"] == "tuned").unwrap()["all"]["original"]["dice"]["mean"]
                .as_f64()
                .unwrap()
        })
        .collect();
    let spread = &first.json()["spread"];
    let close = |found: &serde_json::Value, expected: f64| (found.as_f64().unwrap() - expected).abs() < 1e-12;
    assert!(close(&spread["mean"]["dice"], (dice[0] + dice[1]) / 2.0));
    assert!(close(&spread["standard_deviation"]["dice"], (dice[0] - dice[1]).abs() / 2f64.sqrt()));

    let output = project.output("run", &seeds);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(text.matches(": reused ").count(), 4, "{text}");
    for line in ["2 seeds on ", "tuned, seed 7 ", "tuned, seed 0 ", "mean ", "deviation "] {
        assert!(text.lines().any(|found| found.starts_with(line)), "{line}:\n{text}");
    }
    // Each is what a run with that seed alone gives, and the first is what the pipeline gave last.
    let alone = project.run(&["--set", "train.seed=0"]);
    assert_eq!(alone.with_status("ran"), [""; 0]);
    assert_eq!(alone.artifact("checkpoint"), checkpoints[1]["checkpoint"].as_str().unwrap());
    project.run(&seeds);
    let why = project.output("why", &["train", "--set", "train.seeds=[7, 3]"]);
    let text = String::from_utf8_lossy(&why.stdout).into_owned();
    assert!(text.contains("train, seed 7, would be reused"), "{text}");
    assert!(text.contains("train, seed 3, would run:\n  train.seed 7 → 3"), "{text}");

    let wrong = project.output("run", &["--set", "train.seeds=[1, 1]"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("train.seeds holds 1 twice"), "{}", stderr(&wrong));
}
