//! Whether one of two methods is better on the same targets.

/// Most pairs whose distribution is computed exactly.
const EXACT: usize = 50;

/// Two-sided p of Wilcoxon's signed-rank test (Wilcoxon, 1945) of paired differences; `None` when fewer than two
/// differ from 0: one alone has p = 1 whatever it is, and with zeros beside it the normal distribution would say anything.
///
/// Differences of 0 are left out. Without them and without ties, up to 50 pairs have the exact distribution; else it is the normal
/// one with the variance that ties leave and no correction for continuity. (`scipy.stats.wilcoxon` with `zero_method="wilcox"` and
/// `method` "exact" or "asymptotic".)
pub fn wilcoxon(differences: &[f64]) -> Option<f64> {
    let mut differing: Vec<f64> = differences.iter().copied().filter(|d| *d != 0.0).collect();
    differing.sort_unstable_by(|a, b| a.abs().total_cmp(&b.abs()));
    if differing.len() < 2 {
        return None;
    }
    // Ranks from 1 by size; equal ones share their mean.
    let (mut positive, mut ties, mut rank) = (0.0, 0.0, 0.0);
    for equal in differing.chunk_by(|a, b| a.abs() == b.abs()) {
        let size = equal.len() as f64;
        let above = equal.iter().filter(|d| **d > 0.0).count() as f64;
        positive += above * (rank + (size + 1.0) / 2.0);
        ties += size * size * size - size;
        rank += size;
    }
    let untied = ties == 0.0 && differing.len() == differences.len();
    Some(if untied && differing.len() <= EXACT {
        exact(positive as usize, differing.len())
    } else {
        let n = differing.len() as f64;
        let variance = (n * (n + 1.0) * (2.0 * n + 1.0) - ties / 2.0) / 24.0;
        let z = (positive - n * (n + 1.0) / 4.0) / variance.sqrt();
        libm::erfc(z.abs() / std::f64::consts::SQRT_2)
    })
}

/// Twice the share of all choices of signs whose sum of positive ranks is at least as far out as this one.
fn exact(positive: usize, n: usize) -> f64 {
    let largest = n * (n + 1) / 2;
    // How many choices have each sum; whole numbers up to 2^50, which f64 holds.
    let mut choices = vec![0.0f64; largest + 1];
    choices[0] = 1.0;
    for rank in 1..=n {
        for sum in (rank..=largest).rev() {
            choices[sum] += choices[sum - rank];
        }
    }
    let tail: f64 = choices[..=positive.min(largest - positive)].iter().sum();
    (2.0 * tail / (n as f64).exp2()).min(1.0)
}

#[cfg(test)]
mod tests;
