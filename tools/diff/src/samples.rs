//! Two evaluations target by target.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use resect_evaluation_records::{Figures, Method, SampleRow};
use resect_metrics::{Bootstrap, mean, wilcoxon};
use resect_tables::table;
use serde::Serialize;

use crate::DiffError;

/// Format of the object that `--json` prints.
pub const SAMPLES_FORMAT: &str = "resect-diff-samples/1.0";

/// The tuned decoders of two evaluations, on the targets that both scored.
#[derive(Clone, Debug, Serialize)]
pub struct Samples {
    /// [`SAMPLES_FORMAT`].
    pub format: &'static str,
    /// One of [`Figures::NAMES`], at original size.
    pub metric: String,
    /// Targets that both have a figure for, those on which `b` lost most first.
    pub targets: Vec<Pair>,
    /// Targets that only one of them has a figure for.
    pub unpaired: usize,
    /// Targets of which `b` has the larger figure.
    pub higher: usize,
    /// Targets of which it has the smaller one.
    pub lower: usize,
    /// Targets of which both are equal.
    pub equal: usize,
    /// Mean of `b` less `a`; absent where there is no pair.
    pub mean_difference: Option<f64>,
    /// 95 % bootstrap interval of it over groups, 2,000 draws; absent where there are fewer than two groups.
    pub interval: Option<[f64; 2]>,
    /// Two-sided p of Wilcoxon's signed-rank test; absent where fewer than two differ.
    pub p: Option<f64>,
}

/// A target in both.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pair {
    /// Its id.
    pub id: String,
    /// What is drawn for the interval.
    #[serde(skip)]
    group: String,
    /// In the one.
    pub a: f64,
    /// In the other.
    pub b: f64,
}

/// Compares two `evaluation` artifacts.
///
/// # Errors
/// A table that is not there or cannot be read, or a metric of another name.
pub fn samples(a: &Path, b: &Path, metric: &str) -> Result<Samples, DiffError> {
    let place = Figures::<()>::NAMES.iter().position(|name| *name == metric);
    let place = place.ok_or_else(|| DiffError::Metric(metric.to_owned()))?;
    let (a, b) = (tuned(a, place)?, tuned(b, place)?);
    let others: HashMap<&str, f64> = b.iter().map(|(id, _, value)| (id.as_str(), *value)).collect();
    let mut targets: Vec<Pair> = Vec::new();
    for (id, group, value) in &a {
        if let Some(other) = others.get(id.as_str()) {
            targets.push(Pair { id: id.clone(), group: group.clone(), a: *value, b: *other });
        }
    }
    let differences: Vec<f64> = targets.iter().map(|pair| pair.b - pair.a).collect();
    let groups: Vec<&str> = targets.iter().map(|pair| pair.group.as_str()).collect();
    let interval = Bootstrap::new(&groups, 2000, 0)
        .interval(&differences.iter().copied().map(Some).collect::<Vec<_>>(), 0.95);
    let unpaired = a.len() + b.len() - 2 * targets.len();
    let count = |is: fn(f64) -> bool| differences.iter().filter(|difference| is(**difference)).count();
    let (higher, lower) = (count(|d| d > 0.0), count(|d| d < 0.0));
    targets.sort_by(|x, y| (x.b - x.a).total_cmp(&(y.b - y.a)).then_with(|| x.id.cmp(&y.id)));
    Ok(Samples {
        format: SAMPLES_FORMAT,
        metric: metric.to_owned(),
        unpaired,
        higher,
        lower,
        equal: differences.len() - higher - lower,
        mean_difference: mean(differences.iter().copied()),
        interval,
        p: wilcoxon(&differences),
        targets,
    })
}

/// Id, group and figure of each target that the tuned decoder has one for.
fn tuned(evaluation: &Path, place: usize) -> Result<Vec<(String, String, f64)>, DiffError> {
    let rows: Vec<SampleRow> = table::read(&evaluation.join("samples.parquet")).map_err(DiffError::Data)?;
    let figure = |row: &SampleRow| {
        let SampleRow { dice, iou, precision, recall, hd95, surface_dice, mean_absolute_error, .. } = row;
        [dice, iou, precision, recall, hd95, surface_dice, mean_absolute_error][place].as_ref().copied()
    };
    let tuned = rows.into_iter().filter(|row| row.method == Method::Tuned);
    Ok(tuned.filter_map(|row| Some((row.id.clone(), row.group.clone(), figure(&row)?))).collect())
}

impl fmt::Display for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let longest =
            self.targets.iter().map(|pair| pair.id.chars().count()).max().unwrap_or_default().max(6);
        writeln!(f, "{:<longest$} {:>9} {:>9} {:>9}", self.metric, "a", "b", "b - a")?;
        for Pair { id, a, b, .. } in &self.targets {
            writeln!(f, "{id:<longest$} {a:>9.4} {b:>9.4} {:>+9.4}", b - a)?;
        }
        let Self { targets, higher, lower, equal, .. } = self;
        let targets = targets.len();
        write!(f, "{targets} targets: b is higher on {higher}, lower on {lower}, equal on {equal}")?;
        if let Some(difference) = self.mean_difference {
            write!(f, "; mean {difference:+.4}")?;
        }
        if let Some([low, high]) = self.interval {
            write!(f, " (95 % {low:+.4} to {high:+.4})")?;
        }
        if let Some(p) = self.p {
            write!(f, ", {}", if p < 1e-4 { "p < 0.0001".into() } else { format!("p = {p:.4}") })?;
        }
        writeln!(f)?;
        if self.unpaired > 0 {
            writeln!(f, "{} have a figure in one of both alone", self.unpaired)?;
        }
        Ok(())
    }
}
