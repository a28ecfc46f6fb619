//! The agreement between `cargo xtask report` and its program `resect-report`: the runner reads the store's records and writes a
//! [`Job`] as one line of JSON on the program's standard input; the program reads the artifacts, writes the report and answers with
//! one line, [`Written`].
//!
//! The page of `cargo xtask compare` is made by the same program, of a [`ComparisonJob`].
//!
//! The runner must not link Arrow and the program must not know the store, so all that both share stands here, in plain strings and
//! numbers.

mod comparison;

pub use comparison::{
    Against, COMPARISON_FORMAT, Comparison, ComparisonJob, Effect, Failed, Level, Ranked, Run as ComparedRun,
    Verdict,
};

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Format of a [`Job`].
pub const FORMAT: &str = "resect-report-job/1.0";

/// What to report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// [`FORMAT`].
    pub format: String,
    /// The file to write; it is written beside its place and renamed.
    pub out: PathBuf,
    /// What was reported, in a few words: the report's title.
    pub title: String,
    /// Where the artifacts lie.
    pub folders: Folders,
    /// What was trained on.
    pub dataset: Source,
    /// What was tuned.
    pub base: Source,
    /// The run that tuned it, where its record is there.
    pub run: Option<Run>,
    /// Every setting, by section.
    pub settings: Vec<Section>,
    /// What several seeds gave; absent where there was one.
    pub seeds: Option<Seeds>,
    /// Every step behind the figures, in the order in which data flows.
    pub stages: Vec<Stage>,
    /// Every artifact behind the figures: kind and id.
    pub artifacts: Vec<(String, String)>,
    /// How to make it again.
    pub reproduce: Reproduce,
}

/// Folders of artifacts, by kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Folders {
    /// Of the figures.
    pub evaluation: PathBuf,
    /// Of the tuned decoder.
    pub checkpoint: PathBuf,
    /// Of the truth.
    pub targets: PathBuf,
    /// Of the resized images.
    pub images: PathBuf,
}

/// Where data or weights come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// Its name, such as `facebook/sam-vit-base`.
    pub name: String,
    /// Whether it was made from a seed: phantoms, random weights.
    pub made_up: bool,
    /// What else is known: repository, revision, commit.
    pub details: Vec<(String, String)>,
}

/// A run of the pipeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its name.
    pub name: String,
    /// When it began, RFC 3339, UTC.
    pub started: String,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// A section of the pipeline file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Section {
    /// Its name, such as `train`.
    pub name: String,
    /// Settings and their values, as the file would have them.
    pub values: Vec<(String, String)>,
}

/// The tuned decoders of several seeds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seeds {
    /// The seed whose checkpoint the report shows in detail.
    pub shown: u64,
    /// Each seed's figures.
    pub rows: Vec<SeedRow>,
    /// Their mean.
    pub mean: SeedFigures,
    /// Their standard deviation, that of a sample.
    pub standard_deviation: SeedFigures,
}

/// Figures over the test part, at original resolution.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeedFigures {
    /// Dice.
    pub dice: Option<f64>,
    /// IoU.
    pub iou: Option<f64>,
}

/// What a seed gave, over the test part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeedRow {
    /// The seed.
    pub seed: u64,
    /// The kept epoch.
    pub epoch: Option<u32>,
    /// Its figures.
    #[serde(flatten)]
    pub figures: SeedFigures,
}

/// A step of the pipeline, as its record tells it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// Its name.
    pub name: String,
    /// Its key.
    pub key: String,
    /// Hash of its code; absent where files were copied as they are.
    pub code: Option<String>,
    /// Numeric class: device, precision, vector instructions.
    pub numeric: Option<String>,
    /// Kinds and ids of what it read.
    pub inputs: Vec<(String, String)>,
    /// Kinds and ids of what it made.
    pub outputs: Vec<(String, String)>,
    /// The run that did it.
    pub run: String,
    /// When it ended, RFC 3339, UTC.
    pub finished: String,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Largest resident memory, in bytes.
    pub peak_memory: Option<u64>,
    /// What else is known of the place it ran at, or the files it took: GPU, driver, commit on the Hub.
    pub provenance: Vec<(String, String)>,
    /// Present when the result of another key was accepted: in what they differ.
    pub accepted: Option<String>,
}

/// How to make the artifacts again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reproduce {
    /// The command.
    pub command: String,
    /// Commit of the checkout that ran it, where that was recorded.
    pub commit: Option<String>,
    /// Whether that checkout had changes that were in no commit.
    pub dirty: bool,
    /// What a reader has to know before the command gives the same bytes.
    pub caveats: Vec<String>,
}

/// The program's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Size of the file in bytes.
    pub bytes: u64,
    /// Test targets in the gallery.
    pub shown: usize,
    /// Test targets in all.
    pub targets: usize,
}
