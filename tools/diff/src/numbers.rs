//! Numbers against numbers: how many differ, by how much, and where most.

use serde::Serialize;

/// How two tensors, or two columns of a table, compare.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Numbers {
    /// The file they lie in; of shards, the name they have in common.
    pub file: String,
    /// The tensor or column.
    pub name: String,
    /// Numbers that both have.
    pub elements: u64,
    /// Pairs of finite numbers that differ.
    pub differing: u64,
    /// The largest absolute difference of two finite numbers; none where there is no pair of such, here and in what follows.
    pub max_abs: Option<f64>,
    /// The same as a share of the largest magnitude of either side.
    pub max_relative: Option<f64>,
    /// The mean absolute difference of all pairs of finite numbers, equal ones among them.
    pub mean_abs: Option<f64>,
    /// Where the largest difference lies; none where no number differs.
    pub at: Option<Place>,
    /// Numbers that are NaN or infinite; a number that a table lacks counts as NaN.
    pub not_finite: NotFinite,
}

/// A pair of numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Place {
    /// What the row belongs to; none of a tensor without rows.
    pub row: Option<String>,
    /// Index in the tensor; empty where the row has one number.
    pub index: Vec<usize>,
    /// The number of the first side.
    pub a: f64,
    /// That of the second.
    pub b: f64,
}

/// How many numbers are NaN or infinite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NotFinite {
    /// Of the first side.
    pub a: u64,
    /// Of the second.
    pub b: u64,
    /// Pairs of which at least one is, and that are not both NaN or the same infinity.
    pub differing: u64,
}

impl Numbers {
    /// Whether any pair differs.
    pub fn differ(&self) -> bool {
        self.differing > 0 || self.not_finite.differing > 0
    }
}

/// Takes pairs of numbers, row after row.
pub(crate) struct Tally {
    numbers: Numbers,
    finite: u64,
    largest: f64,
    sum: f64,
    magnitude: f64,
}

impl Tally {
    pub(crate) fn new(file: &str, name: &str) -> Self {
        let numbers = Numbers {
            file: file.into(),
            name: name.into(),
            elements: 0,
            differing: 0,
            max_abs: None,
            max_relative: None,
            mean_abs: None,
            at: None,
            not_finite: NotFinite::default(),
        };
        Self { numbers, finite: 0, largest: 0.0, sum: 0.0, magnitude: 0.0 }
    }

    /// Adds the numbers of a row, or of a whole tensor, of this shape.
    pub(crate) fn add(
        &mut self,
        row: Option<&str>,
        shape: &[usize],
        pairs: impl Iterator<Item = (f64, f64)>,
    ) {
        let numbers = &mut self.numbers;
        let mut largest = None;
        for (position, (a, b)) in pairs.enumerate() {
            numbers.elements += 1;
            if !(a.is_finite() && b.is_finite()) {
                let same = a == b || (a.is_nan() && b.is_nan());
                numbers.not_finite.a += u64::from(!a.is_finite());
                numbers.not_finite.b += u64::from(!b.is_finite());
                numbers.not_finite.differing += u64::from(!same);
                continue;
            }
            self.finite += 1;
            self.magnitude = self.magnitude.max(a.abs()).max(b.abs());
            // Two numbers at either end of the range are farther apart than it is wide.
            let difference = (a - b).abs().min(f64::MAX);
            if difference > 0.0 {
                numbers.differing += 1;
                self.sum = (self.sum + difference).min(f64::MAX);
                if difference > self.largest {
                    self.largest = difference;
                    largest = Some((position, a, b));
                }
            }
        }
        if let Some((position, a, b)) = largest {
            numbers.at = Some(Place { row: row.map(str::to_owned), index: index(position, shape), a, b });
        }
    }

    pub(crate) fn end(mut self) -> Numbers {
        if self.finite > 0 {
            // Numbers that are all 0 do not differ.
            let share = if self.largest > 0.0 { self.largest / self.magnitude } else { 0.0 };
            self.numbers.max_abs = Some(self.largest);
            self.numbers.max_relative = Some(share);
            self.numbers.mean_abs = Some(self.sum / self.finite as f64);
        }
        self.numbers
    }
}

/// The index of a position in row-major order.
fn index(mut position: usize, shape: &[usize]) -> Vec<usize> {
    let mut index: Vec<usize> = shape
        .iter()
        .rev()
        .map(|length| {
            let here = position % length;
            position /= length;
            here
        })
        .collect();
    index.reverse();
    index
}

#[cfg(test)]
mod tests;
