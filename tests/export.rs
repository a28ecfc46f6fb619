//! `cargo xtask export`: what lies in the folder, what the card says, and what is refused.

use resect_checkpoint::{Checkpoint, Layout, NamedTensor, TensorFile};
use resect_tests::{Project, Run, stderr, workspace};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Output;

/// Exports into a folder; what it printed as JSON.
fn export(project: &Project, out: &Path, args: &[&str]) -> Value {
    let output = try_export(project, out, args);
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn try_export(project: &Project, out: &Path, args: &[&str]) -> Output {
    project.output("export", &[&["--json", "--out", out.to_str().unwrap()], args].concat())
}

fn refused(project: &Project, out: &Path, args: &[&str]) -> String {
    let output = try_export(project, out, args);
    assert_eq!(output.status.code(), Some(1), "{args:?}");
    assert!(output.stdout.is_empty());
    stderr(&output)
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn tensors(checkpoint: &Checkpoint) -> BTreeMap<String, NamedTensor> {
    let all = resect_checkpoint::tensors(checkpoint.config()).into_iter();
    all.map(|spec| (spec.name.clone(), checkpoint.tensor(&spec.name).unwrap())).collect()
}

/// The whole model that a run tuned, as its artifacts have it.
fn expected(project: &Project, run: &Run) -> BTreeMap<String, NamedTensor> {
    let mut expected = tensors(&Checkpoint::open(&project.artifact(run, "base")).unwrap());
    let decoder = project.artifact(run, "checkpoint").join("tuned.safetensors");
    for tensor in TensorFile::open(&decoder).unwrap().read_all().unwrap() {
        assert!(expected.insert(tensor.name.clone(), tensor).is_some());
    }
    expected
}

#[test]
fn a_run_becomes_a_folder_in_either_layout_with_a_card() {
    let project = Project::micro();
    let run = project.run(&[]);
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("polyp model");

    let said = export(&project, &out, &[]);
    assert_eq!(
        names(&out),
        ["README.md", "config.json", "model.safetensors", "preprocessor_config.json", "resect.json"]
    );
    let checkpoint = Checkpoint::open(&out).unwrap();
    assert!(tensors(&checkpoint) == expected(&project, &run));
    assert_eq!(checkpoint.file().metadata()["format"], "pt");
    let base = project.artifact(&run, "base");
    assert_eq!(fs::read(out.join("config.json")).unwrap(), fs::read(base.join("config.json")).unwrap());

    let manifest: Value = serde_json::from_slice(&fs::read(out.join("resect.json")).unwrap()).unwrap();
    assert_eq!(manifest, said["manifest"]);
    assert_eq!(manifest["format"], "resect-export/1.0");
    assert_eq!(manifest["checkpoint"], run.artifact("checkpoint").as_str());
    assert_eq!(manifest["base"], run.artifact("base").as_str());
    assert_eq!(
        (&manifest["tuned"][0], &manifest["iou_head_trained"]),
        (&"mask_decoder".into(), &false.into())
    );
    let lineage: BTreeMap<String, String> = serde_json::from_value(manifest["lineage"].clone()).unwrap();
    assert_eq!(lineage, run.artifacts(), "every artifact of the run stands behind the export");
    assert!(said["upload"].as_str().unwrap().starts_with("hf upload OWNER/NAME '"));

    let card = fs::read_to_string(out.join("README.md")).unwrap();
    let metrics: Value =
        serde_json::from_slice(&fs::read(project.artifact(&run, "evaluation").join("metrics.json")).unwrap())
            .unwrap();
    let methods = metrics["methods"].as_array().unwrap();
    assert_eq!(methods.len(), 5);
    let (head, text) = card.split_once("\n---\n").unwrap();
    assert_eq!(head.matches("value: ").count(), 2, "{head}");
    for method in methods {
        for figure in ["dice", "iou"] {
            let figure = format!("{:.4}", method["all"]["original"][figure]["mean"].as_f64().unwrap());
            // All stand in the table, this model's own in the metadata, too.
            assert!(text.contains(&figure), "{figure} of {} is not in\n{text}", method["method"]);
            let own = method["method"] == "tuned";
            let listed = head.lines().any(|line| line.trim() == format!("value: {figure}"));
            assert!(listed || !own, "{figure} is not in\n{head}");
        }
    }
    for line in [
        "library_name: transformers\npipeline_tag: mask-generation\nlicense: \"unknown\"\n",
        "# polyp model\n",
        "**The base has random weights.**",
        "Resect phantoms: 24 synthetic endoscopy-like images, seed 3",
        "| `train.learning_rate` | `0.001` |",
        "| `train.epochs` | `3` |",
        "| `mask.threshold` | `128` |",
        "**Not a medical device.**",
        "**IoU scores mean nothing",
        "hf upload OWNER/NAME . .",
    ] {
        assert!(card.contains(line), "`{line}` is not in\n{card}");
    }
    for (kind, id) in run.artifacts() {
        assert!(card.contains(&format!("| {kind} | `{id}` |")), "{kind} is not in\n{card}");
    }
    let here = workspace();
    for place in [place.path(), &here, Path::new("/tmp"), Path::new("/home")] {
        let place = place.to_str().unwrap();
        assert!(!card.contains(place) && !manifest.to_string().contains(place), "{place}");
    }

    // The same again, by any name of the checkpoint, gives the same bytes in the same place.
    let bytes = |name: &str| fs::read(out.join(name)).unwrap();
    let before: Vec<_> = names(&out).iter().map(|name| bytes(name)).collect();
    let id = run.artifact("checkpoint");
    let folder = project.artifact(&run, "checkpoint");
    for name in [run.json()["run"].as_str().unwrap(), &id[..10], folder.to_str().unwrap()] {
        export(&project, &out, &["--checkpoint", name]);
        let again: Vec<_> = names(&out).iter().map(|name| bytes(name)).collect();
        assert!(again == before, "{name}");
    }

    // The original layout, from the run and from the first export; read again it is the same model.
    let original = place.path().join("original");
    for from in [None, out.to_str()] {
        let args = from.map_or(vec![], |from| vec!["--checkpoint", from]);
        export(&project, &original, &[&args[..], &["--format", "original", "--license", "mit"]].concat());
        assert_eq!(
            names(&original),
            ["README.md", "config.json", "resect.json", "sam_tiny.pth", "sam_tiny.safetensors"]
        );
        for file in ["", "sam_tiny.pth", "sam_tiny.safetensors"] {
            let path = if file.is_empty() { original.clone() } else { original.join(file) };
            let read = Checkpoint::open(&path).unwrap();
            assert_eq!(read.layout(), Layout::Original);
            assert!(tensors(&read) == expected(&project, &run), "{file}");
        }
        let again: Value = serde_json::from_slice(&fs::read(original.join("resect.json")).unwrap()).unwrap();
        assert_eq!((&again["layout"], &again["lineage"]), (&"original".into(), &manifest["lineage"]));
        assert_eq!(again["iou_head_trained"], false);
        let card = fs::read_to_string(original.join("README.md")).unwrap();
        assert!(card.contains("license: \"mit\"") && card.contains("epsilon of 1e-5"), "{card}");
    }

    // A single file of an export is still what was exported; a file that was put in its place is not.
    let file = original.join("sam_tiny.pth");
    let again = place.path().join("again");
    let manifest_of_file =
        export(&project, &again, &["--checkpoint", file.to_str().unwrap()])["manifest"].clone();
    assert_eq!(
        (&manifest_of_file["lineage"], &manifest_of_file["tuned"]),
        (&manifest["lineage"], &manifest["tuned"])
    );
    assert_eq!(manifest_of_file["iou_head_trained"], false);
    let foreign = place.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::copy(out.join("resect.json"), foreign.join("resect.json")).unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(project.artifact(&run, "base").join(name), foreign.join(name)).unwrap();
    }
    let manifest_of_foreign =
        export(&project, &again, &["--checkpoint", foreign.to_str().unwrap()])["manifest"].clone();
    assert_eq!(
        (&manifest_of_foreign["checkpoint"], &manifest_of_foreign["lineage"]),
        (&Value::Null, &serde_json::json!({}))
    );

    // The pipeline takes it as its base. Its decoder is another one, its encoder is the same.
    let based = Project::micro_on(&original.join("sam_tiny.pth"));
    let first = based.run(&["embed"]);
    let base = Checkpoint::open(&based.artifact(&first, "base")).unwrap();
    assert!(tensors(&base) == expected(&project, &run));
    assert_eq!(base.layout(), Layout::Transformers);
    assert_eq!(first.artifact("embeddings"), run.artifact("embeddings"));
    assert_eq!(based.run(&["embed"]).with_status("reused"), ["ingest", "embed"]);

    // What was not tuned says so.
    let untuned = place.path().join("untuned");
    let base = run.artifact("base");
    let manifest = export(&project, &untuned, &["--checkpoint", &base])["manifest"].clone();
    assert_eq!((&manifest["checkpoint"], manifest["tuned"].as_array().unwrap().len()), (&Value::Null, 0));
    assert_eq!(manifest["iou_head_trained"], false, "random weights know nothing");
    let card = fs::read_to_string(untuned.join("README.md")).unwrap();
    assert!(card.contains("Nothing in it was tuned") && !card.contains("## Figures"), "{card}");
    assert!(tensors(&Checkpoint::open(&untuned).unwrap()) != expected(&project, &run));

    refuses(&project, &run, place.path(), &out);
}

fn refuses(project: &Project, run: &Run, place: &Path, earlier: &Path) {
    let full = place.join("full");
    fs::create_dir(&full).unwrap();
    let empty = place.join("empty");
    fs::create_dir(&empty).unwrap();
    export(project, &empty, &[]);
    fs::write(full.join("thesis.tex"), "years of work").unwrap();
    let said = refused(project, &full, &[]);
    assert!(said.contains("is not empty and holds no earlier export"), "{said}");
    assert_eq!(names(&full), ["thesis.tex"]);

    fs::write(earlier.join("notes.txt"), "mine").unwrap();
    let said = refused(project, earlier, &[]);
    assert!(said.contains("holds notes.txt, which no export wrote"), "{said}");
    fs::remove_file(earlier.join("notes.txt")).unwrap();
    let card = fs::read_to_string(earlier.join("README.md")).unwrap();
    fs::write(earlier.join("README.md"), card + "\nMine.\n").unwrap();
    let said = refused(project, earlier, &[]);
    assert!(said.contains("README.md in") && said.contains("was changed since it was exported"), "{said}");

    let out = place.join("never");
    for (args, want) in [
        (
            vec!["--checkpoint", "20200101-000000-00000"],
            "there is no folder, run or artifact 20200101-000000-00000",
        ),
        (vec!["--checkpoint", full.to_str().unwrap()], "is no checkpoint"),
        (vec!["--name", " "], "--name must not be empty"),
    ] {
        let said = refused(project, &out, &args);
        assert!(said.contains(want), "{args:?}: {said}");
    }
    let none = Project::micro();
    let said = refused(&none, &out, &[]);
    assert!(said.contains("has given no checkpoint yet"), "{said}");

    // A byte of the decoder is another one, which no size tells.
    let decoder = project.artifact(run, "checkpoint").join("tuned.safetensors");
    let mut content = fs::read(&decoder).unwrap();
    let last = content.len() - 1;
    content[last] ^= 1;
    fs::remove_file(&decoder).unwrap();
    fs::write(&decoder, content).unwrap();
    let said = refused(project, &out, &[]);
    assert!(said.contains("tuned.safetensors has other content"), "{said}");
    assert!(!out.exists());
    let left: Vec<_> = names(place).into_iter().filter(|name| name.starts_with('.')).collect();
    assert_eq!(left, [""; 0], "nothing unfinished is left behind");
}

#[test]
fn a_checkpoint_that_nobody_evaluated_claims_nothing() {
    let project = Project::micro();
    let run = project.run(&["train"]);
    let notes = run.notes("train");
    assert_eq!(notes[0], "parameters");
    assert!(notes[4].starts_with("mask decoder") && notes[4].contains("  tuned "), "{notes:?}");
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("model");
    export(&project, &out, &["--name", "no figures | yet"]);
    let card = fs::read_to_string(out.join("README.md")).unwrap();
    assert!(card.contains("No evaluation of this checkpoint was made"), "{card}");
    assert!(card.contains("# no figures \\| yet\n"), "{card}");
    assert!(!card.contains("model-index") && !card.contains("metrics:"), "{card}");
}
