//! Parsed TOML as text that depends on its values alone: not on comments, layout or the order of keys.

use toml::{Table, Value};

/// The text of a value.
pub(crate) fn value(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text:?}"),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => format!("{number:?}"),
        Value::Boolean(flag) => flag.to_string(),
        Value::Datetime(time) => time.to_string(),
        Value::Array(items) => format!("[{}]", items.iter().map(self::value).collect::<Vec<_>>().join(",")),
        Value::Table(entries) => table(entries),
    }
}

/// The text of a table, its keys sorted.
pub(crate) fn table(entries: &Table) -> String {
    let mut parts: Vec<String> =
        entries.iter().map(|(key, item)| format!("{key:?}={}", value(item))).collect();
    parts.sort();
    format!("{{{}}}", parts.join(","))
}
