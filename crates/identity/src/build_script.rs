//! What build scripts call. They compute with the same code as the runner.

use crate::{Build, DEVICE_FEATURES, Workspace};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// For the build script of a stage program: sets `RESECT_IDENTITY` for `env!`.
///
/// # Panics
/// When the sources cannot be read: the build must not go on.
pub fn embed() {
    let (dir, _) = here();
    embed_as("RESECT_IDENTITY", &dir);
}

/// For the build script of a program that contains another crate of the workspace, named by its folder below the top: sets
/// `variable` to that crate's identity for `env!`.
///
/// # Panics
/// When the sources cannot be read.
pub fn embed_of(variable: &str, crate_dir: &str) {
    let (_, workspace) = here();
    embed_as(variable, &workspace.join(crate_dir));
}

/// The folders of the crate that is being built and of its workspace.
fn here() -> (PathBuf, PathBuf) {
    let dir = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let workspace = dir
        .ancestors()
        .find(|dir| dir.join("Cargo.lock").exists())
        .expect("the crate lies in a workspace with a Cargo.lock");
    (dir.clone(), workspace.into())
}

fn embed_as(variable: &str, dir: &Path) {
    let (_, workspace) = here();
    let build = Build::of_build_script();
    match Workspace::read(&workspace).and_then(|workspace| workspace.identity(dir, &build)) {
        Ok(identity) => {
            for source in identity.sources {
                println!("cargo:rerun-if-changed={}", source.display());
            }
            println!("cargo:rustc-env={variable}={}", identity.hash);
        }
        Err(error) => panic!("cannot tell the identity of this code: {error}"),
    }
}

/// For the runner's build script: sets `RESECT_RUSTC`, `RESECT_PROFILE` and `RESECT_RUSTFLAGS` for `env!`.
pub fn embed_toolchain() {
    let build = Build::of_build_script();
    println!("cargo:rustc-env=RESECT_RUSTC={}", build.rustc);
    println!("cargo:rustc-env=RESECT_PROFILE={}", build.profile);
    println!("cargo:rustc-env=RESECT_RUSTFLAGS={}", build.rustflags);
    println!("cargo:rerun-if-env-changed=CARGO_ENCODED_RUSTFLAGS");
}

impl Build {
    fn of_build_script() -> Self {
        let var = |name| std::env::var(name).unwrap_or_default();
        let rustc = std::process::Command::new(var("RUSTC"))
            .arg("--version")
            .output()
            .expect("the compiler that cargo names can be asked for its version");
        let features = std::env::vars()
            .filter_map(|(name, _)| name.strip_prefix("CARGO_FEATURE_").map(str::to_owned))
            .filter(|feature| !DEVICE_FEATURES.contains(&feature.as_str()))
            .collect::<BTreeSet<_>>();
        Self {
            rustc: String::from_utf8_lossy(&rustc.stdout).trim().to_owned(),
            profile: var("PROFILE"),
            // The separator of cargo's encoding cannot travel through an environment line.
            rustflags: var("CARGO_ENCODED_RUSTFLAGS").replace('\u{1f}', " "),
            features: features.into_iter().collect(),
        }
    }
}
