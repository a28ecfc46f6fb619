use super::*;

#[test]
fn the_defaults_are_valid_and_unknown_fields_are_not() {
    PhantomParams::default().validate().unwrap();
    assert_eq!(serde_json::from_str::<PhantomParams>("{}").unwrap(), PhantomParams::default());
    assert!(serde_json::from_str::<PhantomParams>(r#"{"image": 3}"#).is_err());
}

#[test]
fn the_error_names_the_field() {
    let base = PhantomParams::default;
    for (params, field) in [
        (PhantomParams { images: 0, ..base() }, "images"),
        (PhantomParams { images: usize::MAX, ..base() }, "images"),
        (PhantomParams { min_width: 3, ..base() }, "min_width"),
        (PhantomParams { max_width: 9999, ..base() }, "max_width"),
        (PhantomParams { max_width: 200, ..base() }, "max_width"),
        (PhantomParams { several_share: -0.1, ..base() }, "several_share"),
        (PhantomParams { validation_share: f64::NAN, ..base() }, "validation_share"),
        (PhantomParams { test_share: 1.5, ..base() }, "test_share"),
        (PhantomParams { test_share: 0.6, validation_share: 0.4, ..base() }, "test_share"),
    ] {
        let error = params.validate().unwrap_err();
        assert_eq!(error.field, field);
        assert!(error.to_string().starts_with(field), "{error}");
    }
}

#[test]
fn splits_have_their_shares_and_never_move() {
    let params = PhantomParams { validation_share: 0.15, test_share: 0.25, ..Default::default() };
    let count = |split| (0..400).filter(|&i| params.split(i) == split).count();
    assert_eq!((count(Split::Train), count(Split::Validation), count(Split::Test)), (240, 60, 100));
    let default = PhantomParams::default();
    assert_eq!((0..320).filter(|&i| default.split(i) == Split::Test).count(), 80);
}
