use std::fmt;
use std::ops::Deref;
use std::path::PathBuf;

use resect_prompt::Prompt;
use serde::{Deserialize, Serialize};

/// A prompt as a person wrote it: the mask is a file, and messages can name the place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WrittenPrompt {
    /// The prompt.
    #[serde(flatten)]
    pub prompt: Prompt<PathBuf>,
    /// Where it was written: "--box 1,2,3,4", "prompts.csv, line 3".
    pub from: String,
}

impl Deref for WrittenPrompt {
    type Target = Prompt<PathBuf>;

    fn deref(&self) -> &Self::Target {
        &self.prompt
    }
}

impl fmt::Display for WrittenPrompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.prompt.fmt(f)
    }
}

#[cfg(test)]
mod tests;
