use super::*;
use serde_json::json;

#[test]
fn leaves_that_differ_are_named_by_their_place() {
    let a = json!({"dtype": "f16", "rows": 3, "all": [{"dice": 0.5}, {"dice": 0.25}], "gone": []});
    let b = json!({"dtype": "f32", "rows": 3, "all": [{"dice": 0.5}, {"dice": 0.75}, 1]});
    let mut found = Vec::new();
    fields("x.json", &a, &b, &mut found);
    let found: Vec<_> = found.into_iter().map(|f| (f.field, f.a, f.b)).collect();
    let expected = [
        ("all[1].dice".to_owned(), Some(json!(0.25)), Some(json!(0.75))),
        ("dtype".into(), Some(json!("f16")), Some(json!("f32"))),
        ("gone".into(), Some(json!([])), None),
        ("all[2]".into(), None, Some(json!(1))),
    ];
    assert_eq!(found, expected);
}
