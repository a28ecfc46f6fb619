use super::*;

#[test]
fn every_file_of_either_side_has_a_state() {
    let dir = tempfile::tempdir().unwrap();
    let write = |path: &str, bytes: &[u8]| {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    // Longer than a piece, and another one from its last byte on.
    let mut long = vec![7; (1 << 20) + 9];
    write("a/long", &long);
    *long.last_mut().unwrap() = 8;
    write("b/long", &long);
    for (path, bytes) in [
        ("a/deep/same", "x"),
        ("b/deep/same", "x"),
        ("a/shorter", "x"),
        ("b/shorter", "xy"),
        ("a/old", ""),
        ("b/new", ""),
        ("a/manifest.json", "1"),
        ("b/manifest.json", "2"),
    ] {
        write(path, bytes.as_bytes());
    }
    let found = compare(&dir.path().join("a"), &dir.path().join("b")).unwrap();
    let found: Vec<_> = found.iter().map(|file| (file.path.as_str(), file.state)).collect();
    let expected = [
        ("deep/same", State::Equal),
        ("long", State::Differs),
        ("new", State::OnlyB),
        ("old", State::OnlyA),
        ("shorter", State::Differs),
    ];
    assert_eq!(found, expected);
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_could_be_taken_for_one_another_are_refused() {
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    for name in [b"\xfe.json", b"\xff.json"] {
        std::fs::write(dir.path().join(std::ffi::OsStr::from_bytes(name)), "x").unwrap();
    }
    let error = compare(dir.path(), dir.path()).unwrap_err().to_string();
    assert!(error.ends_with("is not valid UTF-8; rename it to compare the folders"), "{error}");
}
