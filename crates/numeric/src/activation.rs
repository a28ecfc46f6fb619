use serde::{Deserialize, Serialize};
use std::fmt;

/// A pointwise nonlinearity, by the name `transformers` gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// The exact GELU, by the error function.
    Gelu,
    /// The rectifier.
    Relu,
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gelu => "gelu",
            Self::Relu => "relu",
        })
    }
}
