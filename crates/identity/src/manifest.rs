//! `Cargo.toml`: what of it can change a program.

use crate::{IdentityError, canonical, parse_error, read};
use std::path::{Path, PathBuf};
use toml::{Table, Value};

pub(crate) struct Manifest {
    pub path: PathBuf,
    pub table: Table,
}

/// A normal dependency, as a manifest states it.
#[derive(Clone, Debug)]
pub(crate) struct Dependency {
    /// The condition of its target table; empty without one.
    pub target: String,
    /// The name it has in the crate's sources.
    pub name: String,
    pub entry: Value,
}

/// A normal dependency whose `workspace = true` has been looked up.
#[derive(Clone, Debug)]
pub(crate) struct Resolved {
    /// The name of its package, which another name in the sources may stand for.
    pub package: String,
    /// Its folder, where it lies in the workspace.
    pub dir: Option<PathBuf>,
    /// What the manifests say of it, as canonical text.
    pub text: String,
}

/// Keys of `[lib]` and `[[bin]]` that tell how tests, benches and documentation are built.
const NOT_OF_PROGRAMS: [&str; 6] = ["bench", "doc", "doc-scrape-examples", "doctest", "harness", "test"];

impl Manifest {
    pub fn read(path: &Path) -> Result<Self, IdentityError> {
        let text = String::from_utf8_lossy(&read(path)?).into_owned();
        let table = text.parse().map_err(|e: toml::de::Error| parse_error(path, e.message().to_owned()))?;
        Ok(Self { path: path.into(), table })
    }

    pub fn package_name(&self) -> Result<&str, IdentityError> {
        let name = self.at(&["package", "name"]).and_then(Value::as_str);
        name.ok_or_else(|| parse_error(&self.path, "it has no package name".into()))
    }

    /// The value at a path of keys.
    pub fn at(&self, keys: &[&str]) -> Option<&Value> {
        let (first, rest) = keys.split_first()?;
        rest.iter().try_fold(self.table.get(*first)?, |value, key| value.get(key))
    }

    /// The build script's file name, where the package names one.
    pub fn build_script(&self) -> Option<&str> {
        match self.at(&["package", "build"]) {
            None | Some(Value::Boolean(true)) => Some("build.rs"),
            Some(value) => value.as_str(),
        }
    }

    /// The files that `[lib]` and `[[bin]]` name.
    pub fn roots(&self) -> impl Iterator<Item = &str> {
        self.targets().filter_map(|target| target.get("path")).filter_map(Value::as_str)
    }

    fn targets(&self) -> impl Iterator<Item = &Value> {
        self.table
            .get("lib")
            .into_iter()
            .chain(self.at(&["bin"]).and_then(Value::as_array).into_iter().flatten())
    }

    /// Everything but dependencies that can change the program: name, edition, build script, features, library and programs.
    pub fn essentials(&self, root: &Self) -> Result<String, IdentityError> {
        let mut essentials = Table::new();
        essentials.insert("name".into(), self.package_name()?.into());
        let edition = match self.at(&["package", "edition"]) {
            Some(Value::Table(_)) => root.at(&["workspace", "package", "edition"]),
            own => own,
        };
        for (key, value) in [
            ("edition", edition),
            ("build", self.at(&["package", "build"])),
            ("features", self.table.get("features")),
        ] {
            essentials.extend(value.map(|value| (key.to_owned(), value.clone())));
        }
        let of_program = |target: &Value| {
            let mut target = target.clone();
            if let Value::Table(keys) = &mut target {
                keys.retain(|key, _| !NOT_OF_PROGRAMS.contains(&key));
            }
            target
        };
        essentials.insert("targets".into(), Value::Array(self.targets().map(of_program).collect()));
        Ok(canonical::table(&essentials))
    }

    /// The normal dependencies, those of target tables included.
    pub fn dependencies(&self) -> Vec<Dependency> {
        let of = |target: &str, table: Option<&Value>| -> Vec<Dependency> {
            let entries = table.and_then(Value::as_table).into_iter().flatten();
            entries
                .map(|(name, entry)| Dependency {
                    target: target.into(),
                    name: name.clone(),
                    entry: entry.clone(),
                })
                .collect()
        };
        let mut all = of("", self.table.get("dependencies"));
        for (target, table) in self.table.get("target").and_then(Value::as_table).into_iter().flatten() {
            all.extend(of(target, table.get("dependencies")));
        }
        all
    }

    /// What a dependency of this crate stands for, given the workspace's manifest.
    pub fn resolve(&self, dependency: &Dependency, root: &Self) -> Result<Resolved, IdentityError> {
        let Dependency { target, name, entry } = dependency;
        let is_inherited = entry.get("workspace").is_some();
        let (stated, from) = if is_inherited {
            let shared = root.at(&["workspace", "dependencies", name]);
            let shared = shared.ok_or_else(|| {
                parse_error(&self.path, format!("it inherits {name}, which {} lacks", root.path.display()))
            })?;
            (shared, root)
        } else {
            (entry, self)
        };
        let package = stated.get("package").and_then(Value::as_str).unwrap_or(name);
        let path = stated.get("path").and_then(Value::as_str);
        let text = [target, name, &canonical::value(entry), &canonical::value(stated)]
            .map(|part| format!("{part:?}"));
        Ok(Resolved {
            package: package.to_owned(),
            dir: path.map(|path| from.dir().join(path)),
            text: text.join(" "),
        })
    }

    pub fn dir(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }
}
