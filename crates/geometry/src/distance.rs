//! Exact distances to the nearest of some pixels.

/// Some pixels of a grid, and how far every place is from the nearest one.
///
/// Distances are Euclidean between centres, as squares of whole numbers: first along columns, then from the places of a row.
#[derive(Clone, Debug)]
pub struct Nearest {
    width: usize,
    /// Of each place, the distance to the nearest of the pixels in its column, in rows; `None` without any.
    vertical: Vec<Option<u32>>,
}

impl Nearest {
    /// To the pixels that are set, row by row.
    ///
    /// # Panics
    /// For rows of no width.
    pub fn of(width: usize, set: impl Iterator<Item = bool>) -> Self {
        assert!(width > 0, "rows have a width");
        let mut vertical: Vec<_> = set.map(|set| set.then_some(0)).collect();
        // From above; then from below, where that is nearer.
        for place in width..vertical.len() {
            if vertical[place].is_none() {
                vertical[place] = vertical[place - width].map(|distance| distance + 1);
            }
        }
        for place in (0..vertical.len().saturating_sub(width)).rev() {
            let below = vertical[place + width].map(|distance| distance + 1);
            vertical[place] = match (vertical[place], below) {
                (Some(above), Some(below)) => Some(above.min(below)),
                (above, below) => above.or(below),
            };
        }
        Self { width, vertical }
    }

    /// The squared distance from a place; `u64::MAX` where nothing is set. A distance up to `enough` may be reported too large, but
    /// not above it: whoever looks for a larger one need not know better.
    pub fn squared(&self, x: usize, y: usize, enough: u64) -> u64 {
        let row = &self.vertical[y * self.width..][..self.width];
        let through = |aside: usize, vertical: Option<u32>| {
            vertical.map_or(u64::MAX, |vertical| (aside as u64).pow(2) + u64::from(vertical).pow(2))
        };
        let mut nearest = through(0, row[x]);
        // What is farther aside than the nearest found is no nearer.
        for aside in 1..self.width {
            if nearest <= enough || (aside as u64).pow(2) >= nearest {
                break;
            }
            for side in [x.checked_sub(aside), Some(x + aside)] {
                let vertical = side.and_then(|x| *row.get(x)?);
                nearest = nearest.min(through(aside, vertical));
            }
        }
        nearest
    }
}
