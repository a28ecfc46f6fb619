//! Augmentation by flips and quarter turns: one setting, and each view is encoded once.

use resect_embeddings::Embeddings;
use resect_geometry::View;
use resect_tests::{Project, Run, stderr};
use serde_json::Value;
use std::fs;

const ALL: [&str; 2] = ["--set", "train.augment=all"];
const FLIPS: [&str; 2] = ["--set", "train.augment=flips"];

/// How many of how many embeddings were copied.
fn copied(run: &Run) -> String {
    let notes = run.notes("embed").into_iter();
    notes.filter_map(|line| line.strip_suffix(" copied from earlier embeddings")).collect()
}

/// A method's row of figures.
fn figures(project: &Project, run: &Run, method: &str) -> Value {
    let path = project.artifact(run, "evaluation").join("metrics.json");
    let metrics: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let rows = metrics["methods"].as_array().unwrap();
    rows.iter().find(|row| row["method"] == method).unwrap().clone()
}

#[test]
fn views_are_encoded_once_and_change_what_is_learnt() {
    let project = Project::micro();
    let plain = project.run(&[]);
    let all = project.run(&ALL);
    assert_eq!(all.with_status("ran"), ["embed", "train", "evaluate"]);
    assert_eq!(all.reason("embed"), "train.augment none → all");
    assert!(all.reason("train").contains("train.augment none → all"), "{}", all.reason("train"));
    assert!(all.notes("embed")[0].starts_with("24 distinct of 24 images under 8 views each, "));
    assert_eq!(copied(&all), "24 of 192", "those of the images as they are");
    assert_ne!(all.artifact("checkpoint"), plain.artifact("checkpoint"));

    // What is reported is seen as it is, whatever was trained on.
    assert_eq!(figures(&project, &all, "untuned"), figures(&project, &plain, "untuned"));
    assert_ne!(figures(&project, &all, "tuned"), figures(&project, &plain, "tuned"));
    let [views, upright] =
        [&all, &plain].map(|run| Embeddings::open(&project.artifact(run, "embeddings")).unwrap());
    assert_eq!((views.len(), upright.len()), (192, 24));
    let images = resect_images::Images::open(&project.artifact(&plain, "images")).unwrap();
    for image in images.iter() {
        let of = |embeddings: &Embeddings, view| {
            let mut values = Vec::new();
            assert!(embeddings.append_to(image.pixel_hash, view, &mut values), "{view}");
            values
        };
        let seen = View::ALL.map(|view| of(&views, view));
        assert_eq!(seen[0], of(&upright, View::Identity));
        assert!(seen[1..].iter().all(|turned| *turned != seen[0]));
    }

    // Fewer views are all there; other settings of training, and no augmentation, ask for none.
    let flips = project.run(&FLIPS);
    assert_eq!(copied(&flips), "96 of 96");
    let slower = project.run(&[&FLIPS[..], &["--set", "train.learning_rate=5e-4"]].concat());
    assert_eq!(slower.with_status("reused"), ["ingest", "embed"]);
    let other = project.run(&[&FLIPS[..], &["--set", "train.seed=1"]].concat());
    assert_eq!(other.with_status("reused"), ["ingest", "embed"]);
    assert_ne!(other.artifact("checkpoint"), flips.artifact("checkpoint"));
    assert_eq!(project.run(&[]).with_status("ran"), [""; 0]);

    // The same bytes from nothing, in another order of work.
    let order = ["--threads", "1", "--set", "runtime.embed_batch=5", "--set", "runtime.decode_batch=3"];
    let elsewhere = Project::micro();
    let fresh = elsewhere.run(&[&ALL[..], &order].concat());
    assert_eq!(copied(&fresh), "");
    assert_eq!(fresh.artifacts(), all.artifacts());

    // An image that was embedded under all views is not encoded to predict on it.
    let picture = elsewhere.artifact(&fresh, "dataset").join("images");
    let picture = fs::read_dir(picture).unwrap().next().unwrap().unwrap().path();
    let out = tempfile::tempdir().unwrap();
    let args = ["--image", picture.to_str().unwrap(), "--box", "10,10,60,60", "--out"];
    let output = elsewhere.output("predict", &[&args[..], &[out.path().to_str().unwrap()]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("1 of 1 images were embedded already"), "{}", stderr(&output));
}

#[test]
fn a_set_of_views_that_is_none_is_refused() {
    let project = Project::micro();
    let refused = |set: &str| {
        let output = project.output("run", &["--set", set]);
        assert_eq!(output.status.code(), Some(2));
        stderr(&output)
    };
    let said = refused("train.augment=mirror");
    assert!(said.contains("train.augment has a wrong value: unknown variant `mirror`"), "{said}");
    assert!(said.contains("`none`, `flips`, `all`"), "{said}");
    // It follows from `train.augment`.
    assert!(refused("embed.views=all").contains("embed.views is not a setting"));
}
