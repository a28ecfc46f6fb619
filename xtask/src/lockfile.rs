//! The lock file beside a pipeline file: what its branches and tags on the Hub were when they were resolved.
//!
//! ```toml
//! format = "resect-lock/1.0"
//!
//! [[repository]]
//! kind = "dataset"
//! repository = "kowndinya23/Kvasir-SEG"
//! revision = "main"
//! commit = "5d0ee7ea8e6e3d9bd0ac1b5bb7d0b1a0a1e0c7f2"
//! files = [
//!   { path = "data/train-00000-of-00001.parquet", size = 38012345, hash = "sha256:..." },
//! ]
//! ```
//!
//! It belongs into version control: with it, the same pipeline file means the same bytes for everybody. Of a dataset
//! it names every Parquet file, not only those that the settings select, so that other splits or another configuration
//! of the same commit can be selected without asking. Where the Hub is, and with which token it is asked, it does not say.

use crate::workspace;
use anyhow::{Context, bail, ensure};
use resect_hub::{Digest, Kind, RemoteFile, Repo, check_path};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

const FORMAT: &str = "resect-lock/1.0";
const HEADER: &str = "# What the Hub revisions of the pipeline file beside this one are. Made by `cargo xtask`: commit it, do not edit it.\n\
                      # `cargo xtask run --update` moves it to what they are now.\n";

/// A repository and what was asked for of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    pub repo: Repo,
    pub revision: String,
}

/// What that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locked {
    pub commit: String,
    /// By path.
    pub files: Vec<RemoteFile>,
}

/// A lock file, read.
pub struct Lockfile {
    path: PathBuf,
    /// Its bytes on disk; none where there is no file.
    on_disk: Option<String>,
    entries: BTreeMap<Wanted, Locked>,
}

#[derive(Deserialize)]
struct Document {
    format: String,
    #[serde(default)]
    repository: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    kind: String,
    repository: String,
    revision: String,
    commit: String,
    files: Vec<FileEntry>,
}

#[derive(Deserialize)]
struct FileEntry {
    path: String,
    size: u64,
    hash: Digest,
}

impl Lockfile {
    /// The lock file of a pipeline file: `my.lock` beside `my.toml`.
    pub fn beside(pipeline: &Path) -> anyhow::Result<Self> {
        let path = pipeline.with_extension("lock");
        let on_disk = match std::fs::read_to_string(&path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let entries = on_disk.as_deref().map_or_else(|| Ok(BTreeMap::new()), read);
        let entries = entries.with_context(|| {
            format!("{} is no lock file: restore it, or remove it to resolve anew", workspace::display(&path))
        })?;
        Ok(Self { path, on_disk, entries })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn get(&self, wanted: &Wanted) -> Option<&Locked> {
        self.entries.get(wanted)
    }

    pub fn set(&mut self, wanted: Wanted, locked: Locked) {
        self.entries.insert(wanted, locked);
    }

    /// Drops all other entries.
    pub fn keep(&mut self, used: &[Wanted]) {
        self.entries.retain(|wanted, _| used.contains(wanted));
    }

    /// Writes it, whole or not at all, if it says something else than the file on disk.
    pub fn save(&self) -> anyhow::Result<()> {
        let text = self.text();
        if self.on_disk.as_deref() == Some(&text) || (self.on_disk.is_none() && self.entries.is_empty()) {
            return Ok(());
        }
        let aside = self.path.with_extension(format!("lock.tmp{}", std::process::id()));
        let written = std::fs::write(&aside, text).and_then(|()| std::fs::rename(&aside, &self.path));
        written.with_context(|| {
            let _ = std::fs::remove_file(&aside);
            format!("cannot write {}, which says what the Hub revisions are", self.path.display())
        })
    }

    fn text(&self) -> String {
        // JSON's strings are TOML's.
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let mut text = format!("{HEADER}format = \"{FORMAT}\"\n");
        for (Wanted { repo, revision }, locked) in &self.entries {
            let (kind, name, revision) = (repo.kind().name(), quoted(repo.name()), quoted(revision));
            // Writing to a string does not fail.
            let _ = write!(
                text,
                "\n[[repository]]\nkind = \"{kind}\"\nrepository = {name}\nrevision = {revision}\ncommit = \"{}\"\nfiles = [\n",
                locked.commit
            );
            for RemoteFile { path, size, digest } in &locked.files {
                let path = quoted(path);
                let _ = writeln!(text, "  {{ path = {path}, size = {size}, hash = \"{digest}\" }},");
            }
            text.push_str("]\n");
        }
        text
    }
}

fn read(text: &str) -> anyhow::Result<BTreeMap<Wanted, Locked>> {
    let document: Document = toml::from_str(text)?;
    ensure!(
        document.format.starts_with("resect-lock/1."),
        "its format is \"{}\", this version reads {FORMAT}",
        document.format
    );
    let entries = document.repository.into_iter().map(|entry| {
        let kind = match entry.kind.as_str() {
            "model" => Kind::Model,
            "dataset" => Kind::Dataset,
            other => bail!("kind \"{other}\" is neither model nor dataset"),
        };
        let repo = Repo::new(kind, &entry.repository).map_err(|m| anyhow::anyhow!("repository {m}"))?;
        ensure!(Digest::git_sha1(&entry.commit).is_some(), "\"{}\" is no commit", entry.commit);
        let files = entry.files.into_iter().map(|FileEntry { path, size, hash }| {
            check_path(&path).map_err(anyhow::Error::msg)?;
            Ok(RemoteFile { path, size, digest: hash })
        });
        let mut files = files.collect::<anyhow::Result<Vec<_>>>()?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok((Wanted { repo, revision: entry.revision }, Locked { commit: entry.commit, files }))
    });
    entries.collect()
}

#[cfg(test)]
mod tests;
