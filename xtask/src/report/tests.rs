use super::*;

#[test]
fn the_command_is_that_of_the_run() {
    let pipeline = workspace::root().join("pipelines/my file.toml");
    let run = json!({
        "pipeline": pipeline, "set": ["train.epochs=3", "train.seeds=[0,1]"], "device": "cuda:1",
        "checkout": { "commit": "abc", "changed": true },
    });
    let told = reproduce(&run, &Lineage::default());
    assert_eq!(
        told.command,
        "cargo xtask run --pipeline 'pipelines/my file.toml' --set 'train.epochs=3' --set 'train.seeds=[0,1]' --device \
         'cuda:1'"
    );
    assert_eq!((told.commit.as_deref(), told.dirty, told.caveats.len()), (Some("abc"), true, 0));
    let default = json!({ "pipeline": workspace::root().join("pipeline.toml"), "set": [] });
    assert_eq!(reproduce(&default, &Lineage::default()).command, "cargo xtask run");
    assert_eq!(reproduce(&Value::Null, &Lineage::default()).caveats.len(), 1);
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
    assert_eq!(dataset_name(&json!({ "kind": "folder", "path": "/home/me/polyps/" })), "polyps");
    assert_eq!(
        base_name(&json!({ "kind": "hub", "repository": "facebook/sam-vit-base" })),
        "facebook/sam-vit-base"
    );
    assert_eq!(base_name(&Value::Null), "a base of which no record is left");
}
