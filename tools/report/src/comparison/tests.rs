use super::*;
use resect_report_job::{Against, COMPARISON_FORMAT, ComparedRun, Failed};

fn comparison() -> Comparison {
    let row = |settings: &str, values: [f64; 2], verdict, difference| Ranked {
        settings: vec![settings.into()],
        runs: (0..)
            .zip(values)
            .map(|(seed, value)| ComparedRun { run: format!("r{seed}"), seed: Some(seed), value })
            .collect(),
        mean: (values[0] + values[1]) / 2.0,
        deviation: Some(0.01),
        untuned: Some(0.1),
        baseline: Some(("ellipse".into(), 0.7)),
        difference,
        interval: difference.map(|d| [d - 0.02, d + 0.02]),
        verdict,
        truth: 1,
    };
    Comparison {
        format: COMPARISON_FORMAT.into(),
        title: "ablation <b>: 5 runs".into(),
        metric: "dice".into(),
        higher_is_better: true,
        varying: vec!["train.loss".into()],
        averaged: Vec::new(),
        rows: vec![
            row("dice-ce", [0.8, 0.82], Verdict::Best, None),
            row("<i>", [0.79, 0.82], Verdict::WithinSpread, Some(-0.005)),
        ],
        effects: vec![Effect {
            setting: "train.loss".into(),
            levels: vec![
                Level { value: "dice-ce".into(), runs: 2, mean: 0.81, against: None },
                Level {
                    value: "ce".into(),
                    runs: 2,
                    mean: 0.805,
                    against: Some(Against { pairs: 2, difference: -0.005, interval: Some([-0.1, 0.09]) }),
                },
            ],
            truths_differ: true,
        }],
        failed: vec![Failed { run: "r9".into(), label: "loss x".into(), reason: "train: <script>".into() }],
        notes: vec!["a note".into()],
    }
}

#[test]
fn the_page_says_all_and_escapes_what_came_from_data() {
    let page = render(&comparison()).unwrap();
    for part in [
        "ablation &lt;b&gt;: 5 runs",
        "0.8100",
        "within the spread",
        "&lt;i&gt;",
        "on another truth",
        "train: &lt;script&gt;",
        "a note",
        "−0.1000 to +0.0900",
        "ellipse, same targets",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("<i>") && !page.contains("http://") && !page.contains("https://"));
    assert_eq!(page, render(&comparison()).unwrap());
}

#[test]
fn an_average_is_called_one_and_its_truths_are_told() {
    let mut comparison = comparison();
    comparison.averaged = vec!["mask.threshold".into()];
    comparison.rows[1].truth = 2;
    comparison.rows[1].verdict = Verdict::NoSpread;
    let page = render(&comparison).unwrap();
    for part in
        ["A row is an average over mask.threshold and seeds.", ">runs</th>", ">truth</th>", "no two pairs"]
    {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("one seed") && !page.contains(">seeds</th>"));
}

#[test]
fn settings_keep_their_section_where_it_tells_them_apart() {
    let mut comparison = comparison();
    comparison.varying = ["train.loss", "train.seed", "split.seed"].map(str::to_owned).into();
    let shown = comparison.varying.iter().map(|setting| short(&comparison, setting));
    assert_eq!(shown.collect::<Vec<_>>(), ["loss", "train.seed", "split.seed"]);
}
