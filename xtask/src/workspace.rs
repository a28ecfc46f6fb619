//! Where the workspace is and how its programs are compiled.

use resect_identity::Build;
use std::path::PathBuf;

/// The top of the workspace this runner was built in.
pub fn root() -> PathBuf {
    let xtask = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().map(PathBuf::from).unwrap_or(xtask)
}

/// How the stage programs are compiled: with the runner's own compiler and flags, in the release profile.
pub fn stage_build() -> Build {
    Build {
        rustc: env!("RESECT_RUSTC").into(),
        profile: env!("RESECT_PROFILE").into(),
        rustflags: env!("RESECT_RUSTFLAGS").into(),
        features: Vec::new(),
    }
}

/// What a person reads of a path: relative to the current folder where it lies below it.
pub fn display(path: &std::path::Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path).display().to_string()
}
