use super::*;

#[test]
fn a_summary_of_another_major_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut summary = Summary {
        format: FORMAT.into(),
        epoch: 2,
        epochs: 3,
        stopped_early: true,
        selected_by: SelectedBy::LastEpoch,
        validation_dice: None,
        tuning: Tuning::default(),
        prompts: Some("box".into()),
        iou_head_trained: false,
    };
    let path = dir.path().join(SUMMARY_FILE);
    resect_data::write_json(&path, &summary).unwrap();
    assert_eq!(Summary::read(dir.path()).unwrap(), summary);
    let older = r#"{"format":"resect-checkpoint/1.0","epoch":2,"epochs":3,"selected_by":"last_epoch","validation_dice":null}"#;
    std::fs::write(&path, older).unwrap();
    let read = Summary::read(dir.path()).unwrap();
    assert!(!read.stopped_early);
    // Then the decoder alone was tuned.
    assert_eq!(read.tuning, Tuning::default());
    assert!(read.weights(dir.path()).ends_with("decoder.safetensors"));
    assert!(summary.weights(dir.path()).ends_with("tuned.safetensors"));
    summary.format = "resect-checkpoint/3.0".into();
    resect_data::write_json(&path, &summary).unwrap();
    assert!(matches!(Summary::read(dir.path()), Err(DataError::Format { .. })));
    std::fs::write(&path, "{").unwrap();
    assert!(matches!(Summary::read(dir.path()), Err(DataError::Damaged { .. })));
}
