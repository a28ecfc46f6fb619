//! Nothing is built twice: what the runner and the programs both build on has the same features in both.

use resect_tests::{cargo, stderr};
use std::collections::BTreeSet;

/// Every crate that some packages are built on, with its features.
fn built(packages: &[&str]) -> BTreeSet<String> {
    let tree =
        ["tree", "--edges", "normal,build", "--prefix", "none", "--no-dedupe", "--format", "{p} [{f}]"];
    let output = cargo().args(tree).args(packages).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn the_runner_is_built_on_what_the_programs_are_built_on() {
    let (runner, all) = (built(&["--package", "xtask"]), built(&["--workspace"]));
    assert!(runner.len() > 100, "{runner:?}");
    let twice: Vec<&String> = runner.difference(&all).collect();
    assert!(
        twice.is_empty(),
        "other features in a build of the runner alone; xtask/Cargo.toml has a list of what both need: {twice:#?}"
    );
}
