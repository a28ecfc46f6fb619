use super::*;

#[test]
fn differences_are_counted_measured_and_placed() {
    let mut tally = Tally::new("x.safetensors", "w");
    let mut add = |row, a: [f64; 6], b: [f64; 6]| tally.add(Some(row), &[2, 3], a.into_iter().zip(b));
    add("first", [0.0, 1.0, 2.0, 3.0, -8.0, 5.0], [0.0, 1.5, 2.0, 3.0, -8.0, 5.0]);
    add("second", [0.0, 1.0, 2.0, 3.0, -8.0, 5.0], [0.0, 1.0, 2.25, 3.0, -7.0, 5.0]);
    let found = tally.end();
    assert_eq!((found.elements, found.differing), (12, 3));
    assert_eq!((found.max_abs, found.max_relative), (Some(1.0), Some(0.125)));
    assert_eq!(found.mean_abs, Some(1.75 / 12.0));
    let place = Place { row: Some("second".into()), index: vec![1, 1], a: -8.0, b: -7.0 };
    assert_eq!(found.at, Some(place));
    assert_eq!(found.not_finite, NotFinite::default());
}

#[test]
fn what_is_no_number_is_counted_apart() {
    let mut tally = Tally::new("x", "y");
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    let pairs = [(nan, nan), (inf, inf), (inf, -inf), (nan, 1.0), (2.0, nan), (4.0, 3.0), (1.0, 1.0)];
    tally.add(None, &[7], pairs.into_iter());
    let found = tally.end();
    assert_eq!(found.not_finite, NotFinite { a: 4, b: 4, differing: 3 });
    assert_eq!((found.elements, found.differing), (7, 1));
    assert_eq!((found.max_abs, found.mean_abs), (Some(1.0), Some(0.5)));
    assert_eq!((found.max_relative, found.at.unwrap().index), (Some(0.25), vec![5]));
}

#[test]
fn equal_numbers_and_none_do_not_differ() {
    let mut tally = Tally::new("x", "y");
    tally.add(None, &[2], [(0.0, -0.0), (f64::NAN, f64::NAN)].into_iter());
    assert!(!tally.end().differ());
    let equal = |found: Numbers| (found.differ(), found.max_abs, found.max_relative, found.mean_abs);
    let mut zeros = Tally::new("x", "y");
    zeros.add(None, &[1], [(0.0, 0.0)].into_iter());
    assert_eq!(equal(zeros.end()), (false, Some(0.0), Some(0.0), Some(0.0)));
    // Of nothing, and of what is no number, there is no difference to state.
    assert_eq!(equal(Tally::new("x", "y").end()), (false, None, None, None));
    let mut nans = Tally::new("x", "y");
    nans.add(None, &[1], [(f64::NAN, 1.0)].into_iter());
    assert_eq!(equal(nans.end()), (true, None, None, None));
    let mut far = Tally::new("x", "y");
    far.add(None, &[2], [(f64::MAX, f64::MIN); 2].into_iter());
    let json = serde_json::to_value(far.end()).unwrap();
    assert!(json["max_abs"].is_f64() && json["mean_abs"].is_f64(), "{json}");
    assert_eq!(index(0, &[]), [0; 0]);
}
