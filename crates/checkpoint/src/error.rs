//! What can be wrong with a checkpoint, told to the person who meets it. Messages leave their source to the one who prints the
//! chain.

use std::fmt;
use std::path::PathBuf;

/// A checkpoint could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder could not be opened, read or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was attempted, as an infinitive: "read", "write".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's answer, and a way out where one is known.
        source: std::io::Error,
    },
    /// The configuration is no JSON, or a field has the wrong type.
    #[error("{}: {message}\nhint: a Hugging Face SAM `config.json` is expected here", path.display())]
    Config {
        /// The configuration file.
        path: PathBuf,
        /// The field and what is wrong with it.
        message: String,
    },
    /// The configuration is well formed but describes no SAM that can be built.
    #[error("{} describes no SAM that can be built", path.display())]
    Impossible {
        /// The configuration file.
        path: PathBuf,
        /// What is impossible about it.
        source: ConfigError,
    },
    /// The file ends before (or after) its header says.
    #[error(
        "{}: {found} bytes on disk, but its header describes {expected}\nhint: the file is truncated or damaged; \
         fetch it again",
        path.display()
    )]
    Truncated {
        /// The weights file.
        path: PathBuf,
        /// The length the header implies, in bytes.
        expected: u128,
        /// The length on disk, in bytes.
        found: u64,
    },
    /// The file is not in the safetensors format.
    #[error("{}: not a readable safetensors file: {message}", path.display())]
    Malformed {
        /// The weights file.
        path: PathBuf,
        /// What the reader met.
        message: String,
    },
    /// The file is no readable PyTorch state dict.
    #[error("{}: not a readable PyTorch state dict", path.display())]
    StateDict {
        /// The weights file.
        path: PathBuf,
        /// What is wrong with it.
        source: crate::state_dict::StateDictError,
    },
    /// A folder holds several files that could be the weights.
    #[error(
        "{} holds several files of weights: {}\nhint: name one of them instead of the folder",
        dir.display(), names.join(", ")
    )]
    SeveralWeights {
        /// The folder.
        dir: PathBuf,
        /// The files in it.
        names: Vec<String>,
    },
    /// There is no `config.json`, and the tensors do not tell the model's sizes.
    #[error(
        "{}: its tensors do not tell the model's sizes: {message}\nhint: put the model's config.json beside it",
        path.display()
    )]
    Sizes {
        /// The weights file.
        path: PathBuf,
        /// The tensor and what is wrong with it, or the size that no model can have.
        message: String,
    },
    /// Of a file without a `config.json`, whose sizes its own tensors told, others are missing, unused or misshapen.
    #[error(
        "{}: {mismatch}\nhint: there is no config.json beside it, and the sizes were read off its own tensors; it is not a \
         whole SAM, or an altered one",
        path.display()
    )]
    NoWholeModel {
        /// The weights file.
        path: PathBuf,
        /// Every tensor that does not fit.
        mismatch: Mismatch,
    },
    /// Tensors are missing, unused or misshapen.
    #[error(
        "{}: {mismatch}\nhint: {} and the config.json beside it must come from the same SAM checkpoint",
        path.display(), path.file_name().unwrap_or_default().display()
    )]
    Mismatch {
        /// The weights file.
        path: PathBuf,
        /// Every tensor that does not fit.
        mismatch: Mismatch,
    },
    /// A tensor was asked for that the file does not hold.
    #[error("{}: no tensor `{name}`", path.display())]
    NoTensor {
        /// The weights file.
        path: PathBuf,
        /// The tensor's name.
        name: String,
    },
    /// A tensor holds numbers of a type that is not read.
    #[error("{}: tensor `{name}` is {dtype}; F32, F16 and BF16 are read", path.display())]
    DataType {
        /// The weights file.
        path: PathBuf,
        /// The tensor's name.
        name: String,
        /// The type as the header names it.
        dtype: String,
    },
    /// A weight is NaN or infinite.
    #[error(
        "{}: tensor `{name}` holds {value} at {index:?}; weights must be finite\nhint: the file is damaged, or the training \
         that made it diverged",
        path.display()
    )]
    NotFinite {
        /// The weights file.
        path: PathBuf,
        /// The tensor's name.
        name: String,
        /// The first such place in it.
        index: Vec<usize>,
        /// NaN or infinity.
        value: f32,
    },
    /// The file holds one tensor under two names, with two contents.
    #[error(
        "{}: `{first}` and `{second}` are one tensor of the model, but differ\nhint: the file was assembled from two \
         checkpoints; remove either tensor",
        path.display()
    )]
    AliasesDiffer {
        /// The weights file.
        path: PathBuf,
        /// The canonical name.
        first: &'static str,
        /// The other name.
        second: &'static str,
    },
    /// A tensor to be written does not hold as many numbers as its shape says, or appears twice.
    #[error("cannot write tensor `{name}`: {message}")]
    Unwritable {
        /// The tensor's name.
        name: String,
        /// What is wrong with it.
        message: String,
    },
}

/// A configuration that is well formed but describes no model that can be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct ConfigError {
    /// The field as it is spelled in `config.json`, e.g. `vision_config.patch_size`.
    pub field: &'static str,
    /// What is wrong with its value, with the value.
    pub message: String,
}

/// Every tensor in which a set of weights differs from what the model needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mismatch {
    /// Needed, not there.
    pub missing: Vec<String>,
    /// There, not needed.
    pub unused: Vec<String>,
    /// There under the right name, with another shape.
    pub misshapen: Vec<Misshapen>,
}

/// A tensor of the right name and the wrong shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misshapen {
    /// The tensor's name.
    pub name: String,
    /// The shape found.
    pub found: Vec<usize>,
    /// The shape the configuration asks for.
    pub expected: Vec<usize>,
}

impl Mismatch {
    /// Whether everything fits.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.unused.is_empty() && self.misshapen.is_empty()
    }
}

impl std::error::Error for Mismatch {}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the weights do not fit the configuration: {} missing, {} unused, {} misshapen",
            self.missing.len(),
            self.unused.len(),
            self.misshapen.len()
        )?;
        for name in &self.missing {
            write!(f, "\n  missing    {name}")?;
        }
        for name in &self.unused {
            write!(f, "\n  unused     {name}")?;
        }
        for Misshapen { name, found, expected } in &self.misshapen {
            write!(f, "\n  misshapen  {name}: found {found:?}, expected {expected:?}")?;
        }
        Ok(())
    }
}
