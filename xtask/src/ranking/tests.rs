use super::*;

fn scored(settings: &[&str], seed: u64, value: f64) -> Scored {
    let settings = settings.iter().map(|text| (*text).to_owned()).collect();
    let run = format!("run-{seed}-{value}");
    Scored { run, seed: Some(seed), settings, truth: 1, value, untuned: None, baseline: None }
}

fn close(found: Option<[f64; 2]>, expected: [f64; 2]) {
    let found = found.unwrap();
    assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9), "{found:?} {expected:?}");
}

#[test]
fn intervals_are_scipys() {
    // scipy.stats.ttest_ind(b, a, equal_var=False).confidence_interval(0.95)
    let (a, b) = ([0.81, 0.82, 0.805], [0.79, 0.80, 0.815]);
    close(welch(&a, &b), WELCH);
    // scipy.stats.ttest_rel(b, a).confidence_interval(0.95)
    let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| b - a).collect();
    close(paired(&differences), PAIRED);
    assert_eq!(welch(&[0.8], &b), None);
    assert_eq!(paired(&[0.1]), None);
    assert_eq!(welch(&[0.5, 0.5], &[0.25, 0.25]), Some([-0.25, -0.25]));
}

const WELCH: [f64; 2] = [-0.03571602375192075, 0.015716023751920948];
const PAIRED: [f64; 2] = [-0.05302652729749443, 0.03302652729749441];

#[test]
fn rows_are_runs_that_differ_in_the_seed_alone_best_first() {
    let all = [
        scored(&["dice"], 0, 0.70),
        scored(&["dice"], 1, 0.71),
        scored(&["ce"], 0, 0.80),
        scored(&["ce"], 1, 0.82),
        scored(&["both"], 0, 0.805),
        scored(&["both"], 1, 0.815),
        scored(&["one"], 0, 0.75),
    ];
    let rows = rank(&all, &[0], true);
    let order: Vec<_> =
        rows.iter().map(|row| (row.settings[0].as_str(), row.runs.len(), row.verdict)).collect();
    let expected = [
        ("ce", 2, Verdict::Best),
        ("both", 2, Verdict::WithinSpread),
        ("one", 1, Verdict::NoSpread),
        ("dice", 2, Verdict::Behind),
    ];
    assert_eq!(order, expected);
    assert!((rows[3].difference.unwrap() + 0.105).abs() < 1e-12);
    let lowest = rank(&all, &[0], false);
    assert_eq!(lowest[0].settings, ["dice"], "of distances, the least");

    let mut other = scored(&["other"], 0, 0.9);
    other.truth = 2;
    let rows = rank(&[all[0].clone(), all[1].clone(), other], &[0], true);
    assert_eq!(rows[1].verdict, Verdict::OtherTruth);
}

#[test]
fn of_runs_that_were_repeated_the_latest_counts() {
    let (old, new) = (scored(&["a"], 0, 0.5), scored(&["a"], 0, 0.6));
    let other_seed = scored(&["a"], 1, 0.7);
    let mut other_truth = scored(&["a"], 0, 0.8);
    other_truth.truth = 2;
    let all = vec![old.clone(), other_seed, new, other_truth, old.clone(), scored(&["b"], 0, 0.1)];
    let (kept, outdated) = latest(all);
    assert_eq!(kept.iter().map(|one| one.value).collect::<Vec<_>>(), [0.5, 0.7, 0.8, 0.1]);
    assert_eq!(outdated, 2, "0.5, then 0.6, then 0.5 again");
    assert_eq!(latest(vec![old.clone(), old]).1, 0, "the same figure again is no news");
}

#[test]
fn averages_are_judged_by_runs_that_are_equal_in_all_else() {
    // Far apart by the second setting, close and steady by the first.
    let mut all = Vec::new();
    for (seed, noise) in [(0, 0.0), (1, 0.002)] {
        for (rest, base) in [("x", 0.3), ("y", 0.9)] {
            all.push(scored(&["a", rest], seed, base + noise));
            all.push(scored(&["b", rest], seed, base + 0.01 + 2.0 * noise));
        }
    }
    let rows = rank(&all, &[0], true);
    let [best, other] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!((best.settings[0].as_str(), best.runs.len(), other.runs.len()), ("b", 4, 4));
    assert!(other.deviation.unwrap() > 0.3, "over all else, not over seeds");
    // scipy.stats.ttest_rel: differences -0.01, -0.01, -0.012, -0.012
    assert!((other.difference.unwrap() + 0.011).abs() < 1e-12);
    close(other.interval, [-0.011 - AVERAGED, -0.011 + AVERAGED]);
    assert_eq!(other.verdict, Verdict::Behind);

    // What decides the truth cannot be averaged away: pairs are of one truth.
    for one in all.iter_mut().filter(|one| one.settings[1] == "y") {
        one.truth = 2;
    }
    let rows = rank(&all, &[0], true);
    assert_eq!((rows[1].truth, rows[1].verdict), (0, Verdict::Behind));
    let by_truth = rank(&all, &[1], true);
    assert_eq!(by_truth[1].verdict, Verdict::OtherTruth);
    assert!((by_truth[1].difference.unwrap() + 0.6).abs() < 1e-12);

    // A row without a counterpart.
    let alone = [all[0].clone(), scored(&["c", "z"], 7, 0.1)];
    assert_eq!(rank(&alone, &[0], true)[1].verdict, Verdict::NoSpread);
}

const AVERAGED: f64 = 0.0018373862310370782;

#[test]
fn truths_are_held_against_each_other_pair_by_pair() {
    let mut all = vec![scored(&["a", "x"], 0, 0.5), scored(&["b", "x"], 0, 0.6), scored(&["b", "y"], 0, 0.7)];
    let names = ["one", "two"].map(str::to_owned);
    assert!(effects(&all, &names).iter().all(|effect| !effect.truths_differ));
    all[2].truth = 2;
    let differ: Vec<bool> = effects(&all, &names).iter().map(|effect| effect.truths_differ).collect();
    assert_eq!(differ, [false, true], "of the first setting, the pair is of one truth");
}

#[test]
fn a_setting_is_judged_by_runs_that_are_equal_in_all_else() {
    let all = [
        scored(&["a", "x"], 0, 0.5),
        scored(&["a", "y"], 0, 0.7),
        scored(&["b", "x"], 0, 0.6),
        scored(&["b", "y"], 0, 0.9),
        scored(&["b", "y"], 1, 0.1),
    ];
    let names = ["one", "two"].map(str::to_owned);
    let found = effects(&all, &names);
    let [one, two] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(
        (one.setting.as_str(), one.levels[0].value.as_str(), one.levels[0].against),
        ("one", "a", None)
    );
    let against = one.levels[1].against.unwrap();
    assert_eq!(against.pairs, 2, "the run with seed 1 has no counterpart");
    assert!((against.difference - 0.15).abs() < 1e-12);
    assert!((two.levels[1].against.unwrap().difference - 0.25).abs() < 1e-12);
    assert!(effects(&all[..1], &names).is_empty());
}
