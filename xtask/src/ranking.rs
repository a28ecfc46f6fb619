//! Runs ranked, and what their differences say beside the spread of seeds.
//!
//! Two rows differ by more than seeds do where Welch's 95 % interval of the difference of their means (Welch, 1947; `scipy.stats.ttest_ind`
//! with `equal_var=False`) leaves out 0. What a setting does on its own is the mean difference of runs that are equal in all else, the
//! seed included, with Student's interval over those pairs (`scipy.stats.ttest_rel`). Rows that are averages over settings are held against
//! the first by such pairs, too, because their runs differ by far more than seeds do.

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

/// Each figure once for settings, truth and seed, and how many of those that were had more than once differed: the latest counts.
///
/// Equal settings and seeds give equal figures as long as code, data, base and processor are the same. Where they are not, an earlier
/// figure is one of something else.
pub fn latest(scored: Vec<Scored>) -> (Vec<Scored>, usize) {
    let mut kept: Vec<Scored> = Vec::new();
    let mut outdated = 0;
    for one in scored {
        let known = kept
            .iter_mut()
            .find(|known| (&known.settings, known.truth, known.seed) == (&one.settings, one.truth, one.seed));
        match known {
            Some(known) => {
                outdated += usize::from(known.value != one.value);
                *known = one;
            }
            None => kept.push(one),
        }
    }
    (kept, outdated)
}

/// Rows of equal settings, best first. Rows are told apart by these `columns` of the settings: by all, or by a few, and then a row is
/// an average over all else.
pub fn rank(scored: &[Scored], columns: &[usize], higher_is_better: bool) -> Vec<Ranked> {
    let averaged = scored.first().is_some_and(|one| columns.len() < one.settings.len());
    let mut groups: Vec<(Vec<String>, Vec<&Scored>)> = Vec::new();
    for one in scored {
        let settings: Vec<String> = columns.iter().map(|i| one.settings[*i].clone()).collect();
        // An average may hold several truths; what is not averaged over has one.
        let together = |members: &[&Scored]| averaged || members.iter().all(|known| known.truth == one.truth);
        match groups.iter_mut().find(|(known, members)| *known == settings && together(members)) {
            Some((_, members)) => members.push(one),
            None => groups.push((settings, vec![one])),
        }
    }
    let mut rows: Vec<(Ranked, Vec<&Scored>)> =
        groups.into_iter().map(|(settings, members)| (row(settings, &members), members)).collect();
    let order = |a: &Ranked, b: &Ranked| {
        let order = b.mean.total_cmp(&a.mean);
        if higher_is_better { order } else { order.reverse() }
    };
    rows.sort_by(|(a, _), (b, _)| order(a, b));
    if let Some(((best, of_best), others)) = rows.split_first_mut() {
        for (row, members) in others {
            if averaged {
                judge_pairs(row, best, &pairs(of_best, members, columns))
            } else {
                judge(row, best)
            }
        }
    }
    rows.into_iter().map(|(row, _)| row).collect()
}

/// A row that is not yet held against another.
fn row(settings: Vec<String>, members: &[&Scored]) -> Ranked {
    let run = |one: &&Scored| ComparedRun { run: one.run.clone(), seed: one.seed, value: one.value };
    let mut runs: Vec<ComparedRun> = members.iter().map(run).collect();
    runs.sort_by_key(|run| run.seed);
    let values: Vec<f64> = runs.iter().map(|run| run.value).collect();
    let truth = members.first().map_or(0, |first| first.truth);
    let same_truth = members.iter().all(|one| one.truth == truth);
    let untuned: Option<Vec<f64>> = members.iter().map(|one| one.untuned).collect();
    Ranked {
        settings,
        runs,
        mean: mean(&values),
        deviation: deviation(&values),
        untuned: untuned.map(|untuned| mean(&untuned)),
        baseline: members.first().filter(|_| same_truth).and_then(|first| first.baseline.clone()),
        difference: None,
        interval: None,
        verdict: Verdict::Best,
        truth: if same_truth { truth } else { 0 },
    }
}

/// Says of a row what its seeds tell against the first.
fn judge(row: &mut Ranked, best: &Ranked) {
    row.difference = Some(row.mean - best.mean);
    row.interval = welch(&values(best), &values(row));
    row.verdict = if row.truth == best.truth { by_interval(row.interval) } else { Verdict::OtherTruth };
}

/// The same of rows that are averages: by the differences of runs that are equal in all else.
fn judge_pairs(row: &mut Ranked, best: &Ranked, differences: &[f64]) {
    if differences.is_empty() {
        row.difference = Some(row.mean - best.mean);
        let one_truth = row.truth == best.truth && row.truth != 0;
        row.verdict = if one_truth { Verdict::NoSpread } else { Verdict::OtherTruth };
        return;
    }
    row.difference = Some(mean(differences));
    row.interval = paired(differences);
    row.verdict = by_interval(row.interval);
}

fn by_interval(interval: Option<[f64; 2]>) -> Verdict {
    match interval {
        None => Verdict::NoSpread,
        Some([low, high]) if low <= 0.0 && 0.0 <= high => Verdict::WithinSpread,
        Some(_) => Verdict::Behind,
    }
}

/// Differences, `b` less `a`, of runs that are equal in truth, seed and all settings but these columns.
fn pairs(a: &[&Scored], b: &[&Scored], columns: &[usize]) -> Vec<f64> {
    let equal = |x: &Scored, y: &Scored| {
        let rest = |one: &Scored| -> Vec<String> {
            let others = one.settings.iter().enumerate().filter(|(i, _)| !columns.contains(i));
            others.map(|(_, value)| value.clone()).collect()
        };
        (x.seed, x.truth) == (y.seed, y.truth) && rest(x) == rest(y)
    };
    let partner = |y: &&&Scored| a.iter().find(|x| equal(x, y)).map(|x| y.value - x.value);
    b.iter().filter_map(|y| partner(&y)).collect()
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
        // All else, the seed included, to the figure and what it was scored on.
        let rest = |one: &Scored| {
            let others = one.settings.iter().enumerate().filter(|(j, _)| *j != i);
            (others.map(|(_, value)| value.clone()).collect::<Vec<_>>(), one.seed)
        };
        let with = |level: &String| -> BTreeMap<_, (f64, usize)> {
            let these = scored.iter().filter(|one| one.settings[i] == *level);
            these.map(|one| (rest(one), (one.value, one.truth))).collect()
        };
        let reference = with(&first);
        let mut truths_differ = false;
        let mut level = |level: &&String| {
            let these = with(level);
            let mut pairs: Vec<f64> = Vec::new();
            for (rest, (value, truth)) in &these {
                let Some((other, other_truth)) = reference.get(rest) else { continue };
                pairs.push(value - other);
                truths_differ |= truth != other_truth;
            }
            let against = (**level != first && !pairs.is_empty()).then(|| Against {
                pairs: pairs.len(),
                difference: mean(&pairs),
                interval: paired(&pairs),
            });
            let all: Vec<f64> = these.into_values().map(|(value, _)| value).collect();
            Level { value: (*level).clone(), runs: all.len(), mean: mean(&all), against }
        };
        let levels: Vec<Level> = levels.iter().map(&mut level).collect();
        let comparable = levels.iter().any(|level| level.against.is_some());
        comparable.then(|| Effect { setting: name.clone(), levels, truths_differ })
    };
    names.iter().enumerate().filter_map(|(i, name)| of(i, name)).collect()
}

/// Of values, of which there must be one.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Standard deviation, that of a sample; none of fewer than two values.
pub fn deviation(values: &[f64]) -> Option<f64> {
    variance(values).map(f64::sqrt)
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
mod tests;
