//! Where the workspace is and how its programs are compiled.

use resect_identity::Build;
use std::path::PathBuf;
use std::process::Command;

/// The top of the workspace this runner was built in.
pub fn root() -> PathBuf {
    let xtask = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().map(PathBuf::from).unwrap_or(xtask)
}

/// Cargo, in the workspace, as if it were called from a shell: without what the cargo that started this runner says of the
/// runner's own package. Build scripts watch that (ring's does), and each kind of call would build again what the other built.
pub fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") || text == "OUT_DIR" {
            cargo.env_remove(&name);
        }
    }
    cargo.current_dir(root());
    cargo
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

/// Of Resect, of the compiler that built the runner and builds the stages, and of the system.
pub fn versions() -> serde_json::Value {
    serde_json::json!({
        "resect": env!("CARGO_PKG_VERSION"),
        "rustc": env!("RESECT_RUSTC").lines().next().unwrap_or_default(),
        "os": std::env::consts::OS,
        "arch": std::env::consts::ARCH,
    })
}

/// What a person reads of a path: relative to the current folder where it lies below it.
pub fn display(path: &std::path::Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path).display().to_string()
}

/// The commit of the checkout the workspace lies in, and whether files were changed since; none where git does not tell.
pub fn commit() -> Option<(String, bool)> {
    let git = |args: &[&str]| {
        // Without the lock by which git would note what it found out: a checkout is only looked at.
        let mut command = Command::new("git");
        let output = command.arg("--no-optional-locks").args(args).current_dir(root()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    Some((git(&["rev-parse", "--verify", "HEAD"])?, !git(&["status", "--porcelain"])?.is_empty()))
}
