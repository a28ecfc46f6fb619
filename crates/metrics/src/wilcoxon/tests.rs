use super::*;

#[test]
fn the_exact_distribution_by_hand() {
    // Of eight choices of signs one has the sum 0 and one the sum 6.
    assert_eq!(wilcoxon(&[1.0, 2.0, 3.0]), Some(0.25));
    assert_eq!(wilcoxon(&[-1.0, 2.0, 3.0]), Some(0.5));
    assert_eq!(wilcoxon(&[1.0, 2.0, -3.0]), Some(1.0));
    assert_eq!(wilcoxon(&[0.0, 0.0]), None);
    assert_eq!(wilcoxon(&[]), None);
    assert_eq!(wilcoxon(&[1.0]), None, "one pair is no test");
    assert_eq!(wilcoxon(&[0.0, 1.0, 0.0]), None);
    assert_eq!(wilcoxon(&[1.0, 2.0]), Some(0.5));
}

#[test]
fn signs_are_alike() {
    let differences: Vec<f64> = (1..80).map(|i| f64::from(i * i % 23) - 9.0).collect();
    let opposite: Vec<f64> = differences.iter().map(|d| -d).collect();
    let (a, b) = (wilcoxon(&differences).unwrap(), wilcoxon(&opposite).unwrap());
    assert!((a - b).abs() < 1e-12 && a > 0.0 && a < 1.0, "{a} {b}");
}
