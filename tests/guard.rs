//! What must not be in the sources, and what must not come out of the runner: no shell, no new `unsafe`, no text of the data that a
//! terminal obeys. `docs/security.md` says what is promised and where else it is tested.

use resect_artifact::{Pin, Store};
use resect_tests::{workspace, xtask};
use std::fs;
use std::path::{Path, PathBuf};

/// The files that may hold `unsafe`; each says beside it why it is sound. `tests/sanitize.sh` runs them under sanitizers.
const UNSAFE: [&str; 5] = [
    "crates/checkpoint/src/file.rs",
    "crates/device/src/driver.rs",
    "crates/kernels/src/matmul.rs",
    "crates/layers/src/cpu/tensors.rs",
    "crates/tables/src/ipc.rs",
];

/// A source file: its path from the top of the workspace, and its text.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// The lines that are no comment, with their numbers from 1.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate().map(|(at, line)| (at + 1, line));
        lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }
}

/// All files with an extension below the folders of programs and libraries.
fn files(extension: &str) -> Vec<Source> {
    let (top, mut found) = (workspace(), Vec::new());
    let mut folders: Vec<PathBuf> = ["crates", "stages", "tools", "xtask"].map(|part| top.join(part)).into();
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() && path.file_name().unwrap() != "target" {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                let text = fs::read_to_string(&path).unwrap();
                let path = path.strip_prefix(&top).unwrap().to_str().unwrap().replace('\\', "/");
                found.push(Source { path, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!found.is_empty(), "no .{extension} below {}", top.display());
    found
}

/// The Rust files without tests, benchmarks and examples.
fn shipped() -> Vec<Source> {
    let is_test =
        |path: &str| path.split('/').any(|part| ["tests", "tests.rs", "benches", "examples"].contains(&part));
    let mut sources = files("rs");
    sources.retain(|source| !is_test(&source.path));
    sources
}

/// Lines of shipped code in which one of these stands, but for some files.
fn uses(parts: &[&str], but: &[&str]) -> Vec<String> {
    let sources = shipped();
    let others = sources.iter().filter(|source| !but.contains(&source.path.as_str()));
    let lines = others.flat_map(|source| source.code().map(|(at, line)| (&source.path, at, line)));
    let found = lines.filter(|(_, _, line)| parts.iter().any(|part| line.contains(part)));
    found.map(|(path, at, line)| format!("{path}:{at}: {}", line.trim())).collect()
}

#[test]
fn no_program_is_started_by_a_shell() {
    // A program gets its arguments as a list, so that nothing in them is taken for another command.
    let shells = ["sh", "bash", "dash", "zsh", "cmd", "cmd.exe", "powershell", "pwsh", "env", "eval"];
    let words = shells.iter().flat_map(|shell| [format!("\"{shell}\""), format!("/{shell}\"")]);
    let words: Vec<String> = words.chain(["\"-c\"".into(), "\"/C\"".into(), ".raw_arg(".into()]).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    // The test command asks a Python whether it has modules, in words that stand there.
    assert_eq!(uses(&words, &["xtask/src/test.rs"]), [""; 0]);
    let starts = uses(&["Command::new("], &[]);
    assert!(starts.len() > 5, "programs are started otherwise, and must be looked for so: {starts:?}");
}

#[test]
fn unsafe_is_where_it_is_known_and_says_why() {
    let parts = ["unsafe_code", "unsafe ", "unsafe{"];
    assert_eq!(uses(&parts, &UNSAFE), [""; 0]);
    for source in shipped().iter().filter(|source| UNSAFE.contains(&source.path.as_str())) {
        let lines: Vec<&str> = source.text.lines().collect();
        let blocks = lines.iter().enumerate().filter(|(_, line)| line.contains("unsafe {"));
        let blocks: Vec<usize> = blocks.map(|(at, _)| at).collect();
        assert!(!blocks.is_empty(), "{} needs no exception any more", source.path);
        for at in blocks {
            let above = &lines[at.saturating_sub(6)..at];
            assert!(above.iter().any(|line| line.contains("// SAFETY: ")), "{}:{}", source.path, at + 1);
        }
    }
    // Whoever forgets the lints could use it unseen.
    let root = fs::read_to_string(workspace().join("Cargo.toml")).unwrap();
    assert!(root.contains("\n[workspace.lints.rust]\nunsafe_code = \"deny\"\n"), "the workspace denies it");
    for manifest in files("toml").iter().filter(|source| source.path.ends_with("/Cargo.toml")) {
        let text = &manifest.text;
        let denies = text.contains("\n[lints]\nworkspace = true\n")
            || text.contains("\n[lints.rust]\nunsafe_code = \"deny\"\n");
        assert!(denies, "{} takes no part in the workspace's lints", manifest.path);
    }
}

#[test]
fn pages_build_no_element_from_text() {
    let makes_elements =
        ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", ".src ="];
    for script in files("js") {
        for (at, line) in script.code() {
            assert!(!makes_elements.iter().any(|part| line.contains(part)), "{}:{at}: {line}", script.path);
        }
    }
    // What goes into a page as it is: style, script, drawings whose words are escaped where they are drawn, JSON without a `<`.
    let raw = uses(&["PreEscaped("], &[]);
    let known = ["STYLE", "script", "drawing", "data(&report.cases)"];
    for line in &raw {
        assert!(known.iter().any(|known| line.contains(&format!("PreEscaped({known})"))), "{line}");
    }
    assert_eq!(raw.len(), known.len());
}

#[test]
fn the_runner_prints_in_one_place() {
    // Clippy forbids `println!`, `eprintln!` and the streams in the runner. What is left to hold is that the lints are on, and off in
    // one module alone.
    let lints = ["print_stdout", "print_stderr", "disallowed_methods"];
    assert_eq!(uses(&lints, &["xtask/src/show.rs", "xtask/src/main.rs"]), [""; 0]);
    let read = |path: &str| fs::read_to_string(workspace().join(path)).unwrap();
    assert!(read("xtask/src/main.rs").contains("warn(clippy::print_stdout, clippy::print_stderr)"));
    let config = read("xtask/clippy.toml");
    for stream in ["std::io::stdout", "std::io::stderr"] {
        assert!(config.contains(&format!("{{ path = \"{stream}\"")), "{stream}");
    }
}

#[test]
fn what_a_terminal_would_obey_does_not_reach_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    // Names the window, clears the screen, turns the direction of what follows.
    let evil = "a\u{1b}]0;owned\u{7}\u{1b}[2J\u{202e}b";
    let pin = Pin { format: Pin::FORMAT.into(), what: "run".into(), note: evil.into(), since: "2026".into() };
    store.pin(&pin).unwrap();
    let ask = |args: &[&str]| {
        let output = xtask().args(args).arg("--store").arg(dir.path()).output().unwrap();
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        let obeyed = said.concat().chars().any(|c| c.is_control() && c != '\n' || c == '\u{202e}');
        assert!(!obeyed, "{said:?}");
        said
    };
    assert!(ask(&["pin"])[0].contains("a\\u001b]0;owned\\u0007\\u001b[2J\\u202eb"));
    let json: serde_json::Value = serde_json::from_str(&ask(&["pin", "--json"])[0]).unwrap();
    assert_eq!(json["pins"][0]["note"], evil, "in JSON it is what it is");
    assert!(ask(&["show", evil])[1].contains("\\u001b[2J"), "nor in what is said to be wrong");
    let file = Path::new("/nowhere").join(evil);
    assert!(ask(&["diff", file.to_str().unwrap(), "x"])[1].contains("\\u001b[2J"));
}

#[test]
fn what_is_built_on_comes_from_one_registry_by_checksum() {
    // What `deny.toml` says of sources, without its tool.
    for lock in ["Cargo.lock", "tools/remote/Cargo.lock", "fuzz/Cargo.lock"] {
        let text = fs::read_to_string(workspace().join(lock)).unwrap();
        let packages = text.split("\n[[package]]\n").skip(1);
        let mut registries = std::collections::BTreeSet::new();
        for package in packages {
            let field = |name: &str| package.lines().find_map(|line| line.strip_prefix(name));
            let name = field("name = ").unwrap();
            match field("source = ") {
                None => assert!(
                    name.starts_with("\"resect-") || name == "\"xtask\"",
                    "{lock}: {name} comes from nowhere"
                ),
                Some(source) => {
                    assert!(source.starts_with("\"registry+"), "{lock}: {name} comes from {source}");
                    assert!(field("checksum = ").is_some(), "{lock}: {name} has no checksum");
                    registries.insert(source);
                }
            }
        }
        assert_eq!(registries.len(), 1, "{lock}: {registries:?}");
    }
}
