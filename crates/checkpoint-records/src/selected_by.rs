use serde::{Deserialize, Serialize};

/// How the kept epoch was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SelectedBy {
    /// The best mean validation Dice; the earlier epoch on a tie.
    ValidationDice,
    /// The last one: it was asked for, or there is no validation part.
    LastEpoch,
}
