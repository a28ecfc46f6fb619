use resect_geometry::Size;

use super::*;

fn mask(row: &str) -> Mask {
    Mask::new(Size::new(1, row.len() as u32), row.bytes().map(|b| b == b'#').collect())
}

#[test]
fn overlaps_by_hand() {
    for (predicted, truth, dice, iou, precision, recall) in [
        ("##..", "##..", 1.0, 1.0, Some(1.0), 1.0),
        ("##..", "..##", 0.0, 0.0, Some(0.0), 0.0),
        ("###.", ".##.", 0.8, 2.0 / 3.0, Some(2.0 / 3.0), 1.0),
        ("....", ".##.", 0.0, 0.0, None, 0.0),
        ("####", "#...", 0.4, 0.25, Some(0.25), 1.0),
        ("#...", "####", 0.4, 0.25, Some(1.0), 0.25),
    ] {
        let expected = Overlap { dice, iou, precision, recall };
        assert_eq!(overlap(&mask(predicted), &mask(truth)), Some(expected), "{predicted} {truth}");
    }
}

#[test]
fn without_truth_there_is_no_figure() {
    assert_eq!(overlap(&mask("...."), &mask("....")), None);
    assert_eq!(overlap(&mask("##.."), &mask("....")), None);
    assert_eq!(mean_absolute_error([].into_iter()), None);
}

#[test]
fn errors_of_probabilities_count_both_ways() {
    assert_eq!(mean_absolute_error([(0.75, true), (0.25, false), (1.0, false)].into_iter()), Some(0.5));
}
