use super::*;

#[test]
fn sizes_have_the_names_of_the_original_code() {
    let named = |name: &str| SamConfig::named(name).unwrap();
    assert_eq!(size_name(&named("vit-b")), "vit_b");
    let mut config = named("vit-h");
    config.decoder.layer_norm_eps = 1e-5;
    assert_eq!(size_name(&config), "vit_h");
    config.vision.hidden_size = 640;
    assert_eq!(size_name(&config), "custom");
}

#[test]
fn words_reach_the_shell_whole() {
    assert_eq!(quoted("out/polyp-b"), "out/polyp-b");
    assert_eq!(quoted("it's; rm"), "'it'\\''s; rm'");
    assert_eq!(quoted(""), "''");
}

#[test]
fn a_manifest_that_cannot_be_read_is_an_error_and_not_another_model() {
    let dir = tempfile::tempdir().unwrap();
    assert!(Manifest::read(dir.path()).unwrap().is_none());
    let path = dir.path().join(MANIFEST_FILE);
    let manifest = Manifest {
        format: FORMAT.into(),
        layout: Format::Transformers,
        checkpoint: None,
        base: None,
        tuned: Vec::new(),
        iou_head_trained: false,
        lineage: BTreeMap::new(),
        files: BTreeMap::new(),
    };
    let text = serde_json::to_string(&manifest).unwrap();
    std::fs::write(&path, &text).unwrap();
    assert!(!Manifest::read(dir.path()).unwrap().unwrap().iou_head_trained);
    let renamed = text.replace("iou_head_trained", "head_trained");
    for (text, reason) in
        [(renamed, "missing field `iou_head_trained`"), (text.replace("/1.", "/2."), "resect-export/2.")]
    {
        std::fs::write(&path, text).unwrap();
        let error = format!("{:#}", Manifest::read(dir.path()).unwrap_err());
        assert!(error.contains(&path.display().to_string()) && error.contains(reason), "{error}");
    }
}
