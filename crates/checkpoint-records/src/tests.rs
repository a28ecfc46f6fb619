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
    };
    let path = dir.path().join(SUMMARY_FILE);
    resect_data::write_json(&path, &summary).unwrap();
    assert_eq!(Summary::read(dir.path()).unwrap(), summary);
    let older = r#"{"format":"resect-checkpoint/1.0","epoch":2,"epochs":3,"selected_by":"last_epoch","validation_dice":null}"#;
    std::fs::write(&path, older).unwrap();
    assert!(!Summary::read(dir.path()).unwrap().stopped_early);
    summary.format = "resect-checkpoint/2.0".into();
    resect_data::write_json(&path, &summary).unwrap();
    assert!(matches!(Summary::read(dir.path()), Err(DataError::Format { .. })));
    std::fs::write(&path, "{").unwrap();
    assert!(matches!(Summary::read(dir.path()), Err(DataError::Damaged { .. })));
}
