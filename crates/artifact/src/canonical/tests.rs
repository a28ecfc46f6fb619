use super::*;
use serde_json::json;

#[test]
fn order_of_building_does_not_matter() {
    let a = json!({"b": [1, {"y": 1e-5, "x": "é\n"}], "a": null});
    let b = json!({"a": null, "b": [1, {"x": "é\n", "y": 0.00001}]});
    assert_eq!(canonical_json(&a), canonical_json(&b));
    assert_eq!(
        canonical_json(&a),
        format!("{{\"a\":null,\"b\":[1,{{\"x\":\"é\\n\",\"y\":{}}}]}}", json!(1e-5))
    );
    assert_ne!(canonical_json(&json!(1)), canonical_json(&json!("1")));
}
