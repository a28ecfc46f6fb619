//! Several runs of one command: settings that have a list of values, and every combination of those.
//!
//! `[matrix]` of a pipeline file lists values for settings; `--set train.learning_rate=1e-5,3e-5` does the same from the command line,
//! in the place of what the file says of that setting. Each combination is a [`Variant`]: a pipeline in which every setting has one value.

use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// More runs than this are taken for a mistake.
pub const MOST_RUNS: usize = 1000;

/// The sections that apply to all runs of a command together.
const SHARED: [&str; 2] = ["runtime", "remote"];

/// A setting with several values.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// `section.setting`.
    pub setting: String,
    /// Each once.
    pub values: Vec<Value>,
    /// Where it was given.
    pub origin: String,
}

/// What tells one run of a command from its others: a value for each setting that has several.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// Its place among them, from 0.
    pub number: usize,
    /// `section.setting` and value, in the order in which they were given.
    pub settings: Vec<(String, Value)>,
}

impl Variant {
    /// The settings in a few words: `loss dice, jitter 0`.
    pub fn label(&self) -> String {
        self.label_of(&self.settings)
    }

    /// What several of them have in common, in a few words; nothing where that is nothing.
    pub fn common_label<'a>(mut variants: impl Iterator<Item = &'a Variant>) -> String {
        let Some(first) = variants.next() else { return String::new() };
        let mut common = first.settings.clone();
        for other in variants {
            common.retain(|setting| other.settings.contains(setting));
        }
        first.label_of(&common)
    }

    fn label_of(&self, settings: &[(String, Value)]) -> String {
        let ambiguous =
            |name: &str| self.settings.iter().filter(|(other, _)| last(other) == name).count() > 1;
        let one = |(setting, value): &(String, Value)| {
            let name = if ambiguous(last(setting)) { setting } else { last(setting) };
            format!("{name} {}", crate::plan::plain(value))
        };
        settings.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    /// As the run's record has it.
    pub fn record(&self) -> Value {
        Value::Object(self.settings.iter().cloned().collect::<Map<_, _>>())
    }
}

fn last(setting: &str) -> &str {
    setting.rsplit('.').next().unwrap_or(setting)
}

/// Every combination, the last axis running fastest. Without axes there is one, with nothing in it.
pub fn combinations(axes: &[Axis]) -> Vec<Vec<(String, Value)>> {
    let mut all = vec![Vec::new()];
    for axis in axes {
        let with = |rest: &Vec<(String, Value)>| {
            let rest = rest.clone();
            axis.values
                .iter()
                .map(move |value| [rest.clone(), vec![(axis.setting.clone(), value.clone())]].concat())
        };
        all = all.iter().flat_map(with).collect();
    }
    all
}

/// What is wrong with the values of an axis, if anything.
pub fn problem(axis: &Axis) -> Option<String> {
    let texts: Vec<String> = axis.values.iter().map(Value::to_string).collect();
    let mut seen = BTreeSet::new();
    if texts.is_empty() {
        return Some("has no values in [matrix]: give some, or remove it".into());
    }
    if let Some(twice) = texts.iter().find(|text| !seen.insert(*text)) {
        return Some(format!("has {twice} twice in the matrix: it would be the same run"));
    }
    if axis.setting == "train.seeds" {
        return Some("is a list already: vary train.seed in the matrix, or give train.seeds alone".into());
    }
    let section = axis.setting.split('.').next()?;
    SHARED.contains(&section).then(|| {
        format!("cannot vary in a matrix: all its runs share [{section}]; give {} one value", axis.setting)
    })
}

/// The values of `--set SETTING=a,b`, split at commas that stand in no bracket and no quotes; none where there is only one.
pub fn split(value: &str) -> Option<Vec<&str>> {
    let (mut depth, mut quote, mut start, mut parts) = (0_i32, None, 0, Vec::new());
    for (i, c) in value.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '[' | '{' | '(') => depth += 1,
            (None, ']' | '}' | ')') => depth -= 1,
            (None, ',') if depth == 0 => {
                parts.push(value[start..i].trim());
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(value[start..].trim());
    (parts.len() > 1).then_some(parts)
}

#[cfg(test)]
mod tests;
