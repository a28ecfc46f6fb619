use super::*;
use serde_json::json;

#[test]
fn figures_of_another_form_are_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let id = ArtifactId::of(b"x");
    let folder = store.path("evaluation", &id);
    std::fs::create_dir_all(&folder).unwrap();
    let estimate = json!({"mean": null});
    let figures = json!({"dice": estimate, "iou": estimate, "hd95": estimate, "surface_dice": estimate});
    let method = |name: &str| json!({"method": name, "all": {"original": figures, "low_res": figures}});
    let file =
        |method: serde_json::Value| json!({"targets": 3, "checkpoint": {"epoch": 2}, "methods": [method]});
    let read = |text: String| {
        std::fs::write(folder.join("metrics.json"), text).unwrap();
        read(&store, &id).map_err(|error| format!("{error:#}"))
    };
    let whole = file(method("tuned")).to_string();
    let metrics = read(whole.clone()).unwrap();
    assert_eq!((metrics.targets, metrics.epoch, metrics.methods["tuned"]), (3, 2, Figures::default()));
    assert!(read(whole.replace("\"mean\"", "\"average\"")).unwrap_err().contains("missing field `mean`"));
    let other = read(file(method("box")).to_string()).unwrap_err();
    assert!(other.contains("no figures of the tuned decoder"), "{other}");
}
