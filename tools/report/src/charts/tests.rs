use super::*;

#[test]
fn ranges_hold_their_values_and_end_in_round_numbers() {
    for (values, expected) in [
        (vec![0.81, 0.93], 0.8..0.95),
        (vec![0.0, 1.0], 0.0..1.0),
        (vec![], 0.0..1.0),
        (vec![0.5], 0.495..0.505),
        (vec![1.4, 3.8], 1.0..4.0),
    ] {
        let found = range(values.iter().copied());
        let close = |a: f64, b: f64| (a - b).abs() < 0.011;
        assert!(
            close(found.start, expected.start) && close(found.end, expected.end),
            "{values:?}: {found:?}"
        );
        assert!(values.iter().all(|value| found.contains(value) || *value == found.end));
    }
}
