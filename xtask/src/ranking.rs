//! Runs ranked, and what their differences say beside the spread of seeds.
//!
//! Two rows differ by more than seeds do where Welch's 95 % interval of the difference of their means (Welch, 1947; `scipy.stats.ttest_ind`
//! with `equal_var=False`) leaves out 0. What a setting does on its own is the mean difference of runs that are equal in all else, the
//! seed included, with Student's interval over those pairs (`scipy.stats.ttest_rel`).

use resect_report_job::{Against, ComparedRun, Effect, Level, Ranked, Verdict};
use statrs::distribution::{ContinuousCDF, StudentsT};
use std::collections::BTreeMap;

/// A run's figure, with what it depends on.
#[derive(Clone, Debug)]
pub struct Scored {
    pub run: String,
    pub seed: Option<u64>,
    /// Its value of each varying setting, as a person writes it.
    pub settings: Vec<String>,
    /// Which truth it was scored on.
    pub truth: usize,
    pub value: f64,
    pub untuned: Option<f64>,
    pub baseline: Option<(String, f64)>,
}

/// Rows of equal settings, best first.
pub fn rank(scored: &[Scored], higher_is_better: bool) -> Vec<Ranked> {
    let mut rows: Vec<Ranked> = Vec::new();
    for one in scored {
        let run = ComparedRun { run: one.run.clone(), seed: one.seed, value: one.value };
        match rows.iter_mut().find(|row| row.settings == one.settings && row.truth == one.truth) {
            // The same seed again is the same run.
            Some(row) if row.runs.iter().any(|known| known.seed == one.seed) => {}
            Some(row) => row.runs.push(run),
            None => rows.push(Ranked {
                settings: one.settings.clone(),
                runs: vec![run],
                mean: 0.0,
                deviation: None,
                untuned: one.untuned,
                baseline: one.baseline.clone(),
                difference: None,
                interval: None,
                verdict: Verdict::Best,
                truth: one.truth,
            }),
        }
    }
    for row in &mut rows {
        row.runs.sort_by_key(|run| run.seed);
        let values = values(row);
        row.mean = mean(&values);
        row.deviation = variance(&values).map(f64::sqrt);
    }
    let order = |a: &Ranked, b: &Ranked| {
        let order = b.mean.total_cmp(&a.mean);
        if higher_is_better { order } else { order.reverse() }
    };
    rows.sort_by(order);
    if let Some((best, others)) = rows.split_first_mut() {
        for row in others {
            row.difference = Some(row.mean - best.mean);
            row.interval = welch(&values(best), &values(row));
            row.verdict = match row.interval {
                _ if row.truth != best.truth => Verdict::OtherTruth,
                None => Verdict::NoSpread,
                Some([low, high]) if low <= 0.0 && 0.0 <= high => Verdict::WithinSpread,
                Some(_) => Verdict::Behind,
            };
        }
    }
    rows
}

fn values(row: &Ranked) -> Vec<f64> {
    row.runs.iter().map(|run| run.value).collect()
}

/// What each varying setting does on its own, in the order of `names`. A setting of which no two runs are equal in all else has
/// nothing to be told.
pub fn effects(scored: &[Scored], names: &[String]) -> Vec<Effect> {
    let of = |i: usize, name: &String| {
        let mut levels: Vec<&String> = Vec::new();
        for one in scored {
            if !levels.contains(&&one.settings[i]) {
                levels.push(&one.settings[i]);
            }
        }
        let first = (*levels.first()?).clone();
        // All else, the seed included, to the figure.
        let rest = |one: &Scored| {
            let others = one.settings.iter().enumerate().filter(|(j, _)| *j != i);
            (others.map(|(_, value)| value.clone()).collect::<Vec<_>>(), one.seed)
        };
        let with = |level: &String| -> BTreeMap<_, f64> {
            let these = scored.iter().filter(|one| one.settings[i] == *level);
            these.map(|one| (rest(one), one.value)).collect()
        };
        let reference = with(&first);
        let level = |level: &&String| {
            let these = with(level);
            let pairs: Vec<f64> =
                these.iter().filter_map(|(rest, value)| Some(value - reference.get(rest)?)).collect();
            let against = (**level != first && !pairs.is_empty()).then(|| Against {
                pairs: pairs.len(),
                difference: mean(&pairs),
                interval: paired(&pairs),
            });
            let all: Vec<f64> = these.into_values().collect();
            Level { value: (*level).clone(), runs: all.len(), mean: mean(&all), against }
        };
        let levels: Vec<Level> = levels.iter().map(level).collect();
        let truth =
            |level: &Level| scored.iter().find(|one| one.settings[i] == level.value).map(|one| one.truth);
        let truths_differ = levels.iter().any(|level| truth(level) != truth(&levels[0]));
        let comparable = levels.iter().any(|level| level.against.is_some());
        comparable.then(|| Effect { setting: name.clone(), levels, truths_differ })
    };
    names.iter().enumerate().filter_map(|(i, name)| of(i, name)).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// That of a sample; none of fewer than two values.
fn variance(values: &[f64]) -> Option<f64> {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (values.len() > 1).then(|| squares / (values.len() - 1) as f64)
}

/// Half the width of the 95 % interval of a mean with this standard error; none where there is no spread to tell by.
fn half_width(error: f64, freedom: f64) -> Option<f64> {
    let t = StudentsT::new(0.0, 1.0, freedom).ok()?;
    Some(t.inverse_cdf(0.975) * error)
}

/// 95 % interval of the mean of `b` less that of `a`.
fn welch(a: &[f64], b: &[f64]) -> Option<[f64; 2]> {
    let [va, vb] = [variance(a)? / a.len() as f64, variance(b)? / b.len() as f64];
    let difference = mean(b) - mean(a);
    if va + vb == 0.0 {
        return Some([difference; 2]);
    }
    let freedom = (va + vb).powi(2) / (va * va / (a.len() - 1) as f64 + vb * vb / (b.len() - 1) as f64);
    let half = half_width((va + vb).sqrt(), freedom)?;
    Some([difference - half, difference + half])
}

/// 95 % interval of the mean of paired differences.
fn paired(differences: &[f64]) -> Option<[f64; 2]> {
    let variance = variance(differences)?;
    let mean = mean(differences);
    if variance == 0.0 {
        return Some([mean; 2]);
    }
    let half = half_width((variance / differences.len() as f64).sqrt(), (differences.len() - 1) as f64)?;
    Some([mean - half, mean + half])
}

#[cfg(test)]
mod tests {
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
            scored(&["ce"], 1, 0.82),
            scored(&["both"], 0, 0.805),
            scored(&["both"], 1, 0.815),
            scored(&["one"], 0, 0.75),
        ];
        let rows = rank(&all, true);
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
        let lowest = rank(&all, false);
        assert_eq!(lowest[0].settings, ["dice"], "of distances, the least");

        let mut other = scored(&["other"], 0, 0.9);
        other.truth = 2;
        let rows = rank(&[all[0].clone(), all[1].clone(), other], true);
        assert_eq!(rows[1].verdict, Verdict::OtherTruth);
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
}
