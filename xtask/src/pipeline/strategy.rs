//! `train.strategy`: names for settings that go together. Each stands for the settings below, and any of them can be given beside it.

use serde_json::{Value, json};

/// The strategies.
pub const NAMES: [&str; 4] = ["decoder", "lora", "late-lora", "full"];

/// The settings of `[train]` that a strategy stands for.
pub fn settings(name: &str) -> Option<Value> {
    Some(match name {
        "decoder" => json!({}),
        "lora" => json!({
            "learning_rate": 1e-4,
            "encoder": { "tune": "lora", "blocks": "all", "targets": ["qkv"], "rank": 8, "alpha": 8.0 },
        }),
        "late-lora" => json!({
            "learning_rate": 1e-4,
            "encoder": { "tune": "lora", "blocks": "late", "targets": ["qkv", "mlp"], "rank": 16, "alpha": 16.0 },
        }),
        "full" => json!({
            "learning_rate": 1e-5,
            "encoder": { "tune": "full", "blocks": "all" },
        }),
        _ => return None,
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
