use resect_data::DataError;
use resect_params::Invalid;
use resect_target_records::Rejected;
use std::path::PathBuf;

/// Why a dataset did not become images and targets.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// A setting that cannot be.
    #[error(transparent)]
    Setting(#[from] Invalid),
    /// A file or folder of the dataset cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The folder is not laid out as the settings say.
    #[error("{} {message}", path.display())]
    Layout {
        /// The dataset, or the file in it.
        path: PathBuf,
        /// What is missing or wrong.
        message: String,
    },
    /// A column that the settings name is not in a Parquet file.
    #[error(
        "{} has no column \"{column}\" (layout.{setting}); its columns are {}{}",
        path.display(), available.join(", "),
        nearest.as_ref().map(|name| format!("; did you mean \"{name}\"?")).unwrap_or_default()
    )]
    Column {
        /// The Parquet file.
        path: PathBuf,
        /// The setting that names the column.
        setting: &'static str,
        /// The name it gives.
        column: String,
        /// What the file has.
        available: Vec<String>,
        /// The most similar of them, if one is similar.
        nearest: Option<String>,
    },
    /// `split.group_pattern` does not fit a sample's name.
    #[error("split.group_pattern = \"{pattern}\" {message}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        message: String,
    },
    /// The settings name a split that the dataset does not give.
    #[error("split.{setting} names \"{name}\", which the dataset does not give; {}", given(available))]
    UnknownSplit {
        /// `train` or `test`.
        setting: &'static str,
        /// The name.
        name: String,
        /// What the dataset gives.
        available: Vec<String>,
    },
    /// Nothing can be reported.
    #[error(
        "there is no split to report: the dataset gives neither \"test\" nor an unused \"validation\"; {}. \
         Name one with split.test, or draw one with split.by = \"random\"",
        given(available)
    )]
    NoTestSplit {
        /// What the dataset gives.
        available: Vec<String>,
    },
    /// A draw cannot leave something on both sides.
    #[error(
        "split.by = \"random\" needs at least two groups, the dataset has {groups}; near-duplicates (ingest.duplicate_distance) count as one"
    )]
    TooFewGroups {
        /// How many there are.
        groups: usize,
    },
    /// A part of the split has no usable sample.
    #[error("no usable sample is left to {purpose}; usable samples by split: {by_split}")]
    EmptyPart {
        /// What the part is for.
        purpose: &'static str,
        /// Usable samples by given split.
        by_split: String,
    },
    /// The dataset holds no sample at all, or none that can be used.
    #[error("{} holds no sample", path.display())]
    NoSample {
        /// The dataset.
        path: PathBuf,
    },
    /// More samples are unusable than the settings accept.
    #[error(
        "{rejected} of {samples} samples are unusable, ingest.max_rejected = {accepted} accepts {}:{}",
        (accepted * *samples as f64).floor(), listed(first, *rejected)
    )]
    TooManyRejected {
        /// Unusable samples.
        rejected: usize,
        /// All samples.
        samples: usize,
        /// The accepted share.
        accepted: f64,
        /// The first few of them.
        first: Vec<Rejected>,
    },
    /// An artifact cannot be written.
    #[error(transparent)]
    Data(#[from] DataError),
    /// No worker thread can be started.
    #[error("cannot start worker threads")]
    Threads(#[from] rayon::ThreadPoolBuildError),
}

impl IngestError {
    pub(crate) fn layout(path: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self::Layout { path: path.into(), message: message.into() }
    }
}

fn given(available: &[String]) -> String {
    let named: Vec<String> =
        available.iter().filter(|name| !name.is_empty()).map(|name| format!("\"{name}\"")).collect();
    if named.is_empty() {
        "it gives no splits at all (split.by = \"random\" draws them)".into()
    } else {
        format!("it gives {}", named.join(", "))
    }
}

fn listed(first: &[Rejected], all: usize) -> String {
    let mut text: String =
        first.iter().map(|r| format!("\n  {} ({}): {}", r.place, r.id, r.reason)).collect();
    if all > first.len() {
        text += &format!("\n  ... and {} more", all - first.len());
    }
    text
}
