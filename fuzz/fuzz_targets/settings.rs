//! Settings as a pipeline file states them: each section from TOML to its type, and its check.
#![no_main]

use libfuzzer_sys::fuzz_target;
use resect_embed_params::EmbedParams;
use resect_evaluate_params::EvaluateParams;
use resect_fuzz::begin;
use resect_ingest_params::{IngestLimits, Layout, MaskParams, SplitParams};
use resect_params::{Problems, Runtime};
use resect_train_params::TrainParams;
use serde::Serialize;
use serde::de::DeserializeOwned;

fn seeds() -> Vec<Vec<u8>> {
    fn section(name: &str, value: impl Serialize) -> Vec<u8> {
        let text = toml::to_string(&value).expect("defaults are TOML");
        format!("[{name}]\n{text}").into_bytes()
    }
    vec![
        section("mask", MaskParams::default()),
        section("split", SplitParams::default()),
        section("ingest", IngestLimits::default()),
        section("embed", EmbedParams::default()),
        section("train", TrainParams::default()),
        section("evaluate", EvaluateParams::default()),
        section("runtime", Runtime::default()),
        b"[layout]\nkind = \"parquet\"\nimage_column = \"a\"\nmask_column = \"b\"\nid_column = \"\"\ngroup_column = \"\""
            .into(),
    ]
}

/// What the section says, and that it says the same after it went through JSON, as on the way to a stage.
fn read<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(
    table: &toml::Table,
    name: &str,
) -> Option<T> {
    let section: T = table.get(name)?.clone().try_into().ok()?;
    let json = serde_json::to_string(&section).expect("settings are JSON");
    if !json.contains("null") {
        assert_eq!(serde_json::from_str::<T>(&json).expect("and read again"), section);
    }
    Some(section)
}

fuzz_target!(init: begin("settings", seeds()), |text: &str| {
    let Ok(table) = text.parse::<toml::Table>() else { return };
    let mut problems = Problems::default();
    if let Some(section) = read::<MaskParams>(&table, "mask") {
        section.check(&mut problems);
    }
    if let Some(section) = read::<SplitParams>(&table, "split") {
        section.check(&mut problems);
    }
    if let Some(section) = read::<IngestLimits>(&table, "ingest") {
        section.check(&mut problems);
    }
    if let Some(section) = read::<TrainParams>(&table, "train") {
        section.check(&mut problems);
    }
    if let Some(section) = read::<EvaluateParams>(&table, "evaluate") {
        section.check(&mut problems);
    }
    if let Some(section) = read::<Runtime>(&table, "runtime") {
        section.check(&mut problems);
    }
    read::<EmbedParams>(&table, "embed");
    read::<Layout>(&table, "layout");
    assert!(problems.0.iter().all(|problem| !problem.message.is_empty()));
});
