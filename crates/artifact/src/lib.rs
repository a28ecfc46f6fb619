//! The store: what the pipeline has made, found again by content and by key.
//!
//! ```text
//! artifacts/
//!   images/<id>/            an artifact: its files, read-only, and manifest.json, whose BLAKE3 is the id
//!   targets/<id>/ ...       one folder for each kind
//!   runs/<run>/             what a run logs on request: no artifact
//!   .resect/
//!     actions/<stage>/<key>.json   which artifacts a stage gave for a key, and what the key was made of
//!     latest/<pipeline>.json       the keys a pipeline used last, to say what changed since
//!     locks/<key>.lock             held while a key is being worked on
//!     hold.lock                    held, shared, by whoever uses the store; alone by what removes from it
//!     pins/<what>.json             what is never removed
//!     work/<stage>-<key>/          a stage at work, or what a killed one left to resume from
//!     runs/<run>.json              one record a run
//!     sources.json                 hashes of source files, by size, times and inode
//! ```
//!
//! - An **artifact id** is the BLAKE3 of `manifest.json`: every file's path, size and BLAKE3, sorted. Equal content
//!   has an equal id, and `b3sum manifest.json` shows it.
//! - A **key** is the BLAKE3 (derive-key mode) of the canonical JSON of whatever shapes a stage's output.
//! - An artifact appears whole or not at all: it is hashed and synced where it was made, then renamed into place.
//! - A missing or damaged artifact is a miss with a reason ([`Store::check`]).

mod action;
mod archive;
mod canonical;
mod care;
mod lock;
mod manifest;
mod records;
mod store;

pub use action::{Accepted, Action, Outputs, is_plain};
pub use archive::{ArchiveError, Contents, Imported};
pub use canonical::canonical_json;
pub use care::{Hold, Kept, Pin, Retention, Sweep};
pub use lock::Lock;
pub use manifest::{FileEntry, MANIFEST, Manifest, hash_file};
pub use records::{Ancestry, Named, Records};
pub use store::{Listed, Store};

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A BLAKE3 hash as 64 hex digits: the name of an artifact, or the key of a stage.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hash(String);

/// Names an artifact by its content.
pub type ArtifactId = Hash;
/// Names what shaped a stage's output.
pub type Key = Hash;

impl Hash {
    /// The hash of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(blake3::hash(bytes).to_hex().to_string())
    }

    /// The key of a document: BLAKE3 in derive-key mode over its canonical JSON.
    pub fn key(document: &serde_json::Value) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("resect 1.0 stage key");
        hasher.update(canonical_json(document).as_bytes());
        Self(hasher.finalize().to_hex().to_string())
    }

    /// All 64 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 digits, for people.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl TryFrom<String> for Hash {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() == 64 && text.bytes().all(lower_hex) {
            Ok(Self(text))
        } else {
            Err(format!("\"{text}\" is not a hash of 64 hex digits"))
        }
    }
}

impl From<Hash> for String {
    fn from(hash: Hash) -> Self {
        hash.0
    }
}

impl std::fmt::Display for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.short())
    }
}

/// What goes wrong in the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system said no.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// "read", "create", ...
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A stage left something in its output folder that cannot be part of an artifact.
    #[error("{} cannot be part of an artifact: {message}", path.display())]
    Unpublishable {
        /// The file.
        path: PathBuf,
        /// Why not.
        message: &'static str,
    },
    /// A record is there and cannot be used.
    #[error("the record {} cannot be read: {message}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A document cannot be written as JSON: a fault of the program.
    #[error("internal error: cannot encode {what} as JSON")]
    Encode {
        /// The document.
        what: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// Waiting for another runner was interrupted.
    #[error("interrupted while waiting for another runner")]
    Interrupted,
}

impl StoreError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }
}
