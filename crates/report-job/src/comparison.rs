//! Runs side by side: what `cargo xtask compare` finds, prints with `--json`, and has made a page of.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Format of a [`Comparison`].
pub const COMPARISON_FORMAT: &str = "resect-compare/1.0";

/// A page to be made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComparisonJob {
    /// The file to write; it is written beside its place and renamed.
    pub out: PathBuf,
    /// What stands in it.
    pub comparison: Comparison,
}

/// Runs side by side, best first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// [`COMPARISON_FORMAT`].
    pub format: String,
    /// What is compared, in a few words.
    pub title: String,
    /// What they are ranked by: `dice`, `iou`, `hd95`, `nsd`, `low_res_dice`.
    pub metric: String,
    /// Whether more of it is better.
    pub higher_is_better: bool,
    /// Settings that tell rows apart, by their full names: those that differ among the runs, the seed aside, or a few of them.
    pub varying: Vec<String>,
    /// Settings that differ, too, and that each row is an average over; none where a row is the runs that differ in nothing but the seed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub averaged: Vec<String>,
    /// Best first.
    pub rows: Vec<Ranked>,
    /// What each setting does on its own, where every combination was run.
    pub effects: Vec<Effect>,
    /// Runs that have no figures.
    pub failed: Vec<Failed>,
    /// What a reader must know.
    pub notes: Vec<String>,
}

/// Runs that differ in nothing but the seed, or in the settings that are averaged over, too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ranked {
    /// Its values of [`Comparison::varying`], in that order, as a person writes them.
    pub settings: Vec<String>,
    /// Each of them.
    pub runs: Vec<Run>,
    /// Mean over them.
    pub mean: f64,
    /// Standard deviation over them, that of a sample; absent for one run.
    pub deviation: Option<f64>,
    /// The untuned decoder's figure on the same targets, the mean over the runs.
    pub untuned: Option<f64>,
    /// The best that needs no training on the same targets: its name and figure; absent of an average over several truths.
    pub baseline: Option<(String, f64)>,
    /// Its mean less that of the first row; of averages the mean difference of runs that are equal in all else, as far as there are such.
    pub difference: Option<f64>,
    /// 95 % interval of that difference: over seeds (Welch), of averages over such pairs (Student); absent where that tells nothing.
    pub interval: Option<[f64; 2]>,
    /// What can be told of it.
    pub verdict: Verdict,
    /// Which truth it was scored on: rows of the same number on the same. From 1; 0 is an average over several.
    pub truth: usize,
}

/// A run's figure with a seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its name.
    pub run: String,
    /// The seed it was trained with, where that is known.
    pub seed: Option<u64>,
    /// The tuned decoder's figure.
    pub value: f64,
}

/// What can be told of a row against the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is the first.
    Best,
    /// The interval of the difference holds 0: the runs do not tell it from the first.
    WithinSpread,
    /// It does not.
    Behind,
    /// One of both has one seed, or there are not two pairs, so that nothing can be told.
    NoSpread,
    /// It was scored on another truth, so that figures cannot be held against each other.
    OtherTruth,
}

/// What a setting does on its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    /// Its full name.
    pub setting: String,
    /// Its values, the first being what the others are held against.
    pub levels: Vec<Level>,
    /// Whether its values are scored on different truths.
    pub truths_differ: bool,
}

/// A value of a setting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Level {
    /// The value.
    pub value: String,
    /// Runs that have it.
    pub runs: usize,
    /// Mean over them.
    pub mean: f64,
    /// Against the first value; absent of that.
    pub against: Option<Against>,
}

/// Runs of one value against those of another that are equal in all else, the seed included.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Against {
    /// Such pairs.
    pub pairs: usize,
    /// Mean difference.
    pub difference: f64,
    /// 95 % interval of it (Student's t over pairs); absent for one pair.
    pub interval: Option<[f64; 2]>,
}

/// A run that has no figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failed {
    /// Its name.
    pub run: String,
    /// What tells it from others.
    pub label: String,
    /// Why.
    pub reason: String,
}
