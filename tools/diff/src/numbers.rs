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
mod tests {
    use super::*;

    #[test]
    fn differences_are_counted_measured_and_placed() {
        let mut tally = Tally::new("x.safetensors", "w");
        let mut add = |row, a: [f64; 6], b: [f64; 6]| tally.add(Some(row), &[2, 3], a.into_iter().zip(b));
        add("first", [0.0, 1.0, 2.0, 3.0, -8.0, 5.0], [0.0, 1.5, 2.0, 3.0, -8.0, 5.0]);
        add("second", [0.0, 1.0, 2.0, 3.0, -8.0, 5.0], [0.0, 1.0, 2.25, 3.0, -7.0, 5.0]);
        let found = tally.end();
        assert_eq!((found.elements, found.differing), (12, 3));
        assert_eq!((found.max_abs, found.max_relative), (Some(1.0), Some(0.125)));
        assert_eq!(found.mean_abs, Some(1.75 / 12.0));
        let place = Place { row: Some("second".into()), index: vec![1, 1], a: -8.0, b: -7.0 };
        assert_eq!(found.at, Some(place));
        assert_eq!(found.not_finite, NotFinite::default());
    }

    #[test]
    fn what_is_no_number_is_counted_apart() {
        let mut tally = Tally::new("x", "y");
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        let pairs = [(nan, nan), (inf, inf), (inf, -inf), (nan, 1.0), (2.0, nan), (4.0, 3.0), (1.0, 1.0)];
        tally.add(None, &[7], pairs.into_iter());
        let found = tally.end();
        assert_eq!(found.not_finite, NotFinite { a: 4, b: 4, differing: 3 });
        assert_eq!((found.elements, found.differing), (7, 1));
        assert_eq!((found.max_abs, found.mean_abs), (Some(1.0), Some(0.5)));
        assert_eq!((found.max_relative, found.at.unwrap().index), (Some(0.25), vec![5]));
    }

    #[test]
    fn equal_numbers_and_none_do_not_differ() {
        let mut tally = Tally::new("x", "y");
        tally.add(None, &[2], [(0.0, -0.0), (f64::NAN, f64::NAN)].into_iter());
        assert!(!tally.end().differ());
        let equal = |found: Numbers| (found.differ(), found.max_abs, found.max_relative, found.mean_abs);
        let mut zeros = Tally::new("x", "y");
        zeros.add(None, &[1], [(0.0, 0.0)].into_iter());
        assert_eq!(equal(zeros.end()), (false, Some(0.0), Some(0.0), Some(0.0)));
        // Of nothing, and of what is no number, there is no difference to state.
        assert_eq!(equal(Tally::new("x", "y").end()), (false, None, None, None));
        let mut nans = Tally::new("x", "y");
        nans.add(None, &[1], [(f64::NAN, 1.0)].into_iter());
        assert_eq!(equal(nans.end()), (true, None, None, None));
        let mut far = Tally::new("x", "y");
        far.add(None, &[2], [(f64::MAX, f64::MIN); 2].into_iter());
        let json = serde_json::to_value(far.end()).unwrap();
        assert!(json["max_abs"].is_f64() && json["mean_abs"].is_f64(), "{json}");
        assert_eq!(index(0, &[]), [0; 0]);
    }
}
