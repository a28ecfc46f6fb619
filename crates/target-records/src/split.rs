use serde::{Deserialize, Serialize};

/// What a sample is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// The decoder is tuned on it.
    Train,
    /// Selects the epoch.
    Validation,
    /// Reported.
    Test,
}
