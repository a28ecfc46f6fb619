//! SAM's `config.json`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use resect_checkpoint::{NAMED_CONFIGS, SamConfig, original_names, tensors};
use resect_fuzz::begin;

fn seeds() -> Vec<Vec<u8>> {
    NAMED_CONFIGS.iter().filter_map(|name| Some(SamConfig::named(name)?.to_json().into_bytes())).collect()
}

fuzz_target!(init: begin("config", seeds()), |text: &str| {
    let Ok(config) = SamConfig::from_json(text) else { return };
    if config.validate().is_err() {
        return;
    }
    assert_eq!(SamConfig::from_json(&config.to_json()).as_ref(), Ok(&config));
    config.to_preprocessor_json();
    let specs = tensors(&config);
    assert_eq!(original_names(&config).len(), specs.len());
    assert!(specs.iter().all(|spec| spec.elements() > 0));
});
