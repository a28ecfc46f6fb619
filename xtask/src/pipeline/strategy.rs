//! `train.strategy`: names for settings that go together. Each stands for the settings below, and any of them can be given beside it.

use resect_tuning::EncoderTuning;
use serde_json::{Value, json};

/// The settings of `[train]` that a strategy stands for.
pub fn settings(name: &str) -> Option<Value> {
    let encoder = EncoderTuning::of_strategy(name)?;
    Some(match name {
        "decoder" => json!({ "encoder": encoder }),
        "full" => json!({ "encoder": encoder, "learning_rate": 1e-5 }),
        _ => json!({ "encoder": encoder, "learning_rate": 1e-4 }),
    })
}

/// Adds settings that are not given.
pub fn complete(given: &mut Value, preset: Value) {
    let (Some(given), Value::Object(preset)) = (given.as_object_mut(), preset) else { return };
    for (name, value) in preset {
        match given.entry(name) {
            serde_json::map::Entry::Vacant(place) => drop(place.insert(value)),
            serde_json::map::Entry::Occupied(mut place) if value.is_object() => {
                complete(place.get_mut(), value)
            }
            serde_json::map::Entry::Occupied(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
