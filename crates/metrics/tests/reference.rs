//! Every figure beside MONAI's, SciPy's or NumPy's: `tests/reference/metrics_reference.py` wrote theirs.

use resect_geometry::{Mask, Size};
use resect_metrics::{Bootstrap, calibration, overlap, quantile, surface_distance, wilcoxon};
use serde::Deserialize;

/// MONAI computes in single precision.
const SINGLE: f64 = 2e-6;
const DOUBLE: f64 = 1e-12;

#[derive(Deserialize)]
struct Reference {
    tolerances: Vec<f64>,
    masks: Vec<Masks>,
    differences: Vec<Differences>,
    means: Vec<Means>,
    scores: Scores,
}

#[derive(Deserialize)]
struct Masks {
    name: String,
    height: u32,
    predicted: String,
    truth: String,
    dice: Option<f64>,
    iou: Option<f64>,
    precision: Option<f64>,
    recall: Option<f64>,
    hd95: Option<f64>,
    surface_dice: Vec<Option<f64>>,
}

#[derive(Deserialize)]
struct Differences {
    name: String,
    differences: Vec<f64>,
    p: f64,
}

#[derive(Deserialize)]
struct Means {
    name: String,
    values: Vec<f64>,
    interval: [f64; 2],
    quantiles: Vec<[f64; 2]>,
}

#[derive(Deserialize)]
struct Scores {
    pairs: Vec<(f64, f64)>,
    counts: Vec<usize>,
    bias: f64,
    mean_absolute_error: f64,
    expected_calibration_error: f64,
    correlation: f64,
}

fn reference() -> Reference {
    serde_json::from_str(include_str!("../../../tests/fixtures/metrics/metrics.json")).unwrap()
}

fn same(what: &str, found: Option<f64>, expected: Option<f64>, tolerance: f64) {
    let agree = match (found, expected) {
        (Some(found), Some(expected)) => (found - expected).abs() <= tolerance * expected.abs().max(1.0),
        (found, expected) => found == expected,
    };
    assert!(agree, "{what}: {found:?}, expected {expected:?}");
}

#[test]
fn masks_agree_as_monai_says() {
    let reference = reference();
    for masks in &reference.masks {
        let mask = |pixels: &str| {
            let size = Size::new(masks.height, pixels.len() as u32 / masks.height);
            Mask::new(size, pixels.bytes().map(|b| b == b'#').collect())
        };
        let (predicted, truth) = (mask(&masks.predicted), mask(&masks.truth));
        let found = overlap(&predicted, &truth);
        let name = &masks.name;
        same(&format!("Dice of {name}"), found.map(|o| o.dice), masks.dice, SINGLE);
        same(&format!("IoU of {name}"), found.map(|o| o.iou), masks.iou, SINGLE);
        same(&format!("precision of {name}"), found.and_then(|o| o.precision), masks.precision, DOUBLE);
        same(&format!("recall of {name}"), found.map(|o| o.recall), masks.recall, DOUBLE);
        for (&tolerance, &expected) in reference.tolerances.iter().zip(&masks.surface_dice) {
            let found = surface_distance(&predicted, &truth, tolerance);
            same(&format!("HD95 of {name}"), found.hd95, masks.hd95, SINGLE);
            same(&format!("surface Dice at {tolerance} of {name}"), found.surface_dice, expected, SINGLE);
        }
    }
}

#[test]
fn paired_tests_are_scipys() {
    for case in reference().differences {
        let Some(found) = wilcoxon(&case.differences) else {
            // SciPy gives that of one pair p = 1; here it is no test.
            assert_eq!((case.name.as_str(), case.p), ("one", 1.0));
            continue;
        };
        assert!((found - case.p).abs() <= 1e-9 * case.p, "{}: {found}, expected {}", case.name, case.p);
    }
}

#[test]
fn quantiles_are_numpys_and_intervals_scipys_within_their_noise() {
    for case in reference().means {
        for [q, expected] in &case.quantiles {
            same(&case.name, quantile(&mut case.values.clone(), *q), Some(*expected), DOUBLE);
        }
        let groups: Vec<String> = (0..case.values.len()).map(|i| i.to_string()).collect();
        let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
        let values: Vec<_> = case.values.iter().copied().map(Some).collect();
        let found = Bootstrap::new(&groups, 100_000, 0).interval(&values, 0.95).unwrap();
        let width = case.interval[1] - case.interval[0];
        for (found, expected) in found.into_iter().zip(case.interval) {
            // The error of a 2.5 % quantile of 100,000 draws is about 0.2 % of the width; both sides have it.
            assert!((found - expected).abs() < 0.015 * width, "{}: {found}, expected {expected}", case.name);
        }
    }
}

#[test]
fn calibration_is_numpys() {
    let expected = reference().scores;
    let found = calibration(&expected.pairs);
    assert_eq!(found.bins.iter().map(|bin| bin.targets).collect::<Vec<_>>(), expected.counts);
    for (what, found, expected) in [
        ("bias", found.bias, expected.bias),
        ("error", found.mean_absolute_error, expected.mean_absolute_error),
        ("calibration error", found.expected_calibration_error, expected.expected_calibration_error),
        ("correlation", found.correlation, expected.correlation),
    ] {
        same(what, found, Some(expected), DOUBLE);
    }
}
