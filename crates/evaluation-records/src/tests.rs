use super::{Metrics, SizeClass};

// The schema needs the enums of other crates with `JsonSchema`, which only tests derive. So they are compiled here once more.
#[path = "../../checkpoint-records/src/selected_by.rs"]
mod selected_by;
#[path = "../../target-records/src/split.rs"]
mod split;

pub use selected_by::SelectedBy;
pub use split::Split;

#[test]
fn a_bound_belongs_to_the_class_above_it() {
    for (fraction, class) in [
        (0.001, SizeClass::Small),
        (0.05, SizeClass::Medium),
        (0.19, SizeClass::Medium),
        (0.2, SizeClass::Large),
        (1.0, SizeClass::Large),
    ] {
        assert_eq!(SizeClass::of(fraction, [0.05, 0.2]), class, "{fraction}");
    }
}

/// The schema that users read is that of the types. `RESECT_UPDATE=1 cargo test` writes it anew.
#[test]
fn the_schema_in_the_documentation_is_that_of_the_types() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/schema/metrics.schema.json");
    let schema = serde_json::to_string_pretty(&schemars::schema_for!(Metrics)).unwrap() + "\n";
    if std::env::var_os("RESECT_UPDATE").is_some() {
        std::fs::write(path, &schema).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), schema, "docs/schema/metrics.schema.json is old");
}
