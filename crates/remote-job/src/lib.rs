//! The agreement between the runner and `resect-remote`, the program that talks to a store which machines share: a [`Job`] as one line of JSON on
//! the program's standard input, an [`Answer`] as one line on its standard output. `tools/remote` says what lies in such a store.

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
