use super::*;
use resect_train_params::TrainParams;
use resect_tuning::STRATEGIES;
use serde_json::Map;

#[test]
fn every_strategy_is_a_set_of_settings() {
    let defaults = serde_json::to_value(TrainParams::default()).unwrap();
    for name in STRATEGIES {
        let mut given = Value::Object(Map::new());
        complete(&mut given, settings(name).unwrap());
        // What is named exists, and can have the value.
        let mut all = defaults.clone();
        for (setting, value) in given.as_object().unwrap() {
            match value {
                Value::Object(table) => table.iter().for_each(|(inner, value)| {
                    assert!(all[setting].get(inner).is_some(), "{name}: {setting}.{inner}");
                    all[setting][inner] = value.clone();
                }),
                _ => {
                    assert!(all.get(setting).is_some(), "{name}: {setting}");
                    all[setting] = value.clone();
                }
            }
        }
        serde_json::from_value::<TrainParams>(all).unwrap();
    }
    assert!(settings("magic").is_none());
}

#[test]
fn what_is_given_stays() {
    let mut given = json!({ "epochs": 3, "learning_rate": 1e-3, "encoder": { "rank": 2 } });
    complete(&mut given, settings("lora").unwrap());
    assert_eq!(given["epochs"], 3);
    assert_eq!(given["learning_rate"], 1e-3);
    assert_eq!(given["encoder"]["rank"], 2);
    assert_eq!(given["encoder"]["tune"], "lora");
}
