use super::*;
use serde_json::json;

#[test]
fn fields_that_differ_are_told_from_both_sides() {
    let a = [("x".to_owned(), json!(1)), ("same".to_owned(), json!("s"))];
    let b = [("y".to_owned(), json!(2)), ("same".to_owned(), json!("s"))];
    let expected = [("x", json!(1), Value::Null), ("y", Value::Null, json!(2))];
    let expected = expected.map(|(field, a, b)| Field { field: field.to_owned(), a, b });
    assert_eq!(fields(a.into(), b.into()), expected);
    assert_eq!(short(&json!("0123456789abcdef".repeat(4))), "0123456789ab");
}
