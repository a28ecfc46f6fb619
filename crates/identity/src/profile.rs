//! `[profile]` of the workspace's manifest: what of it applies to the packages of one program.

use crate::canonical;
use crate::lock::Package;
use std::collections::BTreeSet;
use toml::{Table, Value};

/// The settings of the profile that `PROFILE` names to build scripts (`release` or `debug`), as named parts: its own keys, and the
/// overrides of the packages in `closure`.
///
/// Cargo tells a build script only which of the two a profile descends from, so all profiles that inherit from it count.
/// `build-override` does not: it says how build scripts and macros are compiled, not what they do.
pub(crate) fn parts(
    profiles: Option<&Value>,
    named: &str,
    closure: &BTreeSet<&Package>,
) -> Vec<(String, String)> {
    let base = if named == "debug" { "dev" } else { named };
    let mut parts = Vec::new();
    for (name, profile) in profiles.and_then(Value::as_table).into_iter().flatten() {
        let Some(keys) = profile.as_table().filter(|_| descends(profiles, name, base)) else { continue };
        let own: Table = keys
            .iter()
            .filter(|(key, _)| !matches!(key.as_str(), "package" | "build-override"))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        parts.push((format!("profile {name}"), canonical::table(&own)));
        for (spec, settings) in keys.get("package").and_then(Value::as_table).into_iter().flatten() {
            if spec == "*" || closure.iter().any(|package| is_meant(spec, package)) {
                parts.push((format!("profile {name} of {spec}"), canonical::value(settings)));
            }
        }
    }
    parts.sort();
    parts
}

/// Whether profile `name` is `base` or inherits from it, over any number of others.
fn descends(profiles: Option<&Value>, name: &str, base: &str) -> bool {
    let mut seen = BTreeSet::new();
    let mut name = name;
    while name != base {
        let above =
            profiles.and_then(|profiles| profiles.get(name)).and_then(|profile| profile.get("inherits"));
        match above.and_then(Value::as_str) {
            Some(above) if seen.insert(name) => name = above,
            _ => return false,
        }
    }
    true
}

/// Whether a package ID specification (`name`, `name@1.2`, `https://host/name#1.2.3`, `url#name@1.2`) is of this package.
fn is_meant(spec: &str, package: &Package) -> bool {
    let (url, fragment) = match spec.split_once('#') {
        Some((url, fragment)) => (Some(url), fragment),
        None if spec.contains("://") => (Some(spec), ""),
        None => (None, spec),
    };
    let (name, version) = match fragment.split_once(['@', ':']) {
        Some((name, version)) => (name, version),
        None if fragment.starts_with(|c: char| c.is_ascii_digit()) => ("", fragment),
        None => (fragment, ""),
    };
    let last = url.and_then(|url| url.trim_end_matches('/').rsplit('/').next());
    let name = if name.is_empty() { last.unwrap_or_default() } else { name };
    let is_version = match package.version.strip_prefix(version) {
        Some(rest) => version.is_empty() || rest.is_empty() || rest.starts_with(['.', '-', '+']),
        None => false,
    };
    name == package.name && is_version
}

#[cfg(test)]
mod tests;
