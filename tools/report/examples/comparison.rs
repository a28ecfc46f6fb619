//! Writes the page of runs that never were to the path given: for the browser's test, and for working on the page.

use resect_report_job::{
    Against, COMPARISON_FORMAT, ComparedRun, Comparison, ComparisonJob, Effect, Failed, Level, Ranked,
    Verdict,
};
use std::path::PathBuf;

const LOSSES: [&str; 3] = ["dice-ce", "dice", "ce"];
const JITTERS: [&str; 2] = ["0", "20"];
const THRESHOLDS: [&str; 2] = ["128", "1"];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [out] = arguments.as_slice() else { panic!("comparison OUT") };
    let job = ComparisonJob { out: PathBuf::from(out), comparison: comparison() };
    let written = resect_report::write_comparison(&job).expect("a page");
    println!("{out}: {} bytes", written.bytes);
}

fn comparison() -> Comparison {
    let mut rows = Vec::new();
    for (i, loss) in LOSSES.into_iter().enumerate() {
        for (j, jitter) in JITTERS.into_iter().enumerate() {
            for (k, threshold) in THRESHOLDS.into_iter().enumerate() {
                let settings = [threshold, jitter, loss].map(str::to_owned).into();
                rows.push(row(settings, 0.82 - 0.02 * i as f64 - 0.006 * j as f64 + 0.001 * k as f64, k + 1));
            }
        }
    }
    rows.sort_by(|a: &Ranked, b| b.mean.total_cmp(&a.mean));
    let (first, others) = rows.split_first_mut().expect("rows");
    for row in others {
        let difference = row.mean - first.mean;
        row.difference = Some(difference);
        row.interval = Some([difference - 0.012, difference + 0.012]);
        row.verdict = match difference {
            _ if row.truth != first.truth => Verdict::OtherTruth,
            d if d > -0.012 => Verdict::WithinSpread,
            _ => Verdict::Behind,
        };
    }
    first.verdict = Verdict::Best;
    Comparison {
        format: COMPARISON_FORMAT.into(),
        title: "ablation: 37 runs".into(),
        metric: "dice".into(),
        higher_is_better: true,
        varying: ["mask.threshold", "train.jitter", "train.loss"].map(str::to_owned).into(),
        averaged: Vec::new(),
        rows,
        effects: vec![
            effect("mask.threshold", &THRESHOLDS, 0.001, true),
            effect("train.jitter", &JITTERS, -0.006, false),
            effect("train.loss", &LOSSES, -0.02, false),
        ],
        failed: vec![Failed {
            run: "20260101-120000-00001-37".into(),
            label: "threshold 1, jitter 20, loss focal".into(),
            reason: "train: loss is no number in epoch 2".into(),
        }],
        notes: vec!["These rows are scored on 2 different truths.".into()],
    }
}

fn row(settings: Vec<String>, mean: f64, truth: usize) -> Ranked {
    let run = |(seed, value): (u64, f64)| ComparedRun {
        run: format!("20260101-120000-00001-{truth}{seed}"),
        seed: Some(seed),
        value,
    };
    Ranked {
        settings,
        runs: (0..).zip([mean - 0.004, mean, mean + 0.004]).map(run).collect(),
        mean,
        deviation: Some(0.004),
        untuned: Some(0.196),
        baseline: Some(("ellipse".into(), 0.78)),
        difference: None,
        interval: None,
        verdict: Verdict::Best,
        truth,
    }
}

fn effect(setting: &str, values: &[&str], step: f64, truths_differ: bool) -> Effect {
    let level = |(i, value): (usize, &&str)| {
        let difference = step * i as f64;
        let against =
            Against { pairs: 18, difference, interval: Some([difference - 0.003, difference + 0.003]) };
        Level {
            value: (*value).into(),
            runs: 18,
            mean: 0.8 + difference,
            against: (i > 0).then_some(against),
        }
    };
    Effect { setting: setting.into(), levels: values.iter().enumerate().map(level).collect(), truths_differ }
}
