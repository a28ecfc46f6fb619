//! How well predicted scores agree with true ones.

use resect_evaluation_records::{Calibration, CalibrationBin};

use crate::mean;

/// Bins over predicted scores.
const BINS: usize = 10;

/// Compares pairs of predicted and true score.
pub fn calibration(pairs: &[(f64, f64)]) -> Calibration {
    let bin_of = |predicted: f64| ((predicted * BINS as f64).max(0.0) as usize).min(BINS - 1);
    let bins: Vec<CalibrationBin> = (0..BINS)
        .map(|bin| {
            let of_bin = || pairs.iter().filter(move |(predicted, _)| bin_of(*predicted) == bin);
            CalibrationBin {
                low: bin as f64 / BINS as f64,
                high: (bin + 1) as f64 / BINS as f64,
                targets: of_bin().count(),
                predicted: mean(of_bin().map(|(predicted, _)| *predicted)),
                actual: mean(of_bin().map(|(_, actual)| *actual)),
            }
        })
        .collect();
    let weighted = bins.iter().filter_map(|bin| {
        Some(bin.targets as f64 * (bin.predicted? - bin.actual?).abs() / pairs.len() as f64)
    });
    Calibration {
        targets: pairs.len(),
        bias: mean(pairs.iter().map(|(predicted, actual)| predicted - actual)),
        mean_absolute_error: mean(pairs.iter().map(|(predicted, actual)| (predicted - actual).abs())),
        expected_calibration_error: (!pairs.is_empty()).then(|| weighted.sum()),
        correlation: correlation(pairs),
        bins,
    }
}

fn correlation(pairs: &[(f64, f64)]) -> Option<f64> {
    let (x, y) = (mean(pairs.iter().map(|p| p.0))?, mean(pairs.iter().map(|p| p.1))?);
    let sum = |of: fn(f64, f64) -> f64| pairs.iter().map(|p| of(p.0 - x, p.1 - y)).sum::<f64>();
    let (xx, yy, xy) = (sum(|x, _| x * x), sum(|_, y| y * y), sum(|x, y| x * y));
    (xx > 0.0 && yy > 0.0).then(|| (xy / (xx * yy).sqrt()).clamp(-1.0, 1.0))
}

#[cfg(test)]
mod tests;
