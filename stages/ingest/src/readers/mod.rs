//! Datasets as they lie on disk: names and places first, bytes later, batch by batch.

mod folder;
mod pages;
mod parquet;

use crate::error::IngestError;
use resect_ingest_params::{IngestLimits, Layout};
use resect_target_records::Rejected;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// One sample of the dataset, before anything of it is decoded.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Where it stands, below the dataset's folder: a file, or a file and a row.
    pub place: String,
    /// Its name.
    pub id: String,
    /// The split the dataset gives it; empty where it gives none.
    pub given_split: String,
    /// The group the dataset gives it; empty where it gives none.
    pub group: String,
    /// Why it cannot be used, where that is known already.
    pub flaw: Option<String>,
    at: At,
}

/// Where the bytes are.
#[derive(Clone, Debug)]
enum At {
    Files {
        image: Result<PathBuf, String>,
        mask: Result<PathBuf, String>,
    },
    Row {
        file: usize,
        row: usize,
    },
    /// Nowhere: the sample is only spoken of.
    Nowhere,
}

impl Sample {
    /// The same sample, left out.
    pub fn rejected(&self, reason: String) -> Rejected {
        Rejected { place: self.place.clone(), id: self.id.clone(), reason }
    }

    fn flaw_unless(&mut self, holds: bool, reason: impl FnOnce() -> String) {
        if !holds && self.flaw.is_none() {
            self.flaw = Some(reason());
        }
    }
}

/// The bytes of one sample, or why there are none.
pub struct Raw {
    /// Which: an index into [`Dataset::samples`].
    pub sample: usize,
    /// The encoded image.
    pub image: Result<Vec<u8>, String>,
    /// The encoded mask.
    pub mask: Result<Vec<u8>, String>,
}

/// A dataset whose samples are listed.
pub struct Dataset {
    samples: Vec<Sample>,
    ignored_files: usize,
    max_bytes: u64,
    tables: Option<parquet::Tables>,
}

/// Batches of a dataset, in its order.
pub type Batches<'a> = Box<dyn Iterator<Item = Result<Vec<Raw>, IngestError>> + 'a>;

/// Lists the samples of the dataset in `dir`: the first [`IngestLimits::limit`] of each given split, or all when it is 0.
///
/// # Errors
/// When the folder is not laid out as stated, or holds no sample.
pub fn open(dir: &Path, layout: &Layout, limits: &IngestLimits) -> Result<Dataset, IngestError> {
    let IngestLimits { limit, max_bytes, .. } = *limits;
    let mut dataset = match layout {
        Layout::Folder => folder::open(dir, max_bytes)?,
        Layout::Parquet { image_column, mask_column, id_column, group_column } => {
            let columns = parquet::Columns { image_column, mask_column, id_column, group_column };
            parquet::open(dir, columns, max_bytes)?
        }
    };
    check_names(&mut dataset.samples);
    if limit > 0 {
        let mut taken: BTreeMap<String, u32> = BTreeMap::new();
        dataset.samples.retain(|sample| {
            let taken = taken.entry(sample.given_split.clone()).or_default();
            *taken += 1;
            *taken <= limit
        });
    }
    if dataset.samples.is_empty() {
        return Err(IngestError::NoSample { path: dir.into() });
    }
    Ok(dataset)
}

impl Dataset {
    /// All samples, in the dataset's order, which no file system decides.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// Files beside the images that are none.
    pub fn ignored_files(&self) -> usize {
        self.ignored_files
    }

    /// The samples that are known to be unusable, by their place in the dataset.
    pub fn flawed(&self) -> impl Iterator<Item = (usize, Rejected)> {
        let numbered = self.samples.iter().enumerate();
        numbered.filter_map(|(i, sample)| Some((i, sample.rejected(sample.flaw.clone()?))))
    }

    /// Reads all samples that are not flawed, at most `size` at a time.
    ///
    /// # Errors
    /// When a file cannot be opened.
    pub fn batches(&self, size: usize) -> Result<Batches<'_>, IngestError> {
        match &self.tables {
            Some(tables) => tables.batches(&self.samples, size),
            None => Ok(folder::batches(&self.samples, size, self.max_bytes)),
        }
    }
}

/// Why a picture of so many bytes is not read, if it is not.
fn too_large(kind: &str, bytes: u64, max_bytes: u64) -> Option<String> {
    (bytes > max_bytes)
        .then(|| format!("the {kind} has {bytes} bytes, more than ingest.max_bytes = {max_bytes}"))
}

/// Longest name, in bytes: names become parts of file names, which end at 255.
const LONGEST_NAME: usize = 200;

/// Names end up in tables, reports and file names, and must tell samples apart.
fn check_names(samples: &mut [Sample]) {
    let mut seen = BTreeSet::new();
    for sample in samples {
        let id = sample.id.clone();
        sample.flaw_unless(!id.is_empty(), || "it has no name".into());
        sample.flaw_unless(id.len() <= LONGEST_NAME, || {
            format!("its name has {} bytes, more than {LONGEST_NAME}", id.len())
        });
        sample.flaw_unless(!id.contains(['/', '\\']) && !id.contains("..") && id != ".", || {
            "its name contains \"/\", \"\\\" or \"..\" and cannot become a file name".into()
        });
        sample.flaw_unless(!id.contains(char::is_control), || "its name contains a control character".into());
        sample.flaw_unless(!seen.contains(&id), || "an earlier sample has the same name".into());
        seen.insert(id);
    }
}

/// The folder's or file's path below the dataset, with `/` on every system.
fn below(dir: &Path, path: &Path) -> String {
    path.strip_prefix(dir).unwrap_or(path).to_string_lossy().replace('\\', "/")
}

/// What a folder holds, sorted by name.
fn entries(dir: &Path) -> Result<Vec<PathBuf>, IngestError> {
    let read = |source| IngestError::Read { path: dir.into(), source };
    let mut paths = std::fs::read_dir(dir)
        .map_err(read)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(read)?;
    paths.sort();
    Ok(paths)
}
