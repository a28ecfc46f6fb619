use super::*;
use std::fs;

fn build() -> Build {
    Build { rustc: "rustc 1".into(), profile: "release".into(), rustflags: String::new(), features: vec![] }
}

/// A small workspace: `a` depends on `b`, `b` on the package `real` under the name `x`. `c` is unrelated.
const FILES: [(&str, &str); 14] = [
    (
        "Cargo.toml",
        r#"
        [workspace]
        resolver = "3"
        [workspace.package]
        edition = "2024"
        [workspace.dependencies]
        b = { path = "b" }
        d = { path = "d" }
        x = { package = "real", version = "1" }
        unused = "1"
        [profile.release]
        opt-level = 3
        [profile.release.build-override]
        opt-level = 1
        [profile.release.package."*"]
        codegen-units = 2
        [profile.release.package.real]
        opt-level = 2
        [profile.release.package.b]
        opt-level = 1
        [profile.release.package.unused]
        opt-level = 0
        [profile.dev]
        opt-level = 1
        "#,
    ),
    (
        "Cargo.lock",
        r#"
        [[package]]
        name = "a"
        version = "0.1.0"
        dependencies = ["b", "for-builds", "for-tests", "real 1.0.0"]
        [[package]]
        name = "b"
        version = "0.1.0"
        dependencies = ["a", "d", "for-tests", "real 1.0.0", "windows"]
        [[package]]
        name = "d"
        version = "0.1.0"
        [[package]]
        name = "real"
        version = "1.0.0"
        source = "registry+index"
        checksum = "sum of 1.0.0"
        dependencies = ["below"]
        [[package]]
        name = "real"
        version = "2.0.0"
        source = "registry+index"
        checksum = "sum of 2.0.0"
        [[package]]
        name = "below"
        version = "1.0.0"
        source = "git+https://example.org/below#commit"
        [[package]]
        name = "windows"
        version = "1.0.0"
        source = "registry+index"
        checksum = "sum of windows"
        [[package]]
        name = "for-tests"
        version = "1.0.0"
        source = "registry+index"
        checksum = "sum for tests"
        dependencies = ["real 2.0.0"]
        [[package]]
        name = "for-builds"
        version = "1.0.0"
        source = "registry+index"
        checksum = "sum for builds"
        "#,
    ),
    (
        "a/Cargo.toml",
        r#"
        [package]
        name = "a"
        description = "the program"
        version = "0.1.0"
        edition.workspace = true
        [features]
        fast = []
        [dependencies]
        b = { workspace = true, features = ["loud"] }
        [dev-dependencies]
        for-tests = "1"
        [build-dependencies]
        for-builds = "1"
        [[bin]]
        name = "a"
        path = "src/main.rs"
        test = false
        [[bench]]
        name = "speed"
        [lints]
        workspace = true
        "#,
    ),
    ("a/build.rs", "the build script of a"),
    ("a/src/main.rs", "#[cfg(test)]\nmod tests;\n mod part;"),
    ("a/src/part.rs", "part of a"),
    ("a/src/tests.rs", "unit tests of a"),
    ("a/src/part/tests/data.rs", "data of unit tests"),
    ("a/tests/whole.rs", "a test of a as a whole"),
    (
        "b/Cargo.toml",
        r#"
        [package]
        name = "b"
        edition = "2024"
        [lib]
        doctest = false
        [features]
        loud = ["x/loud"]
        [dependencies]
        d = { path = "../d", optional = true }
        x.workspace = true
        [target.'cfg(windows)'.dependencies]
        windows = "1"
        [dev-dependencies]
        a = { path = "../a" }
        for-tests = "1"
        "#,
    ),
    ("b/src/lib.rs", "the library b"),
    ("d/Cargo.toml", "[package]\nname = 'd'\n"),
    ("d/src/lib.rs", "the library d"),
    ("c/src/lib.rs", "the library c"),
];

struct Sandbox(tempfile::TempDir);

impl Sandbox {
    fn new() -> Self {
        let sandbox = Self(tempfile::tempdir().unwrap());
        for (path, content) in FILES {
            sandbox.write(path, content);
        }
        sandbox
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn identity(&self, build: &Build) -> Result<String, IdentityError> {
        let root = self.0.path();
        Workspace::read(root)?.identity(&root.join("a"), build).map(|identity| identity.hash)
    }

    /// The identity with `from` replaced by `to` in a file, which then is as it was.
    fn edited(&self, path: &str, from: &str, to: &str) -> Result<String, IdentityError> {
        let file = self.0.path().join(path);
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{path} has no {from}");
        fs::write(&file, text.replacen(from, to, 1)).unwrap();
        let identity = self.identity(&build());
        fs::write(&file, text).unwrap();
        identity
    }
}

#[test]
fn what_can_change_the_program_changes_the_identity() {
    let sandbox = Sandbox::new();
    let base = sandbox.identity(&build()).unwrap();
    for (path, from, to) in [
        ("a/src/main.rs", "mod part;", "mod part; // done"),
        ("a/src/part.rs", "part", "piece"),
        ("a/build.rs", "script", "program"),
        ("b/src/lib.rs", "library", "crate"),
        ("d/src/lib.rs", "library", "crate"),
        ("a/Cargo.toml", "fast = []", "fast = ['b/loud']"),
        ("a/Cargo.toml", "[\"loud\"]", "[]"),
        ("a/Cargo.toml", "edition.workspace = true", "edition = '2021'"),
        ("a/Cargo.toml", "name = \"a\"\n        path", "name = \"other\"\n        path"),
        ("b/Cargo.toml", "edition = \"2024\"", "edition = \"2021\""),
        ("b/Cargo.toml", "optional = true", "optional = false"),
        ("b/Cargo.toml", "windows = \"1\"", "windows = { version = \"1\", features = [\"ui\"] }"),
        ("b/Cargo.toml", "cfg(windows)", "cfg(unix)"),
        ("Cargo.toml", "resolver = \"3\"", "resolver = \"2\""),
        ("Cargo.toml", "edition = \"2024\"", "edition = \"2021\""),
        ("Cargo.toml", "version = \"1\" }", "version = \"1\", features = [\"f\"] }"),
        ("Cargo.toml", "opt-level = 3", "opt-level = 2"),
        ("Cargo.toml", "codegen-units = 2", "codegen-units = 1"),
        ("Cargo.toml", "package.real]\n        opt-level = 2", "package.real]\n        opt-level = 3"),
        ("Cargo.toml", "package.b]\n        opt-level = 1", "package.b]\n        opt-level = 3"),
        ("Cargo.lock", "sum of 1.0.0", "another sum"),
        ("Cargo.lock", "#commit", "#later"),
        ("Cargo.lock", "sum of windows", "another sum"),
        ("Cargo.lock", "dependencies = [\"below\"]", "dependencies = []"),
    ] {
        assert_ne!(sandbox.edited(path, from, to).unwrap(), base, "{path}: {from} -> {to}");
    }
    let new = |build: Build| sandbox.identity(&build).unwrap();
    assert_ne!(base, new(Build { rustc: "rustc 2".into(), ..build() }));
    assert_ne!(base, new(Build { profile: "debug".into(), ..build() }));
    assert_ne!(base, new(Build { rustflags: "-Ctarget-cpu=native".into(), ..build() }));
    assert_ne!(base, new(Build { features: vec!["FAST".into()], ..build() }));
    sandbox.write("b/src/more.rs", "");
    assert_ne!(base, new(build()), "a new file");
}

#[test]
fn what_cannot_change_the_program_leaves_the_identity_alone() {
    let sandbox = Sandbox::new();
    let base = sandbox.identity(&build()).unwrap();
    for (path, from, to) in [
        ("a/src/tests.rs", "unit", "more unit"),
        ("a/src/part/tests/data.rs", "data", "more data"),
        ("a/tests/whole.rs", "whole", "part"),
        ("c/src/lib.rs", "library", "crate"),
        ("a/Cargo.toml", "\n", "\n# A comment.\n"),
        ("a/Cargo.toml", "name = \"a\"\n        description = \"the program\"", "name   =   'a'"),
        ("a/Cargo.toml", "version = \"0.1.0\"", "version = \"0.2.0\""),
        ("a/Cargo.toml", "test = false", "test = true"),
        ("a/Cargo.toml", "for-tests = \"1\"", "for-tests = { version = \"1\", features = [\"f\"] }"),
        ("a/Cargo.toml", "for-builds = \"1\"", ""),
        ("a/Cargo.toml", "name = \"speed\"", "name = \"size\""),
        ("a/Cargo.toml", "[lints]\n        workspace = true", ""),
        ("b/Cargo.toml", "doctest = false", ""),
        ("Cargo.toml", "unused = \"1\"", "unused = \"2\""),
        ("Cargo.toml", "build-override]\n        opt-level = 1", "build-override]\n        opt-level = 0"),
        ("Cargo.toml", "package.unused]\n        opt-level = 0", "package.unused]\n        opt-level = 1"),
        ("Cargo.toml", "[profile.dev]\n        opt-level = 1", "[profile.dev]\n        opt-level = 0"),
        ("Cargo.lock", "sum of 2.0.0", "another sum"),
        ("Cargo.lock", "sum for tests", "another sum"),
        ("Cargo.lock", "sum for builds", "another sum"),
        (
            "Cargo.lock",
            "name = \"a\"\n        version = \"0.1.0\"",
            "name = \"a\"\n        version = \"0.2.0\"",
        ),
    ] {
        assert_eq!(sandbox.edited(path, from, to).unwrap(), base, "{path}: {from} -> {to}");
    }
    sandbox.write("a/src/part/tests.rs", "");
    sandbox.write("a/benches/speed.rs", "");
    sandbox.write("c/Cargo.toml", "[package]\nname = 'c'\n");
    assert_eq!(sandbox.identity(&build()).unwrap(), base);
    assert_eq!(
        Sandbox::new().identity(&build()).unwrap(),
        base,
        "the folder of the workspace does not count"
    );
}

#[test]
fn a_package_has_the_version_that_the_lock_file_gives_to_the_crate() {
    let sandbox = Sandbox::new();
    let base = sandbox.identity(&build()).unwrap();
    let at_b = "\"for-tests\", \"real 1.0.0\", \"windows\"";
    assert_ne!(sandbox.edited("Cargo.lock", at_b, &at_b.replace("1.0.0", "2.0.0")).unwrap(), base);
    // Of two versions that the lock file lists for one crate, both count: its tests may be what brings one of them.
    let both = at_b.replace("\"real 1.0.0\"", "\"real 1.0.0\", \"real 2.0.0\"");
    assert_ne!(sandbox.edited("Cargo.lock", at_b, &both).unwrap(), base);
}

#[test]
fn what_a_build_script_watches_has_all_that_counts() {
    let sandbox = Sandbox::new();
    let root = sandbox.0.path();
    let identity = Workspace::read(root).unwrap().identity(&root.join("a"), &build()).unwrap();
    let mut watched: Vec<_> =
        identity.sources.iter().map(|path| path.strip_prefix(root).unwrap().to_str().unwrap()).collect();
    watched.sort_unstable();
    let expected = [
        "Cargo.lock",
        "Cargo.toml",
        "a/Cargo.toml",
        "a/build.rs",
        "a/src",
        "b/Cargo.toml",
        "b/src",
        "d/Cargo.toml",
        "d/src",
    ];
    assert_eq!(watched, expected);
}

#[test]
fn sources_that_reach_what_does_not_count_are_refused() {
    let sandbox = Sandbox::new();
    for (path, from, to, message) in [
        ("a/src/main.rs", "#[cfg(test)]\n", "", "main.rs:1: files of unit tests do not count"),
        (
            "a/src/main.rs",
            "mod part;",
            "#[path = \"tests.rs\"] mod part;",
            "main.rs:3: \"tests.rs\" is no source",
        ),
        (
            "b/src/lib.rs",
            "the library b",
            "include!(\"../../c/src/lib.rs\");",
            "lib.rs:1: \"../../c/src/lib.rs\"",
        ),
        ("a/Cargo.toml", "src/main.rs", "src/tests.rs", "\"src/tests.rs\" is no source"),
        ("a/Cargo.toml", "src/main.rs", "tests/whole.rs", "\"tests/whole.rs\" is no source"),
    ] {
        let error = sandbox.edited(path, from, to).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn what_the_manifests_and_the_lock_file_lack_is_named() {
    let sandbox = Sandbox::new();
    for (path, from, to, message) in [
        ("Cargo.toml", "b = { path = \"b\" }", "", "it inherits b, which"),
        ("Cargo.lock", "name = \"a\"", "name = \"other\"", "does not list a;"),
        ("Cargo.lock", "name = \"below\"", "name = \"other\"", "does not list below;"),
        ("Cargo.lock", "\"for-tests\", \"real 1.0.0\", \"windows\"", "", "does not list real below b;"),
        (
            "Cargo.lock",
            "source = \"git+https://example.org/below#commit\"",
            "",
            "the sources of below do not count",
        ),
        ("Cargo.lock", "version = \"2.0.0\"", "", "a package in it has no version"),
        ("b/Cargo.toml", "path = \"../d\"", "path = \"../../d\"", "does not contain it"),
        ("b/Cargo.toml", "name = \"b\"", "", "it has no package name"),
    ] {
        let error = sandbox.edited(path, from, to).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}
