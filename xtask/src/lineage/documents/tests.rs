use super::*;
use serde_json::{Value, json};

/// The message of a document that lacks a field, which is renamed.
fn without<T: DeserializeOwned + std::fmt::Debug>(document: &Value, pointer: &str) -> String {
    assert!(serde_json::from_value::<T>(document.clone()).is_ok(), "{document}");
    let (above, field) = pointer.rsplit_once('/').unwrap();
    let mut document = document.clone();
    let object = document.pointer_mut(above).unwrap().as_object_mut().unwrap();
    let value = object.remove(field).unwrap();
    object.insert(format!("{field}_renamed"), value);
    serde_json::from_value::<T>(document).unwrap_err().to_string()
}

#[test]
fn a_renamed_field_is_an_error_even_where_it_may_be_null() {
    let estimate = json!({"mean": null, "interval": null});
    let figures = json!({"dice": estimate, "iou": estimate, "hd95": estimate, "surface_dice": estimate});
    let totals = json!({"targets": 0, "original": figures, "low_res": figures});
    let evaluation = json!({
        "targets": 0, "images": 0, "settings": {"surface_tolerance": 2.0, "size_bounds": [0.05, 0.2]},
        "methods": [{"method": "tuned", "all": totals, "classes": []}],
    });
    for pointer in [
        "/targets",
        "/settings/size_bounds",
        "/methods/0/all/original/surface_dice",
        "/methods/0/all/original/dice/mean",
        "/methods/0/all/low_res/dice/interval",
    ] {
        let field = pointer.rsplit('/').next().unwrap();
        assert!(without::<Evaluation>(&evaluation, pointer).contains(&format!("missing field `{field}`")));
    }
    let summary = json!({"epoch": 2, "epochs": 3, "selected_by": "last_epoch", "validation_dice": null});
    for field in ["epoch", "selected_by", "validation_dice"] {
        let message = without::<Summary>(&summary, &format!("/{field}"));
        assert!(message.contains(&format!("missing field `{field}`")), "{message}");
    }
    let origin = json!({"kind": "hub", "repository": "owner/name", "revision": "main"});
    assert!(without::<Origin>(&origin, "/repository").contains("missing field `repository`"));
    assert!(without::<Origin>(&origin, "/kind").contains("missing field `kind`"));
}

#[test]
fn an_artifact_that_is_gone_is_none_and_one_that_is_damaged_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let id = ArtifactId::of(b"x");
    let read = || read::<Summary>(&store, "checkpoint", &id, "checkpoint.json");
    assert!(read().unwrap().is_none());
    std::fs::create_dir_all(store.path("checkpoint", &id)).unwrap();
    let error = format!("{:#}", read().unwrap_err());
    assert!(error.contains("checkpoint.json") && error.contains("cargo xtask verify"), "{error}");
}
