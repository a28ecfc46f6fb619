//! What the README shows: the default pipeline trains, and the tuned decoder is far ahead of the untuned one.

use resect_tests::{Project, workspace};

#[test]
fn tuning_helps() {
    let project = Project::new(&workspace().join("pipeline.toml"));
    let run = project.run(&[]);
    let metrics = std::fs::read(project.artifact(&run, "evaluation").join("metrics.json")).unwrap();
    let metrics: serde_json::Value = serde_json::from_slice(&metrics).unwrap();
    let rows = metrics["methods"].as_array().unwrap();
    assert_eq!(rows.len(), 5);
    let dice = |method: &str| {
        let row = rows.iter().find(|row| row["method"] == method).unwrap();
        row["all"]["dice"].as_f64().unwrap()
    };
    let (tuned, untuned, otsu) = (dice("tuned"), dice("untuned"), dice("otsu"));
    assert!(
        tuned >= untuned + 0.3 && tuned >= otsu,
        "tuned {tuned:.4}, untuned {untuned:.4}, otsu {otsu:.4}"
    );
}
