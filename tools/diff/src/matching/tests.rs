use super::*;

#[test]
fn rows_are_matched_by_name_wherever_they_lie() {
    let matched = Matched::of("t", &["a", "b", "c", "b"], &["b", "x", "a", "b", "y"]);
    assert_eq!(matched.pairs, [(0, 2), (1, 0), (3, 3)]);
    let Rows { both, only_a, only_b, first_only_a, first_only_b, reordered, .. } = matched.rows;
    assert_eq!((both, only_a, only_b, reordered), (3, 1, 2, true));
    assert_eq!((first_only_a, first_only_b), (vec!["c".into()], vec!["x".to_owned(), "y".into()]));
    assert!(!Matched::of("t", &["a", "b"], &["a", "b"]).rows.differ());
    assert!(!Matched::of::<&str>("t", &[], &[]).rows.differ());
}
