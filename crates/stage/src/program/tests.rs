use super::*;

#[test]
fn levels_that_cannot_be_read_are_an_error() {
    let warn = Targets::new().with_default(LevelFilter::WARN);
    assert_eq!(levels(Err(VarError::NotPresent)), Ok(warn));
    assert_eq!(levels(Ok("debug".into())), Ok(Targets::new().with_default(LevelFilter::DEBUG)));
    let error = levels(Ok("resect_train=loud".into())).unwrap_err();
    assert!(error.starts_with("is \"resect_train=loud\": "), "{error}");
    assert!(levels(Err(VarError::NotUnicode("x".into()))).is_err());
}
