use super::*;

#[test]
fn what_is_close_passes_with_its_largest_difference() {
    let found = compare("x", &[1.0, -4.02, 2.0], &[1.0, -4.0, 2.01], 1e-2).unwrap();
    assert!((found - 0.005).abs() < 1e-6, "{found}");
    assert_eq!(compare("x", &[0.0; 3], &[0.0; 3], 1e-2), Ok(0.0));
    assert_eq!(compare("x", &[], &[], 1e-2), Ok(0.0));
}

#[test]
fn what_is_wrong_is_named() {
    let found = compare("the logits", &[1.0, 0.0, 2.0], &[1.0, -4.0, 2.0], 1e-2).unwrap_err();
    assert_eq!((found.index, found.device, found.cpu, found.allowed), (1, 0.0, -4.0, 0.04));
    let text = found.to_string();
    assert!(text.contains("the logits differs by 4.000e0 (at most 4.000e-2 is allowed)"), "{text}");
    // Wherever they lie: no number, one too many, one too few, something where there should be nothing.
    for (device, cpu) in [
        (&[1.0, f32::NAN][..], &[1.0, 2.0][..]),
        (&[f32::NEG_INFINITY, 2.0], &[1.0, 2.0]),
        (&[1.0, 2.0, 3.0], &[1.0, 2.0]),
        (&[1.0], &[1.0, 2.0]),
        (&[0.0, 1e-9], &[0.0, 0.0]),
    ] {
        assert!(compare("x", device, cpu, 1e-2).is_err(), "{device:?} {cpu:?}");
        assert!(compare_whole("x", device, cpu, 1e-2, 0.0).is_err(), "{device:?} {cpu:?}");
    }
}

#[test]
fn as_a_whole_one_number_may_differ_more() {
    let cpu = [3.0, 0.1, 4.0];
    let whole = |device: &[f32], tolerance, least| compare_whole("x", device, &cpu, tolerance, least);
    let share = whole(&[3.0, 0.4, 4.0], 0.1, 0.0).unwrap();
    assert!((share - 0.06).abs() < 1e-4, "{share}");
    let error = whole(&[3.0, 0.4, 4.0], 0.05, 0.0).unwrap_err();
    assert!((error.difference - 0.3).abs() < 1e-6 && error.index == 1, "{error}");
    assert!(whole(&[3.0, 0.4, 4.0], 0.05, 0.31).is_ok());
}
