//! All that is said of two things.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::{DiffError, Field, FileState, Numbers, Rows, Texts};

/// Format of the object that `--json` prints.
pub const FORMAT: &str = "resect-diff/1.0";

/// What is compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An `embeddings` artifact.
    Embeddings,
    /// An `images` artifact.
    Images,
    /// A `targets` artifact.
    Targets,
    /// A `checkpoint` artifact.
    Checkpoint,
    /// An `evaluation` artifact.
    Evaluation,
    /// A folder with a whole model: a `base` artifact, an export.
    Model,
    /// Another folder.
    Folder,
    /// A file with this extension, in small letters.
    File(String),
}

/// The file by which a folder is told.
const MARKS: [(&str, Kind); 6] = [
    ("embeddings.json", Kind::Embeddings),
    ("images.json", Kind::Images),
    ("targets.json", Kind::Targets),
    ("checkpoint.json", Kind::Checkpoint),
    ("metrics.json", Kind::Evaluation),
    ("config.json", Kind::Model),
];

impl Kind {
    /// What a path is.
    pub(crate) fn of(path: &Path) -> Result<Self, DiffError> {
        if path.is_dir() {
            let mark = MARKS.iter().find(|(file, _)| path.join(file).is_file());
            return Ok(mark.map_or(Self::Folder, |(_, kind)| kind.clone()));
        }
        if !path.exists() {
            return Err(DiffError::Missing(path.into()));
        }
        Ok(Self::File(path.extension().unwrap_or_default().to_string_lossy().to_lowercase()))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embeddings => f.write_str("embeddings"),
            Self::Images => f.write_str("images"),
            Self::Targets => f.write_str("targets"),
            Self::Checkpoint => f.write_str("a checkpoint"),
            Self::Evaluation => f.write_str("an evaluation"),
            Self::Model => f.write_str("a model"),
            Self::Folder => f.write_str("a folder of no kind that is known"),
            Self::File(extension) if extension.is_empty() => f.write_str("a file without an extension"),
            Self::File(extension) => write!(f, "a .{extension} file"),
        }
    }
}

/// All that is said of two things, `a` and `b`.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// [`FORMAT`].
    pub format: &'static str,
    /// What they are.
    pub kind: Kind,
    /// The one.
    pub a: PathBuf,
    /// The other.
    pub b: PathBuf,
    /// Whether every byte is equal.
    pub equal: bool,
    /// All files, sorted by path.
    pub files: Vec<FileState>,
    /// What differs in JSON files, in text that goes with weights, and in shapes.
    pub metadata: Vec<Field>,
    /// Rows that only one has, or that lie in another order.
    pub rows: Vec<Rows>,
    /// Tensors and columns of numbers in files that differ; those of equal numbers among them.
    pub numbers: Vec<Numbers>,
    /// Columns of text that differ.
    pub texts: Vec<Texts>,
    /// What was not compared but for its bytes, and why.
    pub notes: Vec<String>,
}

impl Report {
    pub(crate) fn new(kind: Kind, a: &Path, b: &Path) -> Self {
        Self {
            format: FORMAT,
            kind,
            a: a.into(),
            b: b.into(),
            equal: true,
            files: Vec::new(),
            metadata: Vec::new(),
            rows: Vec::new(),
            numbers: Vec::new(),
            texts: Vec::new(),
            notes: Vec::new(),
        }
    }

    pub(crate) fn note(&mut self, file: &str, reason: impl fmt::Display) {
        self.notes.push(format!("{file}: {reason}"));
    }
}
