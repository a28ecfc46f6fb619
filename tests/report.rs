//! `cargo xtask report`: from a run to one file, what the file says of it, and what is refused.

use resect_tests::{Project, stderr};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Output;

fn try_report(project: &Project, out: &Path, args: &[&str]) -> Output {
    project.output("report", &[&["--json", "--out", out.to_str().unwrap()], args].concat())
}

/// Writes a report: what was printed as JSON, and the page.
fn report(project: &Project, out: &Path, args: &[&str]) -> (Value, String) {
    let output = try_report(project, out, args);
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    (serde_json::from_slice(&output.stdout).unwrap(), fs::read_to_string(out).unwrap())
}

fn refused(project: &Project, out: &Path, args: &[&str]) -> String {
    let output = try_report(project, out, args);
    assert_eq!(output.status.code(), Some(1), "{args:?}");
    assert!(output.stdout.is_empty());
    stderr(&output)
}

#[test]
fn a_run_becomes_a_page_that_tells_everything_of_it() {
    let project = Project::micro();
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("a folder/report.html");
    let said = refused(&project, &out, &[]);
    assert!(said.contains("has given no checkpoint yet"), "{said}");

    let run = project.run(&["--set", "train.epochs=2", "--set", "train.seeds=[3,4]"]);
    let (said, page) = report(&project, &out, &[]);
    assert_eq!(
        (&said["format"], said["bytes"].as_u64()),
        (&"resect-report/1.0".into(), Some(page.len() as u64))
    );
    let of_first =
        run.json()["stages"].as_array().unwrap().iter().find(|stage| stage["name"] == "evaluate").unwrap();
    assert_eq!(said["evaluation"], of_first["artifacts"]["evaluation"]);
    for (kind, id) in run.artifacts() {
        // Of what there are several of, the first seed's is told.
        if kind != "checkpoint" && kind != "evaluation" {
            assert!(page.contains(&id), "{kind} {id}");
        }
    }
    for part in [
        said["checkpoint"].as_str().unwrap(),
        said["evaluation"].as_str().unwrap(),
        "Resect phantoms",
        "The base has random weights.",
        "--set &#39;train.epochs=2&#39; --set &#39;train.seeds=[3,4]&#39;",
        "2 seeds",
        "seed 3 (shown here)",
        "learning_rate",
        "[evaluate]",
        run.json()["run"].as_str().unwrap(),
    ] {
        let plain = part.replace("&#39;", "'");
        assert!(page.contains(part) || page.contains(&plain), "{part}");
    }
    let metrics =
        project.store().join("evaluation").join(said["evaluation"].as_str().unwrap()).join("metrics.json");
    let metrics: Value = serde_json::from_slice(&fs::read(metrics).unwrap()).unwrap();
    assert_eq!(said["targets"], metrics["targets"]);
    let tuned = metrics["methods"].as_array().unwrap().iter().find(|row| row["method"] == "tuned").unwrap();
    let dice = tuned["all"]["original"]["dice"]["mean"].as_f64().unwrap();
    assert!(page.contains(&format!("<dd>{dice:.3}</dd>")), "{dice}");

    // A run and the digits of a checkpoint mean the same, and the same gives the same.
    let name = run.json()["run"].as_str().unwrap();
    assert!(report(&project, &out, &[name]).1 == page);
    assert!(report(&project, &out, &[&said["checkpoint"].as_str().unwrap()[..12]]).1 == page);
    let (_, titled) = report(&project, &out, &["--title", "<b>Polyps</b>"]);
    assert!(titled.contains("&lt;b&gt;Polyps&lt;/b&gt;") && !titled.contains("<b>Polyps"));

    // What is no tuned checkpoint, and what was lost.
    let said = refused(&project, &out, &[&run.artifact("base")]);
    assert!(said.contains("has no figures to report; name a run or a tuned checkpoint"), "{said}");
    let said = refused(&project, place.path(), &[]);
    assert!(said.contains("is a folder; name the file to write"), "{said}");
    fs::remove_dir_all(project.store().join("evaluation")).unwrap();
    let said = refused(&project, &out, &[]);
    assert!(
        said.contains("no evaluation of checkpoint") && said.contains("`cargo xtask run` makes one"),
        "{said}"
    );
    assert!(fs::read_to_string(&out).unwrap() == titled, "an earlier report stays");
}
