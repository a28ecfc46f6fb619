//! Mixed precision from the pipeline file to the figures.

use resect_checkpoint_records::Step;
use resect_embeddings::Embeddings;
use resect_tables::table;
use resect_tests::{Project, Run, stderr};
use serde_json::Value;
use std::fs;

fn losses(project: &Project, run: &Run) -> Vec<Step> {
    table::read(&project.artifact(run, "checkpoint").join("history.parquet")).unwrap()
}

fn tuned_dice(project: &Project, run: &Run) -> f64 {
    let metrics = fs::read(project.artifact(run, "evaluation").join("metrics.json")).unwrap();
    let metrics: Value = serde_json::from_slice(&metrics).unwrap();
    let methods = metrics["methods"].as_array().expect("methods");
    let tuned = methods.iter().find(|method| method["method"] == "tuned").expect("a row of the tuned model");
    tuned["all"]["original"]["dice"]["mean"].as_f64().expect("a Dice")
}

#[test]
fn a_narrower_precision_is_another_run_with_almost_the_same_figures() {
    let project = Project::micro();
    let single = project.run(&[]);
    let (dice, steps) = (tuned_dice(&project, &single), losses(&project, &single));
    for precision in ["bf16", "f16"] {
        let sets = ["train", "embed"].map(|stage| format!("{stage}.precision={precision}"));
        let trained = project.run(&["--set", &sets[0]]);
        assert_eq!(trained.with_status("ran"), ["train", "evaluate"]);
        assert_eq!(trained.reason("train"), format!("train.precision f32 → {precision}"));
        let both = project.run(&["--set", &sets[0], "--set", &sets[1]]);
        assert_eq!(both.with_status("ran"), ["embed", "train", "evaluate"]);
        for run in [&trained, &both] {
            let found = losses(&project, run);
            assert_eq!(found.len(), steps.len());
            assert!(found.iter().zip(&steps).any(|(a, b)| a.loss != b.loss), "{precision} rounds nothing");
            for (a, b) in found.iter().zip(&steps) {
                assert!((a.loss - b.loss).abs() < 0.05 * b.loss, "{precision}: {} {}", a.loss, b.loss);
            }
            let found = tuned_dice(&project, run);
            assert!((found - dice).abs() < 0.05, "{precision}: {found} {dice}");
        }
        // Back in single precision nothing has to run, so the artifacts of both lie side by side.
        assert!(project.run(&[]).with_status("ran").is_empty());
    }
}

#[test]
fn predict_encodes_in_single_precision_whatever_the_pipeline_embedded_in() {
    let project = Project::micro();
    let run = project.run(&["--set", "embed.precision=bf16", "--set", "embed.dtype=f32"]);
    let embeddings = Embeddings::open(&project.artifact(&run, "embeddings")).unwrap();
    assert!(!embeddings.is_empty());
    let images = project.artifact(&run, "dataset").join("images");
    let image = fs::read_dir(&images).unwrap().map(|entry| entry.unwrap().path()).min().unwrap();
    let out = project.store().with_file_name("out");
    let predict = || -> Value {
        let args = ["--image", image.to_str().unwrap(), "--box", "5,5,60,50", "--json", "--out"];
        let output = project.output("predict", &[&args[..], &[out.to_str().unwrap()]].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    assert_eq!(predict()["images"][0]["embedding"], "encoded");
    // The same encoder in single precision is found, with the decoder that the pipeline gave last.
    project.run(&["--set", "embed.dtype=f32"]);
    assert_eq!(predict()["images"][0]["embedding"], "store_f32");
}
