//! One reading of a workspace serves several crates, and stays what it was.

use resect_identity::{Build, Workspace};
use std::fs;
use std::path::Path;

fn write(root: &Path, path: &str, content: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

#[test]
fn an_edit_counts_from_the_next_reading_on() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    write(root, "Cargo.toml", "[workspace]");
    write(
        root,
        "Cargo.lock",
        "[[package]]\nname='a'\nversion='0'\ndependencies=['c']\n\
         [[package]]\nname='b'\nversion='0'\ndependencies=['c']\n\
         [[package]]\nname='c'\nversion='0'\n",
    );
    write(root, "a/Cargo.toml", "[package]\nname='a'\n[dependencies]\nc={path='../c'}");
    write(root, "b/Cargo.toml", "[package]\nname='b'\n[dependencies]\nc={path='../c'}");
    write(root, "c/Cargo.toml", "[package]\nname='c'");
    for name in ["a", "b", "c"] {
        write(root, &format!("{name}/src/lib.rs"), name);
    }
    let build = Build {
        rustc: "rustc 1".into(),
        profile: "release".into(),
        rustflags: String::new(),
        features: Vec::new(),
    };
    let identity = |workspace: &Workspace, name| workspace.identity(&root.join(name), &build).unwrap().hash;

    let once = Workspace::read(root).unwrap();
    let before = ["a", "b", "c"].map(|name| identity(&once, name));
    let apart = ["a", "b", "c"].map(|name| identity(&Workspace::read(root).unwrap(), name));
    assert_eq!(before, apart, "what was read for one crate is what another one needs");

    write(root, "c/src/lib.rs", "edited");
    assert_eq!(["a", "b", "c"].map(|name| identity(&once, name)), before);
    let after = ["a", "b", "c"].map(|name| identity(&Workspace::read(root).unwrap(), name));
    for (before, after) in before.iter().zip(&after) {
        assert_ne!(before, after);
    }
}
