//! Several runs of one command, and work that is shared among machines, as a user does both.

use resect_tests::{Project, Run, programs, stderr, workspace};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};

/// What `run --json` with a matrix printed.
fn runs(project: &Project, args: &[&str]) -> Value {
    let output = project.output("run", &[&["--json"], args].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap()
}

/// The artifact of a kind that a run names.
fn artifact<'a>(run: &'a Value, kind: &str) -> &'a str {
    let steps = ["sources", "stages"].into_iter().flat_map(|part| list(&run[part]));
    steps.filter_map(|step| step["artifacts"][kind].as_str()).next_back().unwrap()
}

fn status<'a>(run: &'a Value, stage: &str) -> &'a str {
    list(&run["stages"]).iter().find(|step| step["name"] == stage).unwrap()["status"].as_str().unwrap()
}

/// How often a stage has run in a store: each time leaves a record.
fn records(project: &Project, stage: &str) -> usize {
    fs::read_dir(project.store().join(".resect/actions").join(stage)).unwrap().count()
}

#[test]
fn runs_of_a_matrix_share_what_they_have_in_common() {
    let project = Project::micro();
    let args = ["--set", "train.loss=dice,ce", "--set", "mask.threshold=1,128", "--jobs", "2"];
    let all = runs(&project, &args);
    assert_eq!(all["format"], "resect-runs/1.0");
    let group = all["group"].as_str().unwrap();
    let of = list(&all["runs"]);
    let variant = |run: &Value| {
        let variant = &run["variant"];
        (variant["train.loss"].as_str().unwrap().to_owned(), variant["mask.threshold"].as_u64().unwrap())
    };
    let variants: Vec<(String, u64)> = of.iter().map(variant).collect();
    let expected = [("dice", 1), ("dice", 128), ("ce", 1), ("ce", 128)];
    assert_eq!(variants, expected.map(|(loss, threshold)| (loss.to_owned(), threshold)));
    for (i, run) in of.iter().enumerate() {
        assert_eq!((&run["group"], &run["status"]), (&group.into(), &"done".into()));
        assert_eq!(run["run"].as_str().unwrap(), format!("{group}-{}", i + 1));
        // A record of its own, the same as what was printed.
        let record = project.store().join(format!(".resect/runs/{group}-{}.json", i + 1));
        assert_eq!(&serde_json::from_slice::<Value>(&fs::read(record).unwrap()).unwrap(), run);
        assert!(run["versions"]["rustc"].as_str().unwrap().starts_with("rustc "));
        let evaluate = list(&run["stages"]).iter().find(|step| step["name"] == "evaluate").unwrap();
        let dice = &evaluate["metrics"]["methods"]["tuned"]["dice"];
        assert!(dice.as_f64().unwrap() > 0.0, "{evaluate}");
    }
    let ran = |stage: &str| of.iter().filter(|run| status(run, stage) == "ran").count();
    // Phantom masks hold two values, so both thresholds give the same targets, and from there on everything is shared.
    assert_eq!([ran("ingest"), ran("embed"), ran("train"), ran("evaluate")], [2, 1, 2, 2]);
    assert_eq!([records(&project, "embed"), records(&project, "train")], [1, 2]);
    let peak = list(&of[0]["stages"])[1]["peak_memory"].as_u64();
    assert!(peak.is_some_and(|bytes| bytes > 1 << 20), "{peak:?}");

    // Side by side or one after the other, with other threads: the same bytes.
    let alone = Project::micro();
    let one = alone.run(&["--set", "train.loss=ce", "--threads", "1"]);
    assert_eq!(one.artifact("checkpoint"), artifact(&of[2], "checkpoint"));
    assert_eq!(one.artifact("evaluation"), artifact(&of[3], "evaluation"));

    // Nothing is left to do, and what is shared has one line.
    let again = project.output("run", &args);
    let said = String::from_utf8(again.stdout).unwrap();
    assert_eq!(said.matches("\ndataset ").count() + usize::from(said.starts_with("dataset ")), 1, "{said}");
    assert!(!said.contains("ran:"), "{said}");
    let table = said.lines().filter(|line| line.contains("  Dice 0.") && line.contains("loss ")).count();
    assert_eq!(table, 4, "{said}");
    let status = project.output("status", &["--set", "train.loss=dice,dice-ce"]);
    let said = String::from_utf8(status.stdout).unwrap();
    assert!(said.contains("embed     up to date"), "what all share has no label\n{said}");
    assert!(said.contains("train     loss dice: up to date"), "{said}");
    assert!(said.contains("train     loss dice-ce: would run: train.loss "), "{said}");
}

#[test]
fn a_run_that_fails_does_not_stop_the_others() {
    let project = Project::micro();
    // A rate at which the loss is soon no number.
    let args = ["--json", "--set", "train.learning_rate=1e30,1e-3", "--set", "train.min_learning_rate=1e-5"];
    let output = project.output("run", &args);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let all: Value = serde_json::from_slice(&output.stdout).unwrap();
    let of = list(&all["runs"]);
    assert_eq!([&of[0]["status"], &of[1]["status"]], [&Value::from("failed"), &Value::from("done")]);
    assert_eq!([status(&of[0], "train"), status(&of[0], "evaluate")], ["failed", "skipped"]);
    assert_eq!([status(&of[1], "train"), status(&of[1], "evaluate")], ["ran", "ran"]);
    let said = stderr(&output);
    assert!(said.contains("1 of 2 runs failed; what the others gave is kept"), "{said}");
    assert!(said.contains("(learning_rate 1e30): "), "{said}");
}

#[test]
fn a_matrix_is_checked_before_anything_runs() {
    let project =
        Project::micro_trained_with("epochs = 3\n[matrix]\ntrain.loss = [\"dice\", \"dise\"]\n[train]");
    let output = project.output("run", &[]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let project = Project::micro();
    let output = project.output("run", &["--set", "train.loss=dice,dise"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).starts_with("--set train.loss=dice,dise: train.loss has a wrong value"),
        "{}",
        stderr(&output)
    );
    assert!(!project.store().join("dataset").exists());
}

#[test]
fn shards_together_are_what_one_machine_makes() {
    let whole = Project::micro().run(&["embed"]);
    let project = Project::micro();
    // Three processes and one store; none waits for another, but for what all of them need.
    let shards = ["1/3", "2/3", "3/3"].map(|shard| {
        let mut command = project.command("run", &["--json", "--shard", shard]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    });
    let shards = shards.map(|process| {
        let output = process.wait_with_output().unwrap();
        Run::of(&output).unwrap_or_else(|| panic!("a shard failed:\n{}", stderr(&output)))
    });
    let ids: BTreeSet<String> = shards.iter().map(|run| run.artifact("embeddings")).collect();
    assert_eq!(ids.len(), 3, "each is an artifact of its own");
    for (run, index) in shards.iter().zip(1..) {
        assert_eq!(run.stage("embed")["shard"]["index"], index);
        assert!(run.notes("embed").iter().any(|note| note.starts_with(&format!("shard {index}/3: 8 of 24"))));
    }

    let merged = project.run(&["embed", "--shards", "3"]);
    let steps: Vec<&str> = list(&merged.json()["stages"])
        .iter()
        .filter(|step| step["name"] == "embed")
        .map(|step| step["status"].as_str().unwrap())
        .collect();
    assert_eq!(steps, ["reused", "reused", "reused", "ran"]);
    assert_eq!(merged.artifact("embeddings"), whole.artifact("embeddings"));
    let last = list(&merged.json()["stages"]).iter().rfind(|step| step["name"] == "embed").unwrap();
    let notes: Vec<&str> = list(&last["notes"]).iter().map(|note| note.as_str().unwrap()).collect();
    assert!(notes.contains(&"24 of 24 copied from earlier embeddings"), "{notes:?}");
    assert_eq!(last["timing"]["images"], 0, "no image is encoded again");

    // The whole is there: its parts are asked for no more.
    let again = project.run(&["embed", "--shards", "3"]);
    assert_eq!(again.with_status("reused"), ["ingest", "embed"]);

    // A plain run puts together what is there, and encodes what is missing.
    let project = Project::micro();
    project.run(&["--shard", "2/3"]);
    let run = project.run(&["embed"]);
    assert!(
        run.notes("embed").contains(&"8 of 24 copied from earlier embeddings"),
        "{:?}",
        run.notes("embed")
    );
    assert_eq!(run.artifact("embeddings"), whole.artifact("embeddings"));

    for (shard, said) in [("0/3", "I from 1 to N"), ("4/3", "I from 1 to N"), ("x", "I/N")] {
        let output = project.output("run", &["--shard", shard]);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(said), "{}", stderr(&output));
    }
    let output = project.output("run", &["--shard", "30/30"]);
    assert_eq!(output.status.code(), Some(0), "one image each for 24 of 30");
    let output = project.output("run", &["--shard", "1/30"]);
    assert!(
        stderr(&output).contains("shard 1/30 holds no image: there are 24 distinct images"),
        "{}",
        stderr(&output)
    );
}

/// The script of the array job, as several processes at once with the variables that Slurm sets.
#[test]
fn the_array_jobs_script_embeds_a_shard_each() {
    let project = Project::micro();
    let programs = programs();
    let script = |name: &str, variables: &[(&str, &str)]| {
        let mut command = Command::new("bash");
        command.arg(workspace().join("docs/cluster").join(name)).arg("--json");
        command.env("RESECT_BIN", programs).env("RESECT_STORE", project.store()).env_remove("RESECT_REMOTE");
        command.env("PIPELINE", workspace().join("tests/pipelines/micro.toml"));
        command.envs(variables.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("bash starts")
    };
    let tasks = ["1", "2", "3"].map(|task| {
        let variables =
            [("SLURM_ARRAY_TASK_ID", task), ("SLURM_ARRAY_TASK_COUNT", "3"), ("SLURM_CPUS_PER_TASK", "1")];
        script("embed.sbatch", &variables)
    });
    for task in tasks {
        let output = task.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    }
    let output = script("train.sbatch", &[("SHARDS", "3")]).wait_with_output().unwrap();
    let run = Run::of(&output).unwrap_or_else(|| panic!("{}", stderr(&output)));
    assert_eq!(run.with_status("reused"), ["ingest", "embed", "embed", "embed"]);
    assert_eq!(run.artifacts(), Project::micro().run(&[]).artifacts());

    let without = Command::new("bash")
        .arg(workspace().join("docs/cluster/embed.sbatch"))
        .env_remove("RESECT_BIN")
        .output()
        .unwrap();
    assert!(!without.status.success() && stderr(&without).contains("RESECT_BIN: the folder of the programs"));
}

#[test]
fn what_all_runs_share_cannot_vary() {
    let project = Project::micro();
    let output = project.output("run", &["--set", "runtime.jobs=1,4"]);
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    assert!(said.contains("runtime.jobs cannot vary in a matrix: all its runs share [runtime]"), "{said}");
}
