//! JSON files, leaf by leaf.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use crate::Report;

/// Something that both sides state, or one of them, and that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Field {
    /// The file.
    pub file: String,
    /// Where in it: `methods[4].all.dice`.
    pub field: String,
    /// What the first side states; null where it does not.
    pub a: Option<Value>,
    /// What the second states.
    pub b: Option<Value>,
}

pub(crate) fn compare(file: &str, a: &Path, b: &Path, report: &mut Report) -> Result<(), String> {
    let (a, b) = (read(a)?, read(b)?);
    fields(file, &a, &b, &mut report.metadata);
    Ok(())
}

fn read(path: &Path) -> Result<Value, String> {
    let text = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_slice(&text).map_err(|error| format!("{} is no JSON: {error}", path.display()))
}

/// Adds the leaves in which two values differ.
fn fields(file: &str, a: &Value, b: &Value, into: &mut Vec<Field>) {
    let (mut of_a, mut of_b) = (BTreeMap::new(), BTreeMap::new());
    leaves(a, String::new(), &mut of_a);
    leaves(b, String::new(), &mut of_b);
    add(file, of_a, of_b, into);
}

/// Adds the entries in which two maps differ, those of the first side first.
pub(crate) fn add(
    file: &str,
    a: BTreeMap<String, Value>,
    mut b: BTreeMap<String, Value>,
    into: &mut Vec<Field>,
) {
    for (field, a) in a {
        let b = b.remove(&field);
        if b.as_ref() != Some(&a) {
            into.push(Field { file: file.into(), field, a: Some(a), b });
        }
    }
    into.extend(b.into_iter().map(|(field, b)| Field { file: file.into(), field, a: None, b: Some(b) }));
}

/// All values that hold no others, by their place; an empty list or object is one.
fn leaves(value: &Value, place: String, into: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                let dot = if place.is_empty() { "" } else { "." };
                leaves(value, format!("{place}{dot}{name}"), into);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                leaves(item, format!("{place}[{index}]"), into);
            }
        }
        leaf => drop(into.insert(place, leaf.clone())),
    }
}

#[cfg(test)]
mod tests;
