//! Rows that belong together, by what they are named.

use std::collections::HashMap;

use serde::Serialize;

/// How many rows are named of those that only one side has.
const NAMED: usize = 5;

/// Rows that only one side has, or that lie in another order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rows {
    /// The file they lie in; of shards, the name they have in common.
    pub file: String,
    /// Rows that both have.
    pub both: usize,
    /// Rows that only the first has.
    pub only_a: usize,
    /// Rows that only the second has.
    pub only_b: usize,
    /// The first few of those.
    pub first_only_a: Vec<String>,
    /// The first few of those.
    pub first_only_b: Vec<String>,
    /// Whether rows that both have lie in another order.
    pub reordered: bool,
}

/// Which row of the one is which of the other.
pub(crate) struct Matched {
    /// Row numbers of both sides, in the order of the first.
    pub(crate) pairs: Vec<(usize, usize)>,
    pub(crate) rows: Rows,
}

impl Matched {
    /// Matches rows by their names; of several of one name, the first with the first, and so on.
    pub(crate) fn of<S: AsRef<str>>(file: &str, a: &[S], b: &[S]) -> Self {
        let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
        for (row, name) in b.iter().enumerate().rev() {
            places.entry(name.as_ref()).or_default().push(row);
        }
        let (mut pairs, mut only_a) = (Vec::new(), Vec::new());
        for (row, name) in a.iter().map(AsRef::as_ref).enumerate() {
            match places.get_mut(name).and_then(Vec::pop) {
                Some(other) => pairs.push((row, other)),
                None => only_a.push(name.to_owned()),
            }
        }
        let mut left: Vec<usize> = places.into_values().flatten().collect();
        left.sort_unstable();
        let named = left.iter().take(NAMED).map(|row| b[*row].as_ref().to_owned());
        let rows = Rows {
            file: file.into(),
            both: pairs.len(),
            only_a: only_a.len(),
            only_b: left.len(),
            first_only_b: named.collect(),
            first_only_a: only_a.into_iter().take(NAMED).collect(),
            reordered: !pairs.is_sorted_by_key(|(_, other)| *other),
        };
        Self { pairs, rows }
    }
}

impl Rows {
    /// Whether there is anything to say.
    pub(crate) fn differ(&self) -> bool {
        self.only_a > 0 || self.only_b > 0 || self.reordered
    }
}

#[cfg(test)]
mod tests;
