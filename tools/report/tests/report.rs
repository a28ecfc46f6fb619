//! What stands in a report, what it must not hold, and what is refused.

mod specimen;

use resect_report_job::Job;
use serde_json::Value;
use specimen::{Recipe, make};
use std::fs;
use std::path::Path;

/// Makes a specimen, changes its job, and renders it.
fn page_with(recipe: &Recipe, change: impl FnOnce(&mut Job)) -> String {
    let dir = tempfile::tempdir().unwrap();
    let mut job = make(dir.path(), recipe);
    change(&mut job);
    let written = resect_report::write(&job).unwrap();
    let page = fs::read_to_string(&job.out).unwrap();
    assert_eq!(page.len() as u64, written.bytes);
    page
}

fn page(recipe: &Recipe) -> String {
    page_with(recipe, |_| {})
}

/// The error of a specimen of which something was changed.
fn refused(change: impl FnOnce(&mut Job)) -> String {
    let dir = tempfile::tempdir().unwrap();
    let mut job = make(dir.path(), &Recipe::default());
    change(&mut job);
    let error = resect_report::write(&job).unwrap_err();
    assert!(!job.out.exists());
    error.to_string()
}

/// The gallery's data.
fn cases(page: &str) -> Vec<Value> {
    let (_, rest) = page.split_once(r#"<script id="cases" type="application/json">"#).unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

#[test]
fn everything_that_was_asked_for_is_there() {
    let page = page(&Recipe { seeds: 3, ..Recipe::default() });
    for part in [
        "SAM ViT-B tuned on polyps",
        "facebook/sam-vit-base",
        "6 images to train on, 2 images to choose the epoch by, 12 images with 12 targets reported here",
        "epoch 13 was kept, the best on 2 images for validation (Dice 0.871 on the low-res grid), none of which is reported",
        "Training curve: loss",
        "3 seeds",
        "standard deviation",
        "By size: Dice",
        "Box noise, in pixels: Dice",
        "multimask, oracle",
        "Reliability: true IoU over predicted IoU",
        "cargo xtask run --pipeline pipelines/kvasir-sam-vit-b.toml --set train.epochs=16",
        &"e".repeat(40),
        &"c".repeat(64),
        "speck_pixels",
        "the mask is empty",
        "untuned: no clear outline",
        "tuned: nothing found",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert_eq!(page.matches("<li class=\"card\"").count(), 12);
    assert_eq!(page.matches("data:image/jpeg;base64,").count(), 12);
    let dice: Vec<f64> = cases(&page).iter().map(|case| case["dice"].as_f64().unwrap()).collect();
    assert!(dice.is_sorted() && dice.len() == 12 && dice[0] == 0.0, "{dice:?}");
    assert!(!page.contains("class=\"warning\""), "nothing speaks against this one");
}

#[test]
fn equal_inputs_give_equal_bytes_and_nothing_is_left_beside_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let job = make(dir.path(), &Recipe::default());
    let read = || {
        resect_report::write(&job).unwrap();
        fs::read(&job.out).unwrap()
    };
    assert!(read() == read());
    let hidden = fs::read_dir(dir.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'));
    assert_eq!(hidden.count(), 0);
}

#[test]
fn nothing_is_asked_of_anybody() {
    let page = page(&Recipe::default());
    assert!(page.contains("default-src 'none'; img-src data:;"));
    for attribute in ["src=\"", "href=\"", "url(", "action=\"", "srcset=\"", "@import "] {
        for (at, _) in page.match_indices(attribute) {
            let value = &page[at + attribute.len()..];
            let fine = value.starts_with("data:image/jpeg;base64,") || value.starts_with('#');
            assert!(fine, "{attribute}{}", &value[..40]);
        }
    }
    for word in ["http://", "https://", "//cdn", "fetch(", "XMLHttpRequest", "<iframe", "<link"] {
        assert!(!page.contains(word), "{word}");
    }
}

#[test]
fn words_of_the_data_stay_words() {
    let evil = r#"</script><script>alert(1)</script>"'><img src=x onerror=alert(2)>../&amp;"#;
    let evil = &format!("{evil}\u{2028}\u{2029}=cmd");
    let page = page_with(&Recipe { id: evil.clone(), ..Recipe::default() }, |job| {
        job.title = evil.clone();
        job.base.name = evil.clone();
        job.dataset.details.push((evil.clone(), evil.clone()));
        job.settings[0].values.push((evil.clone(), evil.clone()));
        job.stages[0].provenance.push((evil.clone(), evil.clone()));
        job.reproduce.command = evil.clone();
    });
    assert!(!page.contains("<script>alert") && !page.contains("<img src=x"), "it became a part of the page");
    // The script, the gallery's data, and nothing else.
    assert_eq!((page.matches("<script").count(), page.matches("</script").count()), (2, 2));
    assert!(cases(&page)[0]["id"].as_str().unwrap().starts_with(evil));
    // Neither does a quotation mark end an attribute.
    assert!(!page.contains("alt=\"Image of </script><script>alert(1)</script>\"'"));
}

#[test]
fn what_speaks_against_the_figures_is_said_first() {
    let warnings = |recipe: &Recipe| {
        let page = page(recipe);
        let (first, _) = page.split_once("<dl class=\"headline\">").unwrap();
        first.split("class=\"warning\"").skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    let failed = warnings(&Recipe { fails: true, ..Recipe::default() });
    assert!(
        failed[0].contains("Tuned is no better than ellipse in the box, which needs no model"),
        "{failed:?}"
    );
    assert!(failed[1].contains("Tuning did not help"), "{failed:?}");
    assert!(failed[2].contains("random weights"), "{failed:?}");
    let leaked = warnings(&Recipe { leak: true, ..Recipe::default() });
    assert!(
        leaked[0].contains("The epoch was selected on what is reported: 1 image of the test part lies in"),
        "{leaked:?}"
    );
    let one_group = warnings(&Recipe { groups: 1, ..Recipe::default() });
    assert!(one_group[0].contains("there are no intervals"), "{one_group:?}");
}

#[test]
fn what_was_switched_off_is_left_out_in_words() {
    let page = page(&Recipe { sweep: false, validation: 0, ..Recipe::default() });
    assert!(page.contains("was switched off") && !page.contains("Box noise"));
    assert!(page.contains("epoch 16 was kept, the last one: no validation part, no choice."));
    assert!(!page.contains("validation Dice, low-res grid") && !page.contains("to choose the epoch by"));
    let single = page_with(&Recipe { test: 1, ..Recipe::default() }, |job| {
        job.run = None;
        job.reproduce.commit = None;
        job.stages.clear();
    });
    assert!(single.contains("1 image with 1 target reported here") && single.contains("was not recorded"));
    let words = single
        .split("data:image/jpeg;base64,")
        .map(|part| part.split_once('"').map_or(part, |(_, rest)| rest));
    let words: String = words.collect();
    for odd in ["NaN", "inf", "-inf"] {
        assert!(!words.contains(&format!(">{odd}")) && !words.contains(&format!("\"{odd}\"")), "{odd}");
    }
}

#[test]
fn methods_that_were_not_scored_are_left_out() {
    let page = page_with(&Recipe::default(), |job| {
        edit(&job.folders.evaluation.join("metrics.json"), |metrics| {
            metrics["methods"]
                .as_array_mut()
                .unwrap()
                .retain(|row| row["method"] == "tuned" || row["method"] == "untuned");
        });
    });
    assert!(!page.contains("Against the best baseline") && page.contains("Against untuned"));
}

#[test]
fn a_hundred_and_twenty_targets_stay_below_twenty_megabytes() {
    // Noise is what JPEG does worst.
    let page = page(&Recipe { test: 120, width: 640, noise: true, ..Recipe::default() });
    assert_eq!(cases(&page).len(), 120);
    assert!(page.len() < 20_000_000, "{}", page.len());
}

#[test]
fn of_many_targets_the_worst_are_shown() {
    let test = resect_report::MOST_CASES + 5;
    let page = page(&Recipe { test, width: 48, ..Recipe::default() });
    assert_eq!(cases(&page).len(), resect_report::MOST_CASES);
    assert!(page.contains(&format!("The 400 worst of {test} are shown.")));
    assert!(page.len() < 20_000_000, "{}", page.len());
}

#[test]
fn what_is_missing_or_of_another_run_is_one_clear_error() {
    let remove = |path: std::path::PathBuf| fs::remove_file(path).unwrap();
    for (file, pick) in [
        ("metrics.json", (|job| &job.folders.evaluation) as fn(&Job) -> &std::path::PathBuf),
        ("samples.parquet", |job| &job.folders.evaluation),
        ("masks.parquet", |job| &job.folders.evaluation),
        ("epochs.parquet", |job| &job.folders.checkpoint),
        ("checkpoint.json", |job| &job.folders.checkpoint),
        ("targets.parquet", |job| &job.folders.targets),
        ("audit.json", |job| &job.folders.targets),
        ("images.json", |job| &job.folders.images),
    ] {
        let said = refused(|job| remove(pick(job).join(file)));
        assert!(said.starts_with("cannot read ") && said.ends_with(file), "{said}");
    }
    let old = refused(|job| {
        edit(&job.folders.evaluation.join("metrics.json"), |metrics| {
            metrics["format"] = "resect-evaluation/1.0".into()
        });
    });
    assert!(old.ends_with("`cargo xtask run --force evaluate` writes it anew"), "{old}");
    let renamed = refused(|job| {
        edit(&job.folders.targets.join("audit.json"), |audit| {
            let unused = audit.as_object_mut().unwrap().remove("unused").unwrap();
            audit["not_used"] = unused;
        });
    });
    assert!(renamed.contains("missing field `unused`"), "{renamed}");
    let poor = refused(|job| {
        edit(&job.folders.evaluation.join("metrics.json"), |metrics| {
            metrics["methods"].as_array_mut().unwrap().retain(|row| row["method"] != "tuned");
        });
    });
    assert!(poor.contains("it has no figures of tuned"), "{poor}");
    let other = tempfile::tempdir().unwrap();
    let strange = make(other.path(), &Recipe { id: "other".into(), ..Recipe::default() });
    let said = refused(|job| job.folders.targets = strange.folders.targets.clone());
    assert!(said.contains("it has no figures of target other-008; expected artifacts of one run"), "{said}");
    let said = refused(|job| job.format = "resect-report-job/9.0".into());
    assert!(said.contains("build runner and programs anew"), "{said}");
}

/// Changes a JSON file.
fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

#[test]
fn words_of_runs_stay_words() {
    let evil = "</title></script><script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;\u{2028}=1+1";
    let comparison = serde_json::json!({
        "format": resect_report_job::COMPARISON_FORMAT,
        "title": evil,
        "metric": evil,
        "higher_is_better": true,
        "varying": [evil],
        "averaged": [evil],
        "rows": [ranked(evil, 0.8, "best"), ranked(evil, 0.7, "behind")],
        "effects": [{
            "setting": evil,
            "levels": [
                { "value": evil, "runs": 1, "mean": 0.8, "against": null },
                { "value": evil, "runs": 1, "mean": 0.7,
                  "against": { "pairs": 2, "difference": -0.1, "interval": [-0.2, 0.0] } },
            ],
            "truths_differ": false,
        }],
        "failed": [{ "run": evil, "label": evil, "reason": evil }],
        "notes": [evil],
    });
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("page.html");
    let comparison = serde_json::from_value(comparison).unwrap();
    let job = resect_report_job::ComparisonJob { out: out.clone(), comparison };
    resect_report::write_comparison(&job).unwrap();
    let page = fs::read_to_string(out).unwrap();
    assert!(page.matches("alert(1)").count() > 10, "it is shown where it belongs");
    assert!(!page.contains("<script>alert") && !page.contains("<img src=x"), "it became a part of the page");
    // The page's own script, style and title.
    for element in ["script", "title>", "style"] {
        let own = page.matches(&format!("<{element}")).count();
        let spots = if element == "title>" { page.matches("<circle class=\"spot\"").count() } else { 0 };
        assert_eq!((own - spots, page.matches(&format!("</{element}")).count() - spots), (1, 1), "{element}");
    }
    // No quotation mark of it ends an attribute.
    assert!(!page.contains("</script>\"'"), "{page}");
}

/// A row of a comparison.
fn ranked(word: &str, mean: f64, verdict: &str) -> Value {
    serde_json::json!({
        "settings": [word],
        "runs": [{ "run": word, "seed": 0, "value": mean }],
        "mean": mean,
        "deviation": null,
        "untuned": null,
        "baseline": [word, 0.6],
        "difference": null,
        "interval": null,
        "verdict": verdict,
        "truth": 1,
    })
}
