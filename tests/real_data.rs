//! The pipeline on real polyp images, where they are at hand.

use resect_tests::{Project, real_data, workspace};

#[test]
#[ignore = "needs the real images: cargo xtask test runs it where ../shared/data/kvasir-seg is (RESECT_SHARED)"]
fn a_few_real_images_pass_the_whole_pipeline() {
    let data = real_data();
    let project = Project::new(&workspace().join("pipelines/kvasir-local.toml"));
    let path = format!("dataset.path={}", data.display());
    let run = project.run(&["--set", &path, "--set", "ingest.limit=12", "--set", "train.epochs=2"]);
    assert_eq!(run.with_status("ran"), ["ingest", "embed", "train", "evaluate"]);
    let metrics = std::fs::read(project.artifact(&run, "evaluation").join("metrics.json")).unwrap();
    let metrics: serde_json::Value = serde_json::from_slice(&metrics).unwrap();
    assert_eq!(metrics["targets"], 12, "{metrics}");
    let second = project.run(&["--set", &path, "--set", "ingest.limit=12", "--set", "train.epochs=2"]);
    assert_eq!(second.with_status("reused").len(), 4);
}
