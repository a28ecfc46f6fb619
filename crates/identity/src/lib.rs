//! What code a stage program was built from, as one hash.
//!
//! It covers the sources of the program's crate and of every workspace crate it depends on, what the workspace says
//! of the dependencies they name, the versions and checksums of all it resolves to in `Cargo.lock`, and how it is
//! compiled ([`Build`]). A build script embeds it in the program; the runner computes the same from the checkout, so
//! it knows without cargo whether an artifact was made by today's code.
//!
//! Left out: tests, benches and build dependencies (this crate), none of which can change what a stage writes.

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

/// Features that put a further backend beside the CPU's. They are no part of the identity: they change nothing of what the CPU
/// computes, and what another device computed is told by the numeric class in the key. So a stage on the CPU keeps its identity
/// when others are built for a GPU. The backend's sources count in any case: `Cargo.lock` has them with the feature or without.
const DEVICE_FEATURES: [&str; 1] = ["CUDA"];

/// The identity of a crate's code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// 64 hex digits.
    pub hash: String,
    /// Files and folders it was computed from.
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
    /// A file is not what cargo would accept.
    #[error("{}: {message}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
}

/// A Cargo workspace as it is when it is first asked: what the identities of several crates share is read once.
pub struct Workspace {
    root: PathBuf,
    manifest: Manifest,
    lock: Lock,
    /// The crates met so far, by folder.
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
    /// When a manifest or a source file cannot be read, or `Cargo.lock` does not list what it should.
    pub fn identity(&self, crate_dir: &Path, build: &Build) -> Result<Identity, IdentityError> {
        let shared = self.manifest.table.get("workspace").and_then(|w| w.get("dependencies"));
        let mut hasher = blake3::Hasher::new_derive_key("resect 1.0 code identity");
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
        let profiles = self.manifest.table.get("profile").map(ToString::to_string).unwrap_or_default();
        part("profiles", profiles.as_bytes());

        // Workspace crates by folder, sorted by path below the root: the walk's order must not matter.
        let mut pending = vec![crate_dir.to_path_buf()];
        let mut crates = BTreeMap::new();
        let mut package = None;
        while let Some(dir) = pending.pop() {
            let relative = dir.strip_prefix(&self.root).unwrap_or(&dir).to_path_buf();
            if crates.contains_key(&relative) {
                continue;
            }
            let member = self.member(&dir)?;
            package.get_or_insert_with(|| member.package.clone());
            for (name, dependency) in &member.dependencies {
                let inherited = dependency.get("workspace").is_some();
                let entry = if inherited { shared.and_then(|s| s.get(name)) } else { Some(dependency) };
                let Some(entry) = entry else { continue };
                part(&format!("dependency {name}"), entry.to_string().as_bytes());
                if let Some(path) = entry.get("path").and_then(toml::Value::as_str) {
                    let from = if inherited { &self.root } else { &dir };
                    pending.push(from.join(path));
                }
            }
            crates.insert(relative, member);
        }
        for line in self.lock.resolved(&package.unwrap_or_default())? {
            part("resolved", line.as_bytes());
        }
        let mut sources = vec![self.lock.path.clone(), self.manifest.path.clone()];
        for (relative, member) in crates {
            for (file, content) in &member.files {
                let name = relative.join(file.strip_prefix(&member.dir).unwrap_or(file));
                part(&name.to_string_lossy().replace('\\', "/"), content);
            }
            sources.push(member.dir.clone());
        }
        Ok(Identity { hash: hasher.finalize().to_hex().to_string(), sources })
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

/// A crate of the workspace.
struct Member {
    dir: PathBuf,
    package: String,
    dependencies: BTreeMap<String, toml::Value>,
    /// Its manifest, build script and sources, with what they hold.
    files: Vec<(PathBuf, Vec<u8>)>,
}

impl Member {
    fn read(dir: &Path) -> Result<Self, IdentityError> {
        let manifest = Manifest::read(&dir.join("Cargo.toml"))?;
        let mut paths = vec![manifest.path.clone()];
        paths.extend(Some(dir.join("build.rs")).filter(|path| path.exists()));
        files_below(&dir.join("src"), &mut paths)?;
        let files = paths.into_iter().map(|path| read(&path).map(|content| (path, content)));
        Ok(Self {
            dir: dir.into(),
            package: manifest.package_name()?,
            dependencies: manifest.dependencies(),
            files: files.collect::<Result<_, _>>()?,
        })
    }
}

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

struct Manifest {
    path: PathBuf,
    table: toml::Table,
}

impl Manifest {
    fn read(path: &Path) -> Result<Self, IdentityError> {
        let text = String::from_utf8_lossy(&read(path)?).into_owned();
        let table = text.parse().map_err(|e: toml::de::Error| parse_error(path, e.message().to_owned()))?;
        Ok(Self { path: path.into(), table })
    }

    fn package_name(&self) -> Result<String, IdentityError> {
        let name = self.table.get("package").and_then(|p| p.get("name")).and_then(toml::Value::as_str);
        name.map(str::to_owned).ok_or_else(|| parse_error(&self.path, "it has no package name".into()))
    }

    fn dependencies(&self) -> BTreeMap<String, toml::Value> {
        let of = |table: &toml::Table| {
            table.get("dependencies").and_then(toml::Value::as_table).cloned().unwrap_or_default()
        };
        let targets = self.table.get("target").and_then(toml::Value::as_table).cloned().unwrap_or_default();
        let for_targets = targets.values().filter_map(toml::Value::as_table).flat_map(of);
        of(&self.table).into_iter().chain(for_targets).collect()
    }
}

/// `Cargo.lock`: the resolved packages by name, of which there may be several versions.
struct Lock {
    path: PathBuf,
    packages: BTreeMap<String, Vec<Package>>,
}

struct Package {
    version: String,
    checksum: String,
    /// Each "name", "name version" or "name version (source)".
    dependencies: Vec<String>,
}

impl Lock {
    fn read(path: &Path) -> Result<Self, IdentityError> {
        let table = Manifest::read(path)?.table;
        let mut packages: BTreeMap<String, Vec<Package>> = BTreeMap::new();
        for package in table.get("package").and_then(toml::Value::as_array).into_iter().flatten() {
            let text =
                |field| package.get(field).and_then(toml::Value::as_str).unwrap_or_default().to_owned();
            let dependencies = package.get("dependencies").and_then(toml::Value::as_array);
            let names = dependencies.into_iter().flatten().filter_map(toml::Value::as_str);
            packages.entry(text("name")).or_default().push(Package {
                version: text("version"),
                checksum: text("checksum"),
                dependencies: names.map(str::to_owned).collect(),
            });
        }
        Ok(Self { path: path.into(), packages })
    }

    /// `name version checksum` of every package that `package` resolves to, sorted.
    fn resolved(&self, package: &str) -> Result<BTreeSet<String>, IdentityError> {
        let mut pending = vec![package];
        let mut found = BTreeSet::new();
        while let Some(wanted) = pending.pop() {
            let mut words = wanted.split(' ');
            let (name, version) = (words.next().unwrap_or_default(), words.next());
            let mut versions = self.packages.get(name).into_iter().flatten();
            let Some(entry) = versions.find(|entry| version.is_none_or(|version| entry.version == version))
            else {
                let message = format!("it does not list {wanted}; run cargo once to update it");
                return Err(parse_error(&self.path, message));
            };
            if found.insert(format!("{name} {} {}", entry.version, entry.checksum)) {
                pending.extend(entry.dependencies.iter().map(String::as_str));
            }
        }
        Ok(found)
    }
}

fn files_below(dir: &Path, files: &mut Vec<PathBuf>) -> Result<(), IdentityError> {
    let error = |source| IdentityError::Read { path: dir.into(), source };
    let mut entries: Vec<PathBuf> = std::fs::read_dir(dir)
        .map_err(error)?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<_, _>>()
        .map_err(error)?;
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files_below(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, IdentityError> {
    std::fs::read(path).map_err(|source| IdentityError::Read { path: path.into(), source })
}

fn parse_error(path: &Path, message: String) -> IdentityError {
    IdentityError::Parse { path: path.into(), message }
}

#[cfg(test)]
mod tests;
