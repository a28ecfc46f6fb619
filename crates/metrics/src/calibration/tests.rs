use super::*;

#[test]
fn what_lies_outside_belongs_to_the_outermost_bins() {
    let found = calibration(&[(-0.5, 0.0), (1.5, 1.0), (1.0, 0.5), (0.1, 0.25)]);
    assert_eq!(found.bins.iter().map(|bin| bin.targets).collect::<Vec<_>>(), [1, 1, 0, 0, 0, 0, 0, 0, 0, 2]);
    assert_eq!((found.bins[9].predicted, found.bins[9].actual), (Some(1.25), Some(0.75)));
    assert_eq!((found.bins[2].predicted, found.bins[2].actual), (None, None));
}

#[test]
fn nothing_has_no_calibration_and_what_does_not_vary_no_correlation() {
    let none = calibration(&[]);
    assert_eq!((none.bias, none.expected_calibration_error, none.correlation), (None, None, None));
    let flat = calibration(&[(0.5, 0.25), (0.5, 0.75)]);
    assert_eq!((flat.bias, flat.mean_absolute_error, flat.correlation), (Some(0.0), Some(0.25), None));
}
