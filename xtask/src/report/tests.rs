use super::*;

#[test]
fn the_command_is_that_of_the_run() {
    let pipeline = workspace::root().join("pipelines/my file.toml");
    let record = |pipeline: &Path, more: Value| {
        let mut record = json!({
            "run": "r", "pipeline": pipeline, "settings": {}, "started": "2026", "seconds": 1.0, "sources": [], "stages": [],
        });
        record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value::<RunRecord>(record).unwrap()
    };
    let run = record(
        &pipeline,
        json!({
            "set": ["train.epochs=3", "train.seeds=[0,1]"], "device": "cuda:1",
            "checkout": { "commit": "abc", "changed": true },
        }),
    );
    let told = reproduce(Some(&run), &Lineage::default());
    assert_eq!(
        told.command,
        "cargo xtask run --pipeline 'pipelines/my file.toml' --set 'train.epochs=3' --set 'train.seeds=[0,1]' --device \
         'cuda:1'"
    );
    assert_eq!((told.commit.as_deref(), told.dirty, told.caveats.len()), (Some("abc"), true, 0));
    let default = record(&workspace::root().join("pipeline.toml"), json!({ "set": [] }));
    assert_eq!(reproduce(Some(&default), &Lineage::default()).command, "cargo xtask run");
    assert_eq!(reproduce(None, &Lineage::default()).caveats.len(), 1);
    let old = record(&workspace::root().join("pipeline.toml"), json!({}));
    assert!(reproduce(Some(&old), &Lineage::default()).caveats[0].contains("did not record --set"));
}

#[test]
fn settings_stand_in_the_files_order_with_the_files_words() {
    let settings = json!({
        "train": { "epochs": 3, "seed": 0, "loss": "dice-ce" }, "dataset": { "kind": "phantom" }, "seeds": [4, 5],
    });
    let sections = sections(&settings);
    assert_eq!(
        sections.iter().map(|section| section.name.as_str()).collect::<Vec<_>>(),
        ["dataset", "train"]
    );
    let of_train = &sections[1].values;
    assert!(of_train.contains(&("loss".into(), "\"dice-ce\"".into())));
    assert!(of_train.contains(&("seeds".into(), "[4,5]".into())));
    assert!(!of_train.iter().any(|(name, _)| name == "seed"));
}

#[test]
fn names_tell_no_path() {
    let folder = Origin::Folder { path: "/home/me/polyps/".into() };
    assert_eq!(dataset_name(Some(&folder)), "polyps");
    let hub = Origin::Hub { repository: "facebook/sam-vit-base".into() };
    assert_eq!(base_name(Some(&hub)), "facebook/sam-vit-base");
    assert_eq!(base_name(None), "a base of which no record is left");
}
