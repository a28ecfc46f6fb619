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
mod tests {
    use super::*;

    const NAMES: [&str; 40] = {
        let mut names = [""; 40];
        let all = "0123456789abcdefghijklmnopqrstuvwxyzABCD";
        let mut i = 0;
        while i < names.len() {
            names[i] = all.split_at(i).1.split_at(1).0;
            i += 1;
        }
        names
    };

    fn values() -> Vec<Option<f64>> {
        (0..40).map(|i| Some(f64::from(i * i % 17) / 17.0)).collect()
    }

    #[test]
    fn quantiles_of_few_values() {
        assert_eq!(quantile(&mut [], 0.5), None);
        assert_eq!(quantile(&mut [3.0], 0.95), Some(3.0));
        assert_eq!(quantile(&mut [4.0, 1.0], 0.25), Some(1.75));
        assert_eq!(quantile(&mut [4.0, 1.0, 2.0], 1.0), Some(4.0));
    }

    #[test]
    fn the_seed_decides_the_draws() {
        let of = |seed| Bootstrap::new(&NAMES, 500, seed).interval(&values(), 0.95);
        assert_eq!(of(3), of(3));
        assert_ne!(of(3), of(4));
    }

    #[test]
    fn the_interval_is_as_wide_as_the_means_error_asks() {
        let values = values();
        let all: Vec<f64> = values.iter().flatten().copied().collect();
        let mean = mean(all.iter().copied()).unwrap();
        let variance = all.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / all.len() as f64;
        let error = (variance / all.len() as f64).sqrt();
        let [low, high] = Bootstrap::new(&NAMES, 20_000, 0).interval(&values, 0.95).unwrap();
        for (found, expected) in [(low, mean - 1.96 * error), (high, mean + 1.96 * error)] {
            assert!((found - expected).abs() < 0.1 * error, "{found} {expected} of error {error}");
        }
    }

    #[test]
    fn targets_of_one_group_are_no_news_to_one_another() {
        // Each group holds four equal targets: the interval is that of ten targets, not of forty.
        let groups: Vec<&str> = (0..40).map(|i| NAMES[i / 4]).collect();
        let values: Vec<_> = (0..40).map(|i| Some(f64::from(i / 4 * (i / 4) % 7))).collect();
        let ten: Vec<_> = values.iter().step_by(4).copied().collect();
        let clustered = Bootstrap::new(&groups, 5000, 1).interval(&values, 0.95);
        assert_eq!(clustered, Bootstrap::new(&NAMES[..10], 5000, 1).interval(&ten, 0.95));
        let [low, high] = clustered.unwrap();
        let [apart_low, apart_high] = Bootstrap::new(&NAMES, 5000, 1).interval(&values, 0.95).unwrap();
        assert!(high - low > 1.5 * (apart_high - apart_low));
    }

    #[test]
    fn what_has_no_value_does_not_count() {
        let bootstrap = Bootstrap::new(&NAMES, 500, 0);
        let mut values = vec![None; 40];
        assert_eq!(bootstrap.interval(&values, 0.95), None);
        values[7] = Some(0.5);
        assert_eq!(bootstrap.interval(&values, 0.95), None, "one group has no spread");
        values[9] = Some(1.0);
        assert_eq!(bootstrap.interval(&values, 0.95), Some([0.5, 1.0]));
    }
}
