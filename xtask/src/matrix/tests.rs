use super::*;
use serde_json::json;

fn axis(setting: &str, values: &[Value]) -> Axis {
    Axis { setting: setting.into(), values: values.to_vec(), origin: String::new() }
}

#[test]
fn every_combination_comes_once() {
    let axes =
        [axis("train.loss", &[json!("dice"), json!("ce")]), axis("mask.threshold", &[json!(1), json!(128)])];
    let labels: Vec<String> = combinations(&axes)
        .into_iter()
        .enumerate()
        .map(|(number, settings)| Variant { number, settings }.label())
        .collect();
    let expected = [
        "loss dice, threshold 1",
        "loss dice, threshold 128",
        "loss ce, threshold 1",
        "loss ce, threshold 128",
    ];
    assert_eq!(labels, expected);
    let all: Vec<Variant> = (combinations(&axes).into_iter().enumerate())
        .map(|(number, settings)| Variant { number, settings })
        .collect();
    let common = |numbers: &[usize]| Variant::common_label(numbers.iter().map(|i| &all[*i]));
    assert_eq!([common(&[0, 2]), common(&[2]), common(&[0, 3])], ["threshold 1", "loss ce, threshold 1", ""]);
    assert_eq!(combinations(&[]), [vec![]]);
    let settings = vec![("train.seed".into(), json!(1)), ("split.seed".into(), json!(2))];
    assert_eq!(Variant { number: 0, settings }.label(), "train.seed 1, split.seed 2");
}

#[test]
fn commas_split_where_nothing_holds_them_together() {
    assert_eq!(split("1e-5,3e-5"), Some(vec!["1e-5", "3e-5"]));
    assert_eq!(split("dice, ce"), Some(vec!["dice", "ce"]));
    assert_eq!(split("[0.05, 0.1],[0.1, 0.2]"), Some(vec!["[0.05, 0.1]", "[0.1, 0.2]"]));
    for single in ["1e-5", "[0,1,2]", "'a,b'", "\"a,b\"", r"^(\d{1,2})_", "{a = 1, b = 2}", ""] {
        assert_eq!(split(single), None, "{single}");
    }
}

#[test]
fn an_axis_has_values_and_each_once() {
    assert_eq!(problem(&axis("a.b", &[json!(1), json!(2)])), None);
    assert!(problem(&axis("a.b", &[])).unwrap().starts_with("has no values"));
    assert!(problem(&axis("a.b", &[json!("x"), json!("x")])).unwrap().starts_with("has \"x\" twice"));
    assert!(problem(&axis("train.seeds", &[json!([1])])).unwrap().contains("vary train.seed"));
    for shared in ["runtime.jobs", "remote.push"] {
        let said = problem(&axis(shared, &[json!(1), json!(4)])).unwrap();
        assert!(said.contains("cannot vary in a matrix") && said.contains(shared), "{said}");
    }
}
