//! Names: of repositories, revisions and files.

use hf_hub::RepoType;
use std::fmt;

/// What a repository holds; models and datasets have separate names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `https://huggingface.co/<name>`.
    Model,
    /// `https://huggingface.co/datasets/<name>`.
    Dataset,
}

impl Kind {
    /// "model" or "dataset".
    pub fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Dataset => "dataset",
        }
    }
}

/// A repository.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Repo {
    kind: Kind,
    name: String,
}

impl Repo {
    /// The repository of a kind and an `owner/name`.
    ///
    /// # Errors
    /// As [`check_repository`].
    pub fn new(kind: Kind, name: &str) -> Result<Self, String> {
        check_repository(name)?;
        Ok(Self { kind, name: name.to_owned() })
    }

    /// What it holds.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// `owner/name`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same in the words of `hf-hub`, which knows its address and its folder in the cache.
    pub(crate) fn at(&self, revision: &str) -> hf_hub::Repo {
        let kind = match self.kind {
            Kind::Model => RepoType::Model,
            Kind::Dataset => RepoType::Dataset,
        };
        hf_hub::Repo::with_revision(self.name.clone(), kind, revision.to_owned())
    }
}

impl fmt::Display for Repo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.name(), self.name)
    }
}

/// Whether a text can be the name of a repository.
///
/// # Errors
/// What is wrong with it, to be put after the name of a setting.
pub fn check_repository(name: &str) -> Result<(), String> {
    let part = |part: &str| {
        !part.is_empty()
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
            && !part.starts_with(['-', '.'])
            && !part.ends_with(['-', '.'])
            && !part.contains("--")
            && !part.contains("..")
    };
    match name.split_once('/') {
        Some((owner, name)) if part(owner) && part(name) => Ok(()),
        _ => Err(format!("must look like owner/name, is \"{name}\"")),
    }
}

/// Whether a text can be a branch, a tag or a commit: what git allows, which is also what a path may hold.
///
/// # Errors
/// What is wrong with it, to be put after the name of a setting.
pub fn check_revision(revision: &str) -> Result<(), String> {
    let allowed = |c: char| !c.is_control() && !c.is_whitespace() && !"\\~^:?*[".contains(c);
    let parts = revision
        .split('/')
        .all(|part| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock"));
    if parts && revision.chars().all(allowed) && !revision.contains("..") {
        return Ok(());
    }
    Err(format!("must be a branch, a tag or a commit, is \"{revision}\""))
}

/// Whether a file name that a server, or a lock file, gives stays below the folder it is meant for.
///
/// # Errors
/// What is wrong with it.
pub fn check_path(path: &str) -> Result<(), String> {
    let harmless = |part: &str| !part.is_empty() && part != "." && part != "..";
    let drive = path.as_bytes().get(1) == Some(&b':');
    if path.split('/').all(harmless) && !path.contains(['\\', '\0']) && !drive {
        return Ok(());
    }
    Err(format!("{path:?} is no file name below a repository"))
}

/// A part of an address: everything that is not plainly a name is escaped.
pub(crate) fn escape(text: &str, slash: bool) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => escaped.push(byte.into()),
            b'/' if !slash => escaped.push('/'),
            other => escaped.push_str(&format!("%{other:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
