//! Every setting with a value of every wrong type: an error, and never another value in silence.

use resect_embed_params::EmbedParams;
use resect_evaluate_params::EvaluateParams;
use resect_ingest_params::{IngestLimits, MaskParams, SplitParams};
use resect_params::{Problems, Runtime};
use resect_train_params::TrainParams;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use toml::{Table, Value};

/// One value of each kind that TOML has, and numbers at their limits.
fn values() -> Vec<Value> {
    let table = |text: &str| text.parse::<Table>().unwrap();
    let mut all: Vec<Value> = vec![
        Value::Boolean(true),
        Value::String(String::new()),
        Value::String("no such word".into()),
        Value::String("1".into()),
        Value::Array(Vec::new()),
        Value::Array(vec![Value::Array(Vec::new())]),
        Value::Array(vec![Value::Boolean(false)]),
        Value::Array(vec![Value::Integer(-1)]),
        Value::Array(vec![Value::Float(f64::NAN)]),
        Value::Table(Table::new()),
        table("x = 2026-01-01").remove("x").unwrap(),
    ];
    all.extend([i64::MIN, -1, 0, 1, 256, 1 << 32, i64::MAX].map(Value::Integer));
    all.extend([f64::NAN, f64::INFINITY, -0.5, 0.5, 1e300].map(Value::Float));
    all
}

/// A number of a list, in a form that can be compared; of other values their text.
fn float(value: &Value) -> String {
    match value {
        Value::Integer(number) => format!("{:?}", *number as f64),
        Value::Float(number) => format!("{number:?}"),
        other => format!("{other:?}"),
    }
}

/// Puts every value in the place of every setting of a section; how often it was accepted, its check included.
fn every<T>(check: impl Fn(&T, &mut Problems)) -> usize
where
    T: Default + Serialize + DeserializeOwned + PartialEq + Debug,
{
    let defaults = Table::try_from(T::default()).unwrap();
    assert!(!defaults.is_empty());
    let mut accepted = 0;
    let settings = defaults.iter().flat_map(|(name, value)| {
        let inner = value.as_table().into_iter().flat_map(Table::keys).map(|inner| Some(inner.clone()));
        inner.chain([None]).map(|inner| (name.clone(), inner))
    });
    for (table, inner) in settings {
        for value in values() {
            let mut section = defaults.clone();
            let name = match &inner {
                None => {
                    section.insert(table.clone(), value.clone());
                    &table
                }
                Some(name) => {
                    section[&table].as_table_mut().unwrap().insert(name.clone(), value.clone());
                    name
                }
            };
            // As text, so that an error has a place, as that of a file has.
            let read: T = match toml::from_str(&toml::to_string(&section).unwrap()) {
                Ok(read) => read,
                Err(error) => {
                    assert!(error.to_string().contains(name.as_str()), "{name} = {value}: {error}");
                    continue;
                }
            };
            // Accepted: then it is this value, and not another one that it was turned into.
            let written = Table::try_from(&read).unwrap();
            let found = inner.as_ref().map_or(&written[&table], |inner| &written[&table][inner]);
            let is_same = match (found, &value) {
                // A table that sets nothing leaves the defaults.
                (found, Value::Table(given)) if given.is_empty() => *found == defaults[&table],
                (Value::Float(a), Value::Integer(b)) => *a == *b as f64,
                (Value::Array(a), Value::Array(b)) => a.iter().map(float).eq(b.iter().map(float)),
                (a, b) => format!("{a:?}") == format!("{b:?}"),
            };
            assert!(is_same, "{name} = {value} became {found}");
            let mut problems = Problems::default();
            check(&read, &mut problems);
            for problem in &problems.0 {
                assert!(problem.setting.contains('.') && !problem.message.is_empty(), "{problem}");
            }
            accepted += usize::from(problems.0.is_empty());
        }
    }
    let mut unknown = defaults;
    unknown.insert("no_such_setting".into(), Value::Integer(1));
    let error = toml::from_str::<T>(&toml::to_string(&unknown).unwrap()).unwrap_err().to_string();
    assert!(error.contains("no_such_setting"), "{error}");
    accepted
}

#[test]
fn a_setting_is_read_as_it_stands_or_refused() {
    let accepted = [
        every(MaskParams::check),
        every(SplitParams::check),
        every(IngestLimits::check),
        every(TrainParams::check),
        every(EvaluateParams::check),
        every(Runtime::check),
    ];
    assert!(accepted.iter().all(|&accepted| accepted > 0), "some value fits somewhere: {accepted:?}");
    assert_eq!(every(|_: &EmbedParams, _| {}), 0, "words alone, and none of these");
}

#[test]
fn no_number_that_is_none_passes_a_check() {
    fn passes<T: DeserializeOwned>(text: &str, check: impl Fn(&T, &mut Problems)) -> bool {
        let mut problems = Problems::default();
        check(&toml::from_str(text).unwrap(), &mut problems);
        problems.0.is_empty()
    }
    let of_train = [
        "learning_rate",
        "min_learning_rate",
        "clip_norm",
        "weight_decay",
        "beta1",
        "beta2",
        "epsilon",
        "ema",
        "box_share",
    ];
    for value in ["nan", "-nan", "inf", "-inf"] {
        for name in of_train {
            assert!(!passes(&format!("{name} = {value}"), TrainParams::check), "train.{name} = {value}");
        }
        for name in ["validation_share", "test_share"] {
            assert!(!passes(&format!("{name} = {value}"), SplitParams::check), "split.{name} = {value}");
        }
        assert!(!passes(&format!("max_rejected = {value}"), IngestLimits::check));
        assert!(!passes(&format!("surface_tolerance = {value}"), EvaluateParams::check));
        assert!(!passes(&format!("size_bounds = [0.1, {value}]"), EvaluateParams::check));
        assert!(!passes(&format!("memory = {value}"), Runtime::check));
    }
}
