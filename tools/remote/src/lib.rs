//! A store that machines share.
//!
//! ```text
//! <url>/
//!   blobs/<2 digits>/<blake3>       a file, once, however many artifacts hold it
//!   artifacts/<kind>/<id>.json      an artifact's manifest, written after its files
//!   made/<kind>/<id>.json           the record of what made an artifact
//!   actions/<stage>/<key>.json      what a stage gave for a key, written last, and only if there is none
//! ```
//!
//! So whoever finds a record finds all that it names, and nobody ever sees half an artifact. Nothing there is believed: a file is
//! hashed against its name, a manifest against its id and a record against its key before they appear in the local store.
//!
//! The runner and this program agree on [`Job`] and [`Answer`], one line of JSON each; the clients themselves are behind the feature `cloud`.

#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

#[cfg(feature = "cloud")]
mod remote;

#[cfg(feature = "cloud")]
pub use remote::{RemoteError, answer};

use resect_artifact::{Action, ArtifactId, Key, Named};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What is to be done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// Where the shared store is: `s3://bucket/prefix`, `gs://`, `az://`, `https://`, `file://`, or a folder.
    pub url: String,
    /// The local store's folder.
    pub store: PathBuf,
    /// What of it.
    pub task: Task,
}

/// What is to be done.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Fetch what a stage gave for a key, with its record.
    Fetch {
        /// The stage.
        stage: String,
        /// The key.
        key: Key,
    },
    /// Fetch artifacts whose ids begin with these digits.
    Artifact {
        /// The first digits.
        digits: String,
    },
    /// Send artifacts and records.
    Push {
        /// The artifacts.
        artifacts: Vec<Named>,
        /// The records.
        actions: Vec<Action>,
    },
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Of a fetch: whether there was something.
    pub found: bool,
    /// Artifacts that were fetched or sent.
    pub artifacts: Vec<(String, ArtifactId)>,
    /// Records that were sent.
    pub records: usize,
    /// Files that travelled, and their bytes.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Files that were there already.
    pub known: usize,
    /// Of a fetch: what is broken there.
    pub wrong: Option<String>,
}
