//! The code of a program as one hash: its *code identity*, which is part of a stage's key.
//!
//! A build script embeds the hash in a program ([`embed`]). The runner computes the same hash from the checkout with the same code
//! ([`Workspace::identity`]), so it knows without cargo whether an artifact was made by today's code.
//!
//! These count, for the program's crate and all workspace crates that it reaches over normal dependencies:
//!
//! - the files below `src/` and the build script, except unit tests: files named `tests.rs` and folders named `tests`;
//! - of `Cargo.toml`, the name, edition and build script of the package, `[features]`, `[lib]`, `[[bin]]`, and `[dependencies]` with
//!   those of target tables, optional ones included; of a dependency that is inherited, what the workspace's manifest says, too;
//! - of `Cargo.lock`, version, source and checksum of every other package that they reach;
//! - of `[profile]`, the settings of the profile, and the overrides of packages that they reach;
//! - the compiler's version, its flags, the profile and the enabled features ([`Build`]), and the workspace's `resolver`.
//!
//! Manifests count as parsed values, so their comments and their layout do not.
//!
//! Nothing else counts: unit tests, `tests/`, benches and examples, development and build dependencies, lints, descriptions, the
//! versions of workspace packages, `build-override` of profiles. None of them can change what a stage writes. To be sure of that,
//! [`Workspace::identity`] refuses sources that reach a file which does not count: `mod tests;` without `#[cfg(test)]`, `#[path]`
//! and `include!` of such a file, and `CARGO_PKG_VERSION`.

mod build_script;
mod canonical;
mod lock;
mod manifest;
mod member;
mod profile;
mod source;

pub use build_script::{embed, embed_of, embed_toolchain};

use lock::Lock;
use manifest::Manifest;
use member::Member;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How code is compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// `rustc --version`.
    pub rustc: String,
    /// Cargo profile: `release` or `debug`.
    pub profile: String,
    /// Encoded compiler flags, as cargo passes them to build scripts.
    pub rustflags: String,
    /// Enabled features of the crate, upper case as cargo passes them, sorted; those of [`DEVICE_FEATURES`] aside.
    pub features: Vec<String>,
}

/// Features that put a further backend beside the CPU's. They do not count: they change nothing of what the CPU computes, and the
/// numeric class in the key tells what another device computed. So a stage on the CPU keeps its identity when others are built for a
/// GPU. The backend's sources count in either case, because optional dependencies do.
const DEVICE_FEATURES: [&str; 1] = ["CUDA"];

/// The identity of a crate's code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// 64 hex digits.
    pub hash: String,
    /// The files and folders that cargo must watch: whatever counts is in one of them.
    pub sources: Vec<PathBuf>,
}

/// The sources cannot be read as a Cargo workspace.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A source reaches code that the identity leaves out.
    #[error("{}:{line}: {message}", path.display())]
    Source {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong and how to mend it.
        message: String,
    },
    /// A file is not what cargo would accept.
    #[error("{}: {message}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
}

/// A Cargo workspace as it is when it is first read. What the identities of several crates share is read once.
pub struct Workspace {
    root: PathBuf,
    manifest: Manifest,
    lock: Lock,
    /// The crates read so far, by folder.
    members: RefCell<BTreeMap<PathBuf, Arc<Member>>>,
}

impl Workspace {
    /// Reads the manifest and the lock file of the workspace at `root`.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub fn read(root: &Path) -> Result<Self, IdentityError> {
        Ok(Self {
            root: root.into(),
            manifest: Manifest::read(&root.join("Cargo.toml"))?,
            lock: Lock::read(&root.join("Cargo.lock"))?,
            members: RefCell::default(),
        })
    }

    /// The identity of the crate in `crate_dir`, a member of the workspace.
    ///
    /// # Errors
    /// When a manifest or a source file cannot be read, `Cargo.lock` does not list what it should, or a source reaches a file that
    /// does not count.
    pub fn identity(&self, crate_dir: &Path, build: &Build) -> Result<Identity, IdentityError> {
        let mut hasher = blake3::Hasher::new_derive_key("resect 2.0 code identity");
        let mut part = |name: &str, content: &[u8]| {
            for bytes in [name.as_bytes(), content] {
                hasher.update(&(bytes.len() as u64).to_le_bytes());
                hasher.update(bytes);
            }
        };
        part("rustc", build.rustc.as_bytes());
        part("profile", build.profile.as_bytes());
        part("rustflags", build.rustflags.as_bytes());
        part("features", build.features.join(",").as_bytes());
        let resolver = self.manifest.at(&["workspace", "resolver"]).map(canonical::value).unwrap_or_default();
        part("resolver", resolver.as_bytes());

        let Closure { members, packages } = self.closure(crate_dir)?;
        for (name, text) in profile::parts(self.manifest.table.get("profile"), &build.profile, &packages) {
            part(&name, text.as_bytes());
        }
        for text in packages.iter().filter_map(|package| package.text()) {
            part("resolved", text.as_bytes());
        }
        let mut sources = vec![self.lock.path.clone(), self.manifest.path.clone()];
        for (relative, (member, dependencies)) in members {
            part("package", member.manifest.essentials(&self.manifest)?.as_bytes());
            for dependency in dependencies {
                part("dependency", dependency.as_bytes());
            }
            for (file, content) in &member.files {
                let name = relative.join(file.strip_prefix(&member.dir).unwrap_or(file));
                part(&name.to_string_lossy().replace('\\', "/"), content);
            }
            sources.extend(member.watched.iter().cloned());
        }
        Ok(Identity { hash: hasher.finalize().to_hex().to_string(), sources })
    }

    /// All that the crate in `crate_dir` reaches over normal dependencies, itself included.
    fn closure(&self, crate_dir: &Path) -> Result<Closure<'_>, IdentityError> {
        let mut closure = Closure { members: BTreeMap::new(), packages: BTreeSet::new() };
        let mut others = BTreeSet::new();
        let mut pending = vec![crate_dir.to_path_buf()];
        while let Some(dir) = pending.pop() {
            let dir = source::normalised(&dir);
            let Ok(relative) = dir.strip_prefix(source::normalised(&self.root)) else {
                let message = format!("its workspace {} does not contain it", self.root.display());
                return Err(parse_error(&dir, message));
            };
            if closure.members.contains_key(relative) {
                continue;
            }
            let member = self.member(&dir)?;
            let package = self.lock.member(member.manifest.package_name()?)?;
            closure.packages.insert(package);
            let mut texts = Vec::new();
            for dependency in member.manifest.dependencies() {
                let resolved = member.manifest.resolve(&dependency, &self.manifest)?;
                texts.push(resolved.text);
                match resolved.dir {
                    Some(dir) => pending.push(dir),
                    None => {
                        for found in self.lock.dependency(package, &resolved.package)? {
                            self.lock.close(found, &mut others)?;
                        }
                    }
                }
            }
            texts.sort();
            closure.members.insert(relative.to_path_buf(), (member, texts));
        }
        // The sources of a package without a registry or repository count only if it is a member found above.
        let uncovered =
            |package: &&&lock::Package| package.text().is_none() && !closure.packages.contains(**package);
        if let Some(package) = others.iter().find(uncovered) {
            let message = format!("the sources of {} do not count; depend on it by its path", package.name);
            return Err(parse_error(&self.lock.path, message));
        }
        closure.packages.extend(others);
        Ok(closure)
    }

    fn member(&self, dir: &Path) -> Result<Arc<Member>, IdentityError> {
        if let Some(member) = self.members.borrow().get(dir) {
            return Ok(member.clone());
        }
        let member = Arc::new(Member::read(dir)?);
        self.members.borrow_mut().insert(dir.into(), member.clone());
        Ok(member)
    }
}

/// What a crate reaches over normal dependencies.
struct Closure<'a> {
    /// The workspace crates by folder below the root, each with its dependencies as canonical text.
    members: BTreeMap<PathBuf, (Arc<Member>, Vec<String>)>,
    /// All packages, the workspace's included.
    packages: BTreeSet<&'a lock::Package>,
}

fn read(path: &Path) -> Result<Vec<u8>, IdentityError> {
    std::fs::read(path).map_err(|source| IdentityError::Read { path: path.into(), source })
}

fn parse_error(path: &Path, message: String) -> IdentityError {
    IdentityError::Parse { path: path.into(), message }
}

#[cfg(test)]
mod tests;
