//! Means, and how far they would move with other targets.

use rayon::prelude::*;

/// The mean, summed in order: another order would round differently. `None` of nothing.
pub fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0u64), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}

/// The `q`-quantile (0 to 1), linear between neighbours (`numpy.quantile`); `None` of nothing. Sorts the values.
pub fn quantile(values: &mut [f64], q: f64) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let at = q * values.len().checked_sub(1)? as f64;
    let (low, share) = (at as usize, at.fract());
    let low_value = values[low];
    Some(match values.get(low + 1) {
        Some(high) if share > 0.0 => low_value + share * (high - low_value),
        _ => low_value,
    })
}

/// Draws of groups with replacement, as many as there are (Efron, 1979; of clusters: Davison and Hinkley, 1997, section 3.8).
///
/// A group is what belongs together: patients, sequences. Targets of one group are drawn together, because they are alike. All
/// metrics share the draws.
#[derive(Debug)]
pub struct Bootstrap {
    /// Group of each target.
    groups: Vec<usize>,
    /// How many groups there are.
    count: usize,
    /// How often each draw has each group, draw after draw.
    draws: Vec<u32>,
}

impl Bootstrap {
    /// Draws `resamples` times from the targets' groups; draws depend on the seed and the number of groups.
    pub fn new(groups: &[&str], resamples: u32, seed: u64) -> Self {
        let mut numbers = std::collections::HashMap::new();
        let groups: Vec<usize> = groups
            .iter()
            .map(|group| {
                let next = numbers.len();
                *numbers.entry(*group).or_insert(next)
            })
            .collect();
        let count = numbers.len();
        let mut rng = resect_seed::stream("bootstrap", seed, &[]);
        let mut draws = vec![0; resamples as usize * count];
        for draw in draws.chunks_exact_mut(count.max(1)) {
            for _ in 0..count {
                draw[resect_seed::below(&mut rng, count as u32) as usize] += 1;
            }
        }
        Self { groups, count, draws }
    }

    /// Groups there are.
    pub fn groups(&self) -> usize {
        self.count
    }

    /// The interval that holds the share `confidence` of the means of all draws, from percentile to percentile; `values` has that of
    /// each target, where there is one.
    ///
    /// `None` when fewer than two groups have a value. A draw of which no target has one is left out.
    ///
    /// # Panics
    /// When there is another number of values than targets.
    pub fn interval(&self, values: &[Option<f64>], confidence: f64) -> Option<[f64; 2]> {
        assert_eq!(values.len(), self.groups.len(), "one value a target");
        let mut sums = vec![(0.0, 0u32); self.count];
        for (&group, value) in self.groups.iter().zip(values) {
            if let Some(value) = value {
                sums[group].0 += value;
                sums[group].1 += 1;
            }
        }
        let sums: Vec<_> = sums.into_iter().enumerate().filter(|(_, (_, targets))| *targets > 0).collect();
        if sums.len() < 2 {
            return None;
        }
        let mean = |draw: &[u32]| {
            let (mut sum, mut targets) = (0.0, 0u64);
            for &(group, (of_group, in_group)) in &sums {
                sum += f64::from(draw[group]) * of_group;
                targets += u64::from(draw[group]) * u64::from(in_group);
            }
            (targets > 0).then(|| sum / targets as f64)
        };
        let mut means: Vec<f64> = self.draws.par_chunks_exact(self.count).filter_map(mean).collect();
        let tail = (1.0 - confidence) / 2.0;
        Some([quantile(&mut means, tail)?, quantile(&mut means, 1.0 - tail)?])
    }
}

#[cfg(test)]
mod tests;
