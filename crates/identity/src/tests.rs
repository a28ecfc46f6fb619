use super::*;
use std::fs;

fn build() -> Build {
    Build { rustc: "rustc 1".into(), profile: "release".into(), rustflags: String::new(), features: vec![] }
}

fn workspace(dir: &Path) {
    let files = [
        (
            "Cargo.toml",
            "[workspace]\n[workspace.dependencies]\nb = {path = \"b\"}\nx = \"1\"\nunused = \"1\"",
        ),
        (
            "Cargo.lock",
            "[[package]]\nname='a'\nversion='0'\ndependencies=['b']\n\
             [[package]]\nname='b'\nversion='0'\ndependencies=['x 1.0']\n\
             [[package]]\nname='x'\nversion='1.0'\nchecksum='c1'\n\
             [[package]]\nname='x'\nversion='2.0'\nchecksum='c2'\n",
        ),
        ("a/Cargo.toml", "[package]\nname='a'\n[dependencies]\nb.workspace=true"),
        ("a/src/lib.rs", "a"),
        ("b/Cargo.toml", "[package]\nname='b'\n[dependencies]\nx.workspace=true"),
        ("b/src/lib.rs", "b"),
        ("c/Cargo.toml", "[package]\nname='c'"),
        ("c/src/lib.rs", "c"),
    ];
    for (path, content) in files {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

#[test]
fn it_changes_with_what_matters_and_only_with_that() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    workspace(root);
    let hash = |build: &Build| Workspace::read(root).unwrap().identity(&root.join("a"), build).unwrap().hash;
    let base = hash(&build());
    let edit = |path: &str, from: &str, to: &str| {
        let text = fs::read_to_string(root.join(path)).unwrap();
        assert!(text.contains(from));
        fs::write(root.join(path), text.replace(from, to)).unwrap();
        let changed = hash(&build()) != base;
        fs::write(root.join(path), text).unwrap();
        changed
    };
    assert!(edit("a/src/lib.rs", "a", "aa"), "own source");
    assert!(edit("b/src/lib.rs", "b", "bb"), "source of a dependency");
    assert!(edit("Cargo.toml", "x = \"1\"", "x = {version=\"1\", features=[\"f\"]}"), "features");
    assert!(edit("Cargo.lock", "c1", "c3"), "resolved version");
    assert!(!edit("Cargo.lock", "c2", "c3"), "a version it does not resolve to");
    assert!(!edit("Cargo.toml", "unused = \"1\"", "unused = \"2\""), "a dependency of others");
    assert!(!edit("c/src/lib.rs", "c", "cc"), "an unrelated crate");
    assert_ne!(base, hash(&Build { profile: "debug".into(), ..build() }));
    assert_ne!(base, hash(&Build { features: vec!["FAST".into()], ..build() }));
    assert_eq!(base, hash(&build()));
}

#[test]
fn a_missing_package_is_named() {
    let dir = tempfile::tempdir().unwrap();
    workspace(dir.path());
    fs::write(dir.path().join("Cargo.lock"), "").unwrap();
    let workspace = Workspace::read(dir.path()).unwrap();
    let error = workspace.identity(&dir.path().join("a"), &build()).unwrap_err();
    assert!(error.to_string().contains("does not list a"), "{error}");
}
