//! Bad input: one clear error each, before any work, and nothing left behind.

use resect_checkpoint::{Checkpoint, NamedTensor, SamConfig, write_random, write_safetensors};
use resect_tests::{Project, stderr, workspace};
use std::fs;
use std::path::Path;

/// Runs a pipeline file with this text; the exit code and standard error.
fn run(text: &str, args: &[&str]) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pipeline.toml");
    fs::write(&file, text).unwrap();
    let project = Project::new(&file);
    let output = project.output("run", args);
    let made = fs::read_dir(project.store()).map_or(0, |entries| {
        entries
            .filter(|entry| !entry.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'))
            .count()
    });
    assert_eq!(made, 0, "nothing is made");
    (output.status.code(), stderr(&output))
}

#[test]
fn every_wrong_setting_is_named_with_its_line_at_once() {
    let text = "[train]\nlerning_rate = 1e-4\nepochs = 0\n[maks]\n";
    let (code, errors) = run(text, &["--set", "train.batch_size=two"]);
    assert_eq!(code, Some(2));
    for part in [
        "pipeline.toml:2: train.lerning_rate is not a setting; did you mean learning_rate?",
        "pipeline.toml:3: train.epochs must be at least 1",
        "pipeline.toml:4: maks is not a section; did you mean mask?",
        "--set train.batch_size=two: train.batch_size has a wrong value",
    ] {
        assert!(errors.contains(part), "{part}\nis not in\n{errors}");
    }
}

#[test]
fn unknown_stages_and_flags_are_usage_errors() {
    let (code, errors) = run("", &["tarin"]);
    assert_eq!(code, Some(2));
    assert!(errors.contains("there is no stage tarin; there are ingest, embed, train, evaluate"), "{errors}");
}

#[test]
fn data_that_is_not_there_is_said_before_anything_runs() {
    let (code, errors) = run("[dataset]\nkind = \"parquet\"\n", &[]);
    assert_eq!(code, Some(2));
    assert!(errors.contains("dataset.path must be given"), "{errors}");
    let (code, errors) = run("[dataset]\nkind = \"parquet\"\npath = \"nowhere\"\n", &[]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("there is no file, folder or match of a pattern at"), "{errors}");
    let (code, errors) = run("[dataset]\nkind = \"folder\"\npath = \".\"\n", &[]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("has no folder images/"), "{errors}");
}

fn checkpoint_pipeline(dir: &Path) -> String {
    format!("[checkpoint]\nkind = \"folder\"\npath = {:?}\n", dir.to_str().unwrap())
}

#[test]
fn a_checkpoint_that_does_not_fit_is_refused_with_every_tensor_named() {
    let dir = tempfile::tempdir().unwrap();
    let config = SamConfig::named("tiny").unwrap();
    write_random(dir.path(), &config, 1).unwrap();
    let whole = Checkpoint::open(dir.path()).unwrap().file().read_all().unwrap();
    let mut tensors: Vec<NamedTensor> = whole;
    tensors.retain(|t| t.name != "vision_encoder.patch_embed.projection.bias");
    for tensor in &mut tensors {
        if tensor.name == "mask_decoder.iou_token.weight" {
            tensor.name = "mask_decoder.iou_tokens.weight".into();
        }
        if tensor.name == "vision_encoder.pos_embed" {
            tensor.shape = vec![1, tensor.data.len()];
        }
    }
    write_safetensors(&dir.path().join("model.safetensors"), tensors, None).unwrap();
    let (code, errors) = run(&checkpoint_pipeline(dir.path()), &[]);
    assert_eq!(code, Some(1));
    for name in [
        "vision_encoder.patch_embed.projection.bias",
        "mask_decoder.iou_token.weight",
        "mask_decoder.iou_tokens.weight",
        "vision_encoder.pos_embed",
    ] {
        assert!(errors.contains(name), "{name}\nis not in\n{errors}");
    }
}

#[test]
fn a_truncated_checkpoint_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    write_random(dir.path(), &SamConfig::named("tiny").unwrap(), 1).unwrap();
    let path = dir.path().join("model.safetensors");
    let content = fs::read(&path).unwrap();
    fs::write(&path, &content[..content.len() - 1000]).unwrap();
    let (code, errors) = run(&checkpoint_pipeline(dir.path()), &[]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("model.safetensors"), "{errors}");
}

#[test]
fn too_many_rejected_samples_stop_the_run_with_their_reasons() {
    let data = tempfile::tempdir().unwrap();
    for part in ["images", "masks"] {
        fs::create_dir(data.path().join(part)).unwrap();
        for name in ["a.png", "b.png"] {
            fs::write(data.path().join(part).join(name), "no image").unwrap();
        }
    }
    let file = data.path().join("pipeline.toml");
    fs::write(&file, "[dataset]\nkind = \"folder\"\npath = \".\"\n[split]\nby = \"random\"\n").unwrap();
    let project = Project::new(&file);
    let output = project.output("run", &["--json"]);
    assert_eq!(output.status.code(), Some(1));
    let run: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(run["stages"][0]["status"], "failed");
    assert_eq!(run["stages"][1]["status"], "skipped");
    assert!(run["stages"][0]["reason"].as_str().unwrap().contains("images/a.png"), "{run}");
    assert!(!project.store().join("images").exists());
}

#[test]
fn the_pipelines_that_ship_are_valid() {
    for file in ["pipeline.toml", "pipelines/kvasir-local.toml", "pipelines/kvasir-sam-vit-b.toml"] {
        let project = Project::new(&workspace().join(file));
        let output = project.output("status", &["--set", "train.epochs=-1"]);
        let errors = stderr(&output);
        // The wrong value must be all there is to say, besides a path that the user has to give.
        let others =
            errors.lines().filter(|line| !line.contains("train.epochs") && !line.contains("dataset.path"));
        assert_eq!(others.count(), 0, "{file}: {errors}");
    }
}
