//! The parts of JSON files that the model card and the report tell: of artifacts, of action records and of run records.
//!
//! Every field is required unless an earlier version did not write it, so a renamed field is an error and not an empty line in a card.

use resect_artifact::{Action, ArtifactId, Store};
use resect_train_params::TrainParams;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use std::path::Path;

use anyhow::Context;

/// `checkpoint.json`: the kept epoch.
#[derive(Clone, Debug, Deserialize)]
pub struct Summary {
    /// From 1.
    pub epoch: u32,
    /// Epochs trained.
    pub epochs: u32,
    /// Whether training ended early; absent before `resect-checkpoint/1.1`, which had no such thing.
    #[serde(default)]
    pub stopped_early: bool,
    pub selected_by: SelectedBy,
    /// Of the kept epoch; `null` without a validation part.
    #[serde(deserialize_with = "present")]
    pub validation_dice: Option<f64>,
}

/// How the kept epoch was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SelectedBy {
    ValidationDice,
    LastEpoch,
}

/// `audit.json`: what the data are.
#[derive(Clone, Debug, Deserialize)]
pub struct Audit {
    pub samples: u64,
    pub rejected: u64,
    pub unused: u64,
    pub near_duplicates: u64,
    pub near_duplicates_across_test: u64,
    pub groups_across_splits: u64,
    pub splits: Parts,
}

/// The parts of a split.
#[derive(Clone, Debug, Deserialize)]
pub struct Parts {
    pub train: Part,
    pub validation: Part,
    pub test: Part,
}

/// What one part holds.
#[derive(Clone, Debug, Deserialize)]
pub struct Part {
    pub samples: u64,
    pub targets: u64,
    pub groups: u64,
}

/// `metrics.json`: the figures of an evaluation.
#[derive(Clone, Debug, Deserialize)]
pub struct Evaluation {
    pub targets: u64,
    pub images: u64,
    pub settings: EvaluationSettings,
    pub methods: Vec<Method>,
}

/// What the figures depend on beside masks.
#[derive(Clone, Debug, Deserialize)]
pub struct EvaluationSettings {
    /// Pixels.
    pub surface_tolerance: f64,
    /// Fractions of the image.
    pub size_bounds: [f64; 2],
}

/// The figures of one method.
#[derive(Clone, Debug, Deserialize)]
pub struct Method {
    pub method: String,
    pub all: Totals,
    pub classes: Vec<Class>,
}

/// The figures over the targets of a class.
#[derive(Clone, Debug, Deserialize)]
pub struct Class {
    /// By what targets are told apart, such as `size`.
    pub by: String,
    /// Which of them, such as `small`.
    pub class: String,
    #[serde(flatten)]
    pub totals: Totals,
}

/// Means over targets.
#[derive(Clone, Debug, Deserialize)]
pub struct Totals {
    pub targets: u64,
    /// At the size of the original image.
    pub original: Figures,
    pub low_res: Figures,
}

/// One estimate for each metric.
#[derive(Clone, Debug, Deserialize)]
pub struct Figures {
    pub dice: Estimate,
    pub iou: Estimate,
    pub hd95: Estimate,
    pub surface_dice: Estimate,
}

/// A mean over targets.
#[derive(Clone, Debug, Deserialize)]
pub struct Estimate {
    /// `null` without a target.
    #[serde(deserialize_with = "present")]
    pub mean: Option<f64>,
    /// `null` with fewer than two groups.
    #[serde(deserialize_with = "present")]
    pub interval: Option<[f64; 2]>,
}

/// A field that may be `null`, and must be there.
pub fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

/// Where data or weights come from: `[dataset]` or `[checkpoint]` of a run.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Origin {
    Phantom { images: u64, seed: u64 },
    Random { size: String },
    Parquet { path: String },
    Folder { path: String },
    Hub { repository: String },
}

impl Origin {
    /// Its kind, as the pipeline file names it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Phantom { .. } => "phantom",
            Self::Random { .. } => "random",
            Self::Parquet { .. } => "parquet",
            Self::Folder { .. } => "folder",
            Self::Hub { .. } => "hub",
        }
    }

    /// The repository on the Hub, where it is one.
    pub fn repository(&self) -> Option<&str> {
        match self {
            Self::Hub { repository } => Some(repository),
            _ => None,
        }
    }

    /// Of local files only the last part of the path is told; of a path without one, such as `/`, the kind.
    pub fn file_name(&self) -> Option<&str> {
        let (Self::Parquet { path } | Self::Folder { path }) = self else { return None };
        Some(path.split(['/', '\\']).rfind(|part| !part.is_empty()).unwrap_or("local files"))
    }
}

/// The record of `train` with its settings.
#[derive(Clone, Debug)]
pub struct Trained {
    pub action: Action,
    /// Settings that the record does not name did not exist yet: their defaults are what there was before.
    pub params: TrainParams,
}

impl Trained {
    /// Reads the settings of a record.
    ///
    /// # Errors
    /// Settings that this version does not know, or that have another form.
    pub fn of(action: Action) -> anyhow::Result<Self> {
        let params = TrainParams::deserialize(&action.document["params"]);
        let params = params.with_context(|| {
            format!("the settings in the record of train with key {}", action.key.short())
        })?;
        Ok(Self { action, params })
    }
}

/// Reads a JSON file of an artifact; `None` where the artifact is not in the store any more.
///
/// # Errors
/// An artifact whose file cannot be read.
pub fn read<T: DeserializeOwned>(
    store: &Store,
    kind: &str,
    id: &ArtifactId,
    file: &str,
) -> anyhow::Result<Option<T>> {
    let dir = store.path(kind, id);
    if dir.exists() { of_file(&dir.join(file)).map(Some) } else { Ok(None) }
}

/// Reads a JSON file.
///
/// # Errors
/// A file that is not there, or of another form.
pub fn of_file<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let text = std::fs::read(path).map_err(anyhow::Error::from);
    let value = text.and_then(|text| Ok(serde_json::from_slice(&text)?));
    value.with_context(|| {
        format!("cannot read {}; `cargo xtask verify` finds damaged artifacts", path.display())
    })
}

#[cfg(test)]
mod tests;
