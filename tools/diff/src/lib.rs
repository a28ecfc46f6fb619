//! Two artifacts of one kind, or two files: what differs, and by how much. What `cargo xtask diff` prints.
//!
//! Equal means equal in every byte. Of files that differ, the numbers are compared, matched by what they belong to and not by where
//! they lie: embeddings by pixel hash and view, images and targets by id, rows of tables by the columns that name them, weights by
//! name. So what a CPU made can be held against what a GPU made. Nothing is written, and nothing is taken on trust: manifests are
//! not read.
//!
//! Tensors are read a row, or a weight, at a time, so memory does not grow with them; tables and indexes are read whole.

#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod files;
mod json;
mod matching;
mod numbers;
mod report;
mod samples;
mod tables;
mod tensors;
mod text;

use std::path::{Path, PathBuf};

pub use files::{FileState, State};
pub use json::Field;
pub use matching::Rows;
pub use numbers::{NotFinite, Numbers, Place};
pub use report::{FORMAT, Kind, Report};
pub use samples::{Pair, SAMPLES_FORMAT, Samples, samples};
pub use tables::Texts;

/// Two things cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    /// There is nothing there.
    #[error("there is no file or folder {}", .0.display())]
    Missing(PathBuf),
    /// A file has a name that another one could have, too.
    #[error("the name of {} is not valid UTF-8; rename it to compare the folders", .0.display())]
    Name(PathBuf),
    /// A file or folder cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A table cannot be read.
    #[error(transparent)]
    Data(resect_data::DataError),
    /// There is no such metric.
    #[error("there is no metric {0}; there are {names}", names = resect_evaluation_records::Figures::<()>::NAMES.join(", "))]
    Metric(String),
    /// They are of different kinds.
    #[error("{} and {} are of different kinds: the one {}, the other {}", a.0.display(), b.0.display(), a.1, b.1)]
    Kinds {
        /// The one, and what it is.
        a: (PathBuf, Kind),
        /// The other.
        b: (PathBuf, Kind),
    },
}

/// Compares two folders or two files.
///
/// # Errors
/// One that is not there or cannot be read, or two of different kinds. A file whose content cannot be made out is none: its bytes
/// are compared, and [`Report::notes`] says why its numbers are not.
pub fn compare(a: &Path, b: &Path) -> Result<Report, DiffError> {
    let kinds = (Kind::of(a)?, Kind::of(b)?);
    if kinds.0 != kinds.1 {
        return Err(DiffError::Kinds { a: (a.into(), kinds.0), b: (b.into(), kinds.1) });
    }
    let mut report = Report::new(kinds.0, a, b);
    if a.is_dir() {
        report.files = files::compare(a, b)?;
    } else {
        let path = a.file_name().unwrap_or_default().to_string_lossy().into_owned();
        report.files = vec![FileState { path, state: files::state(a, b)? }];
    }
    report.equal = report.files.iter().all(|file| file.state == State::Equal);
    detail(a, b, &mut report);
    Ok(report)
}

/// Looks into the files that differ.
fn detail(a: &Path, b: &Path, report: &mut Report) {
    let differing = report.files.iter().filter(|file| file.state == State::Differs);
    let differing: Vec<String> = differing.map(|file| file.path.clone()).collect();
    for file in &differing {
        let (a, b) = if a.is_dir() { (a.join(file), b.join(file)) } else { (a.to_owned(), b.to_owned()) };
        let done = match a.extension().and_then(|extension| extension.to_str()) {
            Some("json") => json::compare(file, &a, &b, report),
            Some("parquet") => tables::compare(file, &a, &b, report),
            Some("safetensors") => tensors::weights(file, &a, &b, report),
            _ => Ok(()),
        };
        done.unwrap_or_else(|reason| report.note(file, reason));
    }
    // What lies in several files, matched across them.
    let shards: Vec<&String> = differing.iter().filter(|file| file.ends_with(".arrow")).collect();
    let Some(first) = shards.first() else { return };
    let done = match report.kind {
        Kind::Embeddings => tensors::embeddings(a, b, report),
        Kind::Images => tensors::images(a, b, report),
        Kind::Targets => tensors::masks(a, b, report),
        _ => Err("a shard alone does not say what its rows belong to: compare the folders".into()),
    };
    done.unwrap_or_else(|reason| report.note(first, reason));
}
