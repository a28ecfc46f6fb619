use crate::{ArtifactId, Key};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Kind to artifact.
pub type Outputs = BTreeMap<String, ArtifactId>;

/// Says that nothing ran: a person accepted what another key gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The key that gave it.
    pub key: Key,
    /// In what the keys differ, in words.
    pub reason: String,
    /// The run in which it was accepted.
    pub run: String,
}

/// What a stage gave for a key: `.resect/actions/<stage>/<key>.json`.
///
/// All that an artifact must not contain (when, how long, how much memory, from what) stands here.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Action {
    /// [`Action::FORMAT`].
    pub format: String,
    /// Name of the stage.
    pub stage: String,
    /// The key.
    pub key: Key,
    /// What the key was made of.
    pub document: serde_json::Value,
    /// What came out.
    pub outputs: Outputs,
    /// The run that did it.
    pub run: String,
    /// When it ended, RFC 3339, UTC.
    pub finished: String,
    /// How long it took.
    pub seconds: f64,
    /// Largest resident memory of the stage program, bytes, where the system tells.
    pub peak_memory: Option<u64>,
    /// What the stage found worth saying.
    pub notes: Vec<String>,
    /// Outputs of other runs of the same key that had other bytes: the stage was not deterministic.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_outputs: Vec<Outputs>,
    /// Present when the outputs are those of another key; then `run`, `finished` and what follows are that key's, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<Accepted>,
}

impl Action {
    /// Format of the record.
    pub const FORMAT: &str = "resect-action/1.1";

    /// Whether its stage and the kinds of its outputs are plain names: of a record from elsewhere, so that none leads out of the store.
    pub fn has_plain_names(&self) -> bool {
        let kinds = [&self.outputs].into_iter().chain(&self.other_outputs).flat_map(|outputs| outputs.keys());
        is_plain(&self.stage) && kinds.into_iter().all(|kind| is_plain(kind))
    }

    /// An input that its document does not name by an id.
    pub(crate) fn invalid_input(&self) -> Option<&str> {
        let mut inputs = self.document["inputs"].as_object().into_iter().flatten();
        let is_id = |id: &serde_json::Value| {
            id.as_str().is_some_and(|id| ArtifactId::try_from(id.to_owned()).is_ok())
        };
        inputs.find(|(_, id)| !is_id(id)).map(|(kind, _)| kind.as_str())
    }

    /// Kind and id of each artifact it read, as far as its document names them.
    pub fn inputs(&self) -> Vec<(String, ArtifactId)> {
        let inputs = self.document["inputs"].as_object().into_iter().flatten();
        let named = |(kind, id): (&String, &serde_json::Value)| {
            Some((kind.clone(), id.as_str()?.to_owned().try_into().ok()?))
        };
        inputs.filter_map(named).collect()
    }
}

/// Whether a name can be that of a kind or a stage: small letters, so that it is one folder of the store.
pub fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.len() <= 32 && name.bytes().all(|byte| byte.is_ascii_lowercase())
}
