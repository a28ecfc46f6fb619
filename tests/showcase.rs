//! What the README shows: the default pipeline trains, and the tuned decoder leads what needs no training by at least 0.05 Dice.

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
        row["all"]["original"]["dice"]["mean"].as_f64().unwrap()
    };
    let tuned = dice("tuned");
    for other in ["box", "ellipse", "otsu", "untuned"] {
        let (dice, least) = (dice(other), tuned - 0.05);
        assert!(dice <= least, "{other} has a Dice of {dice:.4}, tuned only {tuned:.4}");
    }
}
