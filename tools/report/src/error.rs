use std::path::PathBuf;

use resect_data::DataError;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The job is one of another version.
    #[error(
        "the job has format \"{found}\", this program reads \"{expected}\"; build runner and programs anew"
    )]
    Job {
        /// What it states.
        found: String,
        /// What this program reads.
        expected: &'static str,
    },
    /// A file of an artifact is missing or damaged.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The evaluation was written by another version.
    #[error(
        "{} has format \"{found}\", a report needs \"{expected}\"; `cargo xtask run --force evaluate` writes it anew",
        path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// What it states.
        found: String,
        /// What is read.
        expected: &'static str,
    },
    /// Artifacts do not belong together.
    #[error("{}: {what}; expected artifacts of one run", path.display())]
    Disagree {
        /// The file that says so.
        path: PathBuf,
        /// What it lacks.
        what: String,
    },
    /// A picture cannot be encoded.
    #[error("image {id} cannot be written as JPEG")]
    Picture {
        /// The target.
        id: String,
        /// Why.
        source: image::ImageError,
    },
    /// A chart cannot be drawn.
    #[error("chart \"{chart}\" cannot be drawn: {message}")]
    Chart {
        /// Its title.
        chart: String,
        /// Why.
        message: String,
    },
    /// The report cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}
