//! What a user sees of training: which epoch is kept, when it stops, progress, logs, rates, and numbers that are none.

use resect_checkpoint_records::{Epoch, Step, Summary};
use resect_tables::table;
use resect_tests::{Project, Run, stderr};
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn each_epoch_has_one_line_where_no_line_can_live_in_place() {
    let project = Project::micro();
    let output = project.output("run", &["train"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let said = stderr(&output);
    let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("train: ")).collect();
    assert_eq!(lines.len(), 4, "{said}");
    assert_eq!(lines[0], "train: first run");
    for (line, epoch) in lines[1..].iter().zip(1..) {
        assert!(line.starts_with(&format!("train: epoch {epoch}/3, loss ")), "{line}");
        assert!(line.contains(", validation Dice 0.") && line.contains(" (best 0."), "{line}");
        assert_eq!(line.ends_with("s left"), epoch < 3, "{line}");
    }
}

#[test]
fn the_last_epoch_an_average_and_patience_are_settings() {
    let project = Project::micro();
    let usual = project.run(&["train"]);
    let kept = |run: &Run| {
        let note = run.notes("train").into_iter().find(|note| note.starts_with("kept ")).unwrap().to_owned();
        (note, Summary::read(&project.artifact(run, "checkpoint")).unwrap())
    };
    let (note, summary) = kept(&usual);
    assert!(note.starts_with(&format!("kept epoch {} of 3: validation Dice 0.", summary.epoch)), "{note}");
    assert!(!summary.stopped_early);

    let last = project.run(&["train", "--set", "train.keep=last"]);
    assert_eq!(last.reason("train"), "train.keep best → last");
    let (note, summary) = kept(&last);
    assert!(note.starts_with("kept the last epoch, 3, as asked: validation Dice 0."), "{note}");
    assert_eq!(summary.epoch, 3);

    let averaged = project.run(&["train", "--set", "train.keep=last", "--set", "train.ema=0.5"]);
    let history = |run: &Run| fs::read(project.artifact(run, "checkpoint").join("history.parquet")).unwrap();
    assert!(history(&averaged) == history(&last), "the average changes no step");
    assert_ne!(averaged.artifact("checkpoint"), last.artifact("checkpoint"));

    // Far too high a rate: no later epoch is better than the first.
    let high = ["--set", "train.epochs=9", "--set", "train.learning_rate=0.5"];
    let stopped = project.run(&[&["evaluate", "--set", "train.patience=2"][..], &high].concat());
    let (note, summary) = kept(&stopped);
    assert!(summary.stopped_early && summary.epochs == summary.epoch + 2, "{summary:?}");
    assert!(note.ends_with("; stopped early, after 2 without a better one, of 9"), "{note}");
    let of = format!("tuned is epoch {} of {}", summary.epoch, summary.epochs);
    assert!(stopped.notes("evaluate")[0].ends_with(&of), "{:?}", stopped.notes("evaluate"));
}

#[test]
fn patience_needs_a_validation_part() {
    let project = Project::micro();
    let output = project.output("run", &["--set", "train.patience=2", "--set", "split.validation_share=0"]);
    assert_eq!(output.status.code(), Some(2));
    let expected = "--set train.patience=2: train.patience needs a validation part: raise split.validation_share, which is 0, \
                    or set train.patience = 0";
    assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    let output = project.output("run", &["--set", "train.ema=1", "--set", "runtime.save_epochs=0"]);
    let errors = stderr(&output);
    assert!(errors.contains("train.ema must be 0 (no average) or above, and below 1"), "{errors}");
    assert!(errors.contains("runtime.save_epochs must be at least 1"), "{errors}");
}

#[test]
fn logs_hold_what_the_history_holds() {
    let project = Project::micro();
    let run = project.run(&["train", "--log", "csv", "--log", "tensorboard"]);
    let logs = PathBuf::from(run.stage("train")["logs"].as_str().unwrap());
    assert_eq!(logs, project.store().join("runs").join(run.json()["run"].as_str().unwrap()).join("train"));
    let checkpoint = project.artifact(&run, "checkpoint");
    let steps: Vec<Step> = table::read(&checkpoint.join("history.parquet")).unwrap();
    let epochs: Vec<Epoch> = table::read(&checkpoint.join("epochs.parquet")).unwrap();
    assert_eq!((steps.len(), epochs.len()), (6, 4));
    same_rows(&logs.join("steps.csv"), steps.iter().map(|row| table::cells(row).unwrap()));
    same_rows(&logs.join("epochs.csv"), epochs.iter().map(|row| table::cells(row).unwrap()));
    let names = fs::read_dir(&logs).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.starts_with("events.out.tfevents.")).count(), 1);

    // Several seeds have a folder each.
    let seeds = project.run(&["train", "--log", "csv", "--set", "train.seeds=[1,2]"]);
    let folder = project.store().join("runs").join(seeds.json()["run"].as_str().unwrap());
    for seed in [1, 2] {
        let logs = folder.join(format!("train-seed-{seed}"));
        assert_eq!(fs::read_to_string(logs.join("steps.csv")).unwrap().lines().count(), 7);
        assert!(
            seeds.json()["stages"].as_array().unwrap().iter().any(|s| s["logs"] == logs.to_str().unwrap())
        );
    }

    // What is reused says nothing, and a run that logs nothing leaves no folder.
    let output = project.output("run", &["train", "--log", "csv", "--json"]);
    assert!(stderr(&output).contains("nothing to log: train did not run"), "{}", stderr(&output));
    let again = Run::of(&output).unwrap();
    assert!(again.stage("train")["logs"].is_null());
    assert_eq!(fs::read_dir(project.store().join("runs")).unwrap().count(), 2);
}

/// Compares a CSV file with the rows of a table, to the last bit.
fn same_rows(csv: &Path, rows: impl Iterator<Item = Vec<(String, Option<f64>)>>) {
    let text = fs::read_to_string(csv).unwrap();
    let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let columns = lines.next().unwrap();
    let mut count = 0;
    for row in rows {
        let line = lines.next().unwrap();
        assert_eq!(row.iter().map(|(column, _)| column.as_str()).collect::<Vec<_>>(), columns);
        let found: Vec<Option<f64>> =
            line.iter().map(|cell| (!cell.is_empty()).then(|| cell.parse().unwrap())).collect();
        assert_eq!(found, row.iter().map(|(_, cell)| *cell).collect::<Vec<_>>());
        count += 1;
    }
    assert!(count > 0 && lines.next().is_none(), "{}", csv.display());
}

#[test]
fn the_run_record_tells_rates_and_nothing_else_does() {
    let project = Project::micro();
    let run = project.run(&["train"]);
    let timing = &run.stage("train")["timing"];
    assert_eq!((timing["steps"].as_u64(), timing["epoch_seconds"].as_array().unwrap().len()), (Some(6), 3));
    let number = |name: &str| timing[name].as_f64().unwrap_or_else(|| panic!("{name} in {timing}"));
    let per_step = number("samples_per_second") / number("steps_per_second");
    assert!((per_step - 16.0 / 2.0).abs() < 1e-6, "16 samples in two steps an epoch: {per_step}");
    assert!(number("validation_seconds") > 0.0 && number("saving_seconds") > 0.0);
    let embed = &run.stage("embed")["timing"];
    assert_eq!(embed["images"], 24);
    assert!(embed["images_per_second"].as_f64().unwrap() > 0.0, "{embed}");

    let name = run.json()["run"].as_str().unwrap();
    let record = fs::read_to_string(project.store().join(format!(".resect/runs/{name}.json"))).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    assert_eq!(record["stages"], run.json()["stages"]);
    let actions = fs::read_dir(project.store().join(".resect/actions/train")).unwrap();
    for action in actions.map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap()) {
        assert!(!action.contains("steps_per_second"), "{action}");
    }
    let reused = project.run(&["train"]);
    assert!(reused.stage("train")["timing"].is_null());
}

#[test]
fn a_rate_far_too_high_is_stopped_and_a_lower_one_runs() {
    let project = Project::micro();
    let args = ["--set", "train.learning_rate=1e30", "--set", "runtime.save_steps=1"];
    let output = project.output("run", &[&["--json"], &args[..]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let said = stderr(&output);
    let error = said.lines().find(|line| line.starts_with("error: ")).unwrap();
    assert!(
        error.contains(" in epoch 1, step ") && error.contains("learning rate 1e30; samples "),
        "{error}"
    );
    assert!(
        error.ends_with("Lower train.learning_rate, set train.clip_norm or look at these samples"),
        "{error}"
    );
    let run: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(run["stages"][2]["status"], "failed");
    assert!(!project.store().join("checkpoint").exists(), "nothing is published");
    let work = fs::read_dir(project.store().join(".resect/work")).unwrap();
    let work: Vec<_> = work.map(|entry| entry.unwrap().path()).collect();
    assert_eq!(work.len(), 1);
    assert!(work[0].join("state").is_dir());
    assert_eq!(project.run(&[]).with_status("ran"), ["train", "evaluate"]);
}
