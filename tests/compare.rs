//! Looking at runs and comparing them, as a person and as a script do.

use resect_tests::{Project, stderr, xtask};
use serde_json::Value;
use std::fs;
use std::process::Output;

/// A command that takes a store but no pipeline.
fn ask(project: &Project, args: &[&str]) -> Output {
    xtask().args(args).arg("--store").arg(project.store()).output().unwrap()
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", stderr(output)))
}

fn contains(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
}

/// Two losses with three seeds each: what they are called.
fn group(project: &Project) -> String {
    let args = ["--json", "--set", "train.loss=dice,dice-ce", "--set", "train.seeds=[0,1,2]"];
    let all = json(&project.output("run", &args));
    all["group"].as_str().unwrap().to_owned()
}

#[test]
fn runs_are_listed_and_shown() {
    let project = Project::micro();
    contains(&text(&ask(&project, &["runs"])), &["no run has left a record in "]);
    let first = project.run(&["--set", "train.loss=ce"]);
    let name = first.json()["run"].as_str().unwrap();
    project.run(&[]);

    let listed = text(&ask(&project, &["runs"]));
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(lines.len(), 2, "{listed}");
    contains(lines[0], &["ran train, evaluate", "Dice 0.", "micro.toml"]);
    contains(lines[1], &[name, "ran ingest, embed, train, evaluate", "train.loss=ce"]);
    assert!(text(&ask(&project, &["runs", "--limit", "1"])).contains("1 earlier ones"));
    let list = json(&ask(&project, &["runs", "--json"]));
    assert_eq!(list["runs"][1]["run"], name);
    assert!(list["runs"][1]["dice"][0].as_f64().unwrap() > 0.0);

    let shown = text(&ask(&project, &["show", name]));
    let checkpoint = &first.artifact("checkpoint")[..12];
    contains(
        &shown,
        &[
            &format!("run {name}: done, "),
            "set      train.loss=ce",
            "train.loss                 ce   (default dice-ce)",
            "dataset.images             24   (default 320)",
            &format!("checkpoint {checkpoint}"),
            "6 test targets, tight boxes",
            "rustc 1.",
        ],
    );
    assert!(!shown.contains("train.beta1"), "what is the default is not shown\n{shown}");
    assert_eq!(json(&ask(&project, &["show", name, "--json"])), *first.json());
    assert!(
        text(&ask(&project, &["show", "latest"]))
            .starts_with(&format!("run {}", list["runs"][0]["run"].as_str().unwrap()))
    );

    // An artifact: what made it, what from, what came of it.
    let embeddings = first.artifact("embeddings");
    let shown = text(&ask(&project, &["show", &embeddings[..12]]));
    contains(
        &shown,
        &[
            &format!("embeddings {embeddings}"),
            "embeddings-00000.arrow",
            "shape                      [128,16,16]",
            &format!("made by embed in run {name}"),
            "numeric  ",
            &format!("    dataset {}", &first.artifact("dataset")[..12]),
            "4 made from it: ",
            "\nby runs: ",
        ],
    );
    assert!(!shown.contains("pinned"), "{shown}");
    let object = json(&ask(&project, &["show", &embeddings[..12], "--json"]));
    assert_eq!(object["ancestry"].as_array().unwrap().len(), 4, "{object}");
    assert_eq!(object["made_by"][0]["stage"], "embed");
    let folder = project.artifact(&first, "embeddings");
    assert_eq!(text(&ask(&project, &["show", folder.to_str().unwrap()])), shown);
    text(&ask(&project, &["pin", &embeddings[..12], name, "--note", "the paper's"]));
    for pinned in [&embeddings[..12], name] {
        let shown = text(&ask(&project, &["show", pinned]));
        assert!(shown.contains("pinned since 20") && shown.contains(": the paper's\n"), "{shown}");
    }
    assert_eq!(json(&ask(&project, &["show", &embeddings[..12], "--json"]))["pin"]["note"], "the paper's");

    let unknown = ask(&project, &["show", "0123"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(stderr(&unknown).contains("there is no run or artifact 0123"), "{}", stderr(&unknown));
    assert!(stderr(&ask(&project, &["show", &name[..4]])).contains("can be any of 2 runs"));
}

#[test]
fn two_runs_differ_from_a_stage_on() {
    let project = Project::micro();
    let [a, b, c] =
        [&[][..], &["--set", "train.learning_rate=3e-3"], &["--set", "evaluate.overlays=1"]].map(|args| {
            let run = project.run(args);
            run.json()["run"].as_str().unwrap().to_owned()
        });
    let output = ask(&project, &["diff", &a, &b, "--samples"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let said = String::from_utf8(output.stdout).unwrap();
    contains(
        &said,
        &[
            "train.learning_rate        0.001 → 0.003",
            "artifacts differ from train on",
            " numbers, by at most ",
            "figures\n  tuned              Dice  ",
            "\nevaluate\ndice ",
            "6 targets: b is higher on ",
        ],
    );
    let found = json(&ask(&project, &["diff", &a, &b, "--samples", "iou", "--json"]));
    assert_eq!(found["settings"].as_array().unwrap().len(), 1, "{found}");
    assert_eq!((&found["from"], &found["equal"]), (&"train".into(), &false.into()));
    let pairs = found["artifacts"].as_array().unwrap();
    let checkpoint = pairs.iter().find(|pair| pair["kind"] == "checkpoint").unwrap();
    let [max, mean] = ["max_abs", "mean_abs"].map(|field| checkpoint["numbers"][field].as_f64().unwrap());
    assert!(max > mean && mean > 0.0, "{checkpoint}");
    let samples = &found["samples"][0];
    assert_eq!((&samples["metric"], samples["targets"].as_array().unwrap().len()), (&"iou".into(), 6));
    let counts = ["higher", "lower", "equal"].map(|count| samples[count].as_u64().unwrap());
    assert_eq!(counts.iter().sum::<u64>(), 6, "{samples}");
    assert_eq!((&samples["step"], &samples["lines"]), (&"evaluate".into(), &Value::Null));
    let mean = samples["mean_difference"].as_f64().unwrap();
    let moved = found["figures"].as_array().unwrap().iter().find(|moved| moved["metric"] == "IoU").unwrap();
    let difference = moved["b"].as_f64().unwrap() - moved["a"].as_f64().unwrap();
    assert!((mean - difference).abs() < 1e-12, "the mean of the samples is what moved");

    assert_eq!(json(&ask(&project, &["diff", &a, &c, "--json"]))["from"], "evaluate");
    let equal = ask(&project, &["diff", &a, &a]);
    assert!(text(&equal).contains("every artifact is equal"));
    let wrong = ask(&project, &["diff", &a, &b, "--samples", "dise"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("there is no metric dise; there are dice, iou"), "{}", stderr(&wrong));
}

#[test]
fn runs_stand_side_by_side_best_first() {
    let project = Project::micro();
    let none = project.output("compare", &[]);
    assert!(stderr(&none).contains("is in the store"), "{}", stderr(&none));
    let group = group(&project);
    let page = project.store().join("compare.html");
    let output = project.output("compare", &["--out", page.to_str().unwrap()]);
    let said = text(&output);
    contains(&said, &["micro: 2 runs", "less best", "train.loss  dice", "95 %", "as a page: "]);
    assert_eq!(said.lines().filter(|line| line.contains("  best  ")).count(), 1, "{said}");

    let found = json(&project.output("compare", &["--json"]));
    let rows = found["rows"].as_array().unwrap();
    assert_eq!((rows.len(), &found["varying"]), (2, &serde_json::json!(["train.loss"])));
    for row in rows {
        let runs = row["runs"].as_array().unwrap();
        let values: Vec<f64> = runs.iter().map(|run| run["value"].as_f64().unwrap()).collect();
        assert_eq!(values.len(), 3, "three seeds");
        assert!((values.iter().sum::<f64>() / 3.0 - row["mean"].as_f64().unwrap()).abs() < 1e-12);
    }
    assert!(rows[0]["mean"].as_f64() >= rows[1]["mean"].as_f64());
    let least = json(&project.output("compare", &["--json", "--metric", "hd95"]));
    assert!(least["rows"][0]["mean"].as_f64() <= least["rows"][1]["mean"].as_f64());
    // A group by its name, and one of its runs.
    assert_eq!(json(&ask(&project, &["compare", &group, "--json"])), found);
    let one = json(&ask(&project, &["compare", &format!("{group}-1"), "--json"]));
    assert_eq!(one["rows"].as_array().unwrap().len(), 1);

    let page = fs::read_to_string(page).unwrap();
    contains(
        &page,
        &[
            "micro: 2 runs",
            "<table class=\"sortable\">",
            "Content-Security-Policy",
            "Each seed, and the mean",
        ],
    );
    assert!(!page.contains("src=\"http") && !page.contains("href=\"http"));
    let unknown = ask(&project, &["compare", "1999"]);
    assert!(stderr(&unknown).contains("there is no run or group 1999"), "{}", stderr(&unknown));
}

#[test]
fn what_is_not_asked_for_is_averaged_over() {
    let project = Project::micro();
    let args = ["--json", "--set", "train.loss=dice,ce", "--set", "mask.targets=whole,components"];
    let group = json(&project.output("run", &[&args[..], &["--set", "train.seeds=[0,1]"]].concat()));
    assert_eq!(group["runs"].as_array().unwrap().len(), 4, "{group}");
    let listed = text(&ask(&project, &["runs"]));
    contains(
        &listed,
        &[" ± ", ", 2 seeds", "targets whole, loss dice", "ran ingest, embed, train, evaluate  "],
    );

    // All rows, on two truths.
    let all = json(&project.output("compare", &["--json"]));
    let rows = all["rows"].as_array().unwrap();
    assert_eq!((rows.len(), &all["varying"]), (4, &serde_json::json!(["mask.targets", "train.loss"])));
    let other_truth = rows.iter().filter(|row| row["verdict"] == "other_truth").count();
    assert_eq!(other_truth, 2, "rows of the other truth than the first: {rows:#?}");
    let effect = |setting: &str| {
        all["effects"].as_array().unwrap().iter().find(|effect| effect["setting"] == setting).unwrap().clone()
    };
    assert_eq!(effect("mask.targets")["truths_differ"], true);
    assert_eq!(effect("train.loss")["truths_differ"], false);

    // By the loss alone: each row is 4 runs, held against those that are equal in all else.
    let by_loss = json(&project.output("compare", &["--by", "loss", "--json"]));
    let rows = by_loss["rows"].as_array().unwrap();
    assert_eq!((rows.len(), rows[0]["runs"].as_array().unwrap().len()), (2, 4), "{by_loss:#}");
    assert_eq!(by_loss["varying"], serde_json::json!(["train.loss"]));
    assert_eq!(by_loss["averaged"], serde_json::json!(["mask.targets"]));
    let against = &effect("train.loss")["levels"][1]["against"];
    assert_eq!(against["pairs"], 4);
    let [of_row, of_effect] = [&rows[1], against].map(|found| found["difference"].as_f64().unwrap().abs());
    assert!(of_row > 0.0 && (of_row - of_effect).abs() < 1e-12, "the same pairs: {of_row} {of_effect}");
    let page = project.store().join("compare.html");
    let said = text(&project.output("compare", &["--by", "train.loss", "--out", page.to_str().unwrap()]));
    contains(&said, &["Rows are averages over mask.targets", "average over several truths"]);
    contains(&fs::read_to_string(page).unwrap(), &["A row is an average over mask.targets and seeds."]);

    let wrong = project.output("compare", &["--by", "train.jitter"]);
    assert_eq!(wrong.status.code(), Some(2));
    contains(
        &stderr(&wrong),
        &["--by train.jitter: the runs do not differ in it; they differ in mask.targets, train.loss"],
    );
}

#[test]
fn a_figure_that_came_out_otherwise_is_replaced_and_told() {
    let project = Project::micro();
    project.run(&[]);
    let record = |run: &str| project.store().join(".resect/runs").join(format!("{run}.json"));
    let run = json(&ask(&project, &["runs", "--json"]))["runs"][0]["run"].as_str().unwrap().to_owned();
    let before = json(&project.output("compare", &["--json"]));
    assert_eq!(before["rows"].as_array().unwrap().len(), 1);
    assert!(!before["notes"].to_string().contains("had again"), "{before:#}");

    // A later run with the same settings and seed, as other code would have left it.
    let mut other: Value = serde_json::from_slice(&fs::read(record(&run)).unwrap()).unwrap();
    let later = format!("29990101-000000-{}", &run[16..]);
    other["run"] = later.clone().into();
    let stages = other["stages"].as_array_mut().unwrap();
    stages.last_mut().unwrap()["metrics"]["methods"]["tuned"]["dice"] = 0.125.into();
    fs::write(record(&later), other.to_string()).unwrap();
    let after = json(&project.output("compare", &["--json"]));
    let row = &after["rows"][0];
    assert_eq!((&row["mean"], row["runs"].as_array().unwrap().len()), (&0.125.into(), 1), "{after:#}");
    assert_eq!(row["runs"][0]["run"], later);
    let note = &after["notes"].as_array().unwrap()[0];
    assert!(note.as_str().unwrap().starts_with("1 figure was had again with the same settings"), "{note}");
}
