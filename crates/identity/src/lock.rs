//! `Cargo.lock`: the resolved packages.

use crate::manifest::Manifest;
use crate::{IdentityError, parse_error};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use toml::Value;

pub(crate) struct Lock {
    pub path: PathBuf,
    /// By name, of which there may be several versions.
    packages: BTreeMap<String, Vec<Package>>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Package {
    pub name: String,
    pub version: String,
    /// The registry or repository; none for a package of the workspace.
    source: Option<String>,
    checksum: String,
    /// Each "name", "name version" or "name version (source)".
    dependencies: Vec<String>,
}

impl Package {
    #[cfg(test)]
    pub fn of(name: &str, version: &str) -> Self {
        let dependencies = Vec::new();
        Self {
            name: name.into(),
            version: version.into(),
            source: None,
            checksum: String::new(),
            dependencies,
        }
    }

    /// What tells its sources apart from those of any other version. Packages of the workspace have no such text: their sources count.
    pub fn text(&self) -> Option<String> {
        let source = self.source.as_ref()?;
        Some(format!("{} {} {source} {}", self.name, self.version, self.checksum))
    }
}

impl Lock {
    pub fn read(path: &Path) -> Result<Self, IdentityError> {
        let table = Manifest::read(path)?.table;
        let mut packages: BTreeMap<String, Vec<Package>> = BTreeMap::new();
        for package in table.get("package").and_then(Value::as_array).into_iter().flatten() {
            let text = |field| package.get(field).and_then(Value::as_str).map(str::to_owned);
            let stated = |field| {
                text(field).ok_or_else(|| parse_error(path, format!("a package in it has no {field}")))
            };
            let dependencies = package.get("dependencies").and_then(Value::as_array);
            let package = Package {
                name: stated("name")?,
                version: stated("version")?,
                source: text("source"),
                // Only packages of registries have one.
                checksum: text("checksum").unwrap_or_default(),
                dependencies: dependencies
                    .into_iter()
                    .flatten()
                    .map(|name| name.as_str().map(str::to_owned))
                    .collect::<Option<_>>()
                    .ok_or_else(|| parse_error(path, "a dependency in it is not text".into()))?,
            };
            packages.entry(package.name.clone()).or_default().push(package);
        }
        Ok(Self { path: path.into(), packages })
    }

    /// The package of a workspace member.
    pub fn member(&self, name: &str) -> Result<&Package, IdentityError> {
        self.packages
            .get(name)
            .into_iter()
            .flatten()
            .find(|package| package.source.is_none())
            .ok_or_else(|| self.missing(name))
    }

    /// The packages that a member's normal dependency on `name` resolves to. The lock file lists a member's normal dependencies
    /// together with those of its tests and build script; where these bring a second version of one package, both are returned.
    pub fn dependency(&self, member: &Package, name: &str) -> Result<Vec<&Package>, IdentityError> {
        let stated = member.dependencies.iter().filter(|stated| stated.split(' ').next() == Some(name));
        let found: Vec<&Package> = stated.map(|stated| self.find(stated)).collect::<Result<_, _>>()?;
        if found.is_empty() {
            return Err(self.missing(&format!("{name} below {}", member.name)));
        }
        Ok(found)
    }

    /// Adds `package` and all packages below it to `found`.
    pub fn close<'a>(
        &'a self,
        package: &'a Package,
        found: &mut BTreeSet<&'a Package>,
    ) -> Result<(), IdentityError> {
        let mut pending = vec![package];
        while let Some(package) = pending.pop() {
            if found.insert(package) {
                for stated in &package.dependencies {
                    pending.push(self.find(stated)?);
                }
            }
        }
        Ok(())
    }

    fn find(&self, stated: &str) -> Result<&Package, IdentityError> {
        let mut words = stated.splitn(3, ' ');
        let (name, version, source) = (words.next().unwrap_or_default(), words.next(), words.next());
        let source = source.map(|source| source.trim_start_matches('(').trim_end_matches(')'));
        let mut versions = self.packages.get(name).into_iter().flatten();
        let is_meant = |package: &&Package| {
            version.is_none_or(|version| package.version == version)
                && (source.is_none() || package.source.as_deref() == source)
        };
        versions.find(is_meant).ok_or_else(|| self.missing(stated))
    }

    fn missing(&self, what: &str) -> IdentityError {
        parse_error(&self.path, format!("it does not list {what}; run cargo once to update it"))
    }
}
