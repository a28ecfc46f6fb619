//! A run's record as later commands read it: every form since 1.0.

use crate::figures::{self, Metrics};
use crate::matrix::Variant;
use crate::show;
use anyhow::bail;
use resect_artifact::{Action, ArtifactId, Key, Listed, Records, Store, StoreError};
use resect_embed_params::Shard;
use resect_report_job::{SeedFigures, SeedRow};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What one run did. Fields that came later are absent in older records.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct RunRecord {
    pub run: String,
    #[serde(default)]
    pub group: Option<String>,
    #[serde(default)]
    pub variant: Map<String, Value>,
    #[serde(default)]
    pub status: Option<String>,
    pub pipeline: PathBuf,
    pub settings: Value,
    /// Absent before 1.4.
    #[serde(default)]
    pub set: Option<Vec<String>>,
    #[serde(default)]
    pub device: Option<String>,
    #[serde(default)]
    pub checkout: Option<Checkout>,
    #[serde(default)]
    pub versions: Map<String, Value>,
    pub started: String,
    pub seconds: f64,
    pub sources: Vec<StepRecord>,
    pub stages: Vec<StepRecord>,
    /// Absent for a single seed.
    #[serde(default)]
    pub spread: Option<SpreadRecord>,
}

/// What several seeds gave.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct SpreadRecord {
    pub tuned: Vec<SeedRow>,
    pub mean: SeedFigures,
    pub standard_deviation: SeedFigures,
}

/// The state of the sources.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Checkout {
    pub commit: String,
    pub changed: bool,
}

/// What became of a step.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct StepRecord {
    pub name: String,
    #[serde(default)]
    pub seed: Option<u64>,
    #[serde(default)]
    pub shard: Option<Shard>,
    pub status: String,
    pub reason: String,
    #[serde(default)]
    pub key: Option<Key>,
    #[serde(default)]
    pub artifacts: BTreeMap<String, ArtifactId>,
    pub seconds: f64,
    #[serde(default)]
    pub peak_memory: Option<u64>,
    #[serde(default)]
    pub notes: Vec<String>,
    #[serde(default)]
    pub metrics: Option<Metrics>,
    #[serde(default)]
    pub provenance: Option<Value>,
}

impl RunRecord {
    /// Reads the record of a run; `None` where there is none.
    ///
    /// # Errors
    /// A record that cannot be read, with its file and the reason.
    pub fn read(store: &Store, run: &str) -> Result<Option<Self>, StoreError> {
        let Some(value) = store.run(run)? else { return Ok(None) };
        let mut record: Self = serde_json::from_value(value)
            .map_err(|error| StoreError::Record { path: store.run_path(run), message: error.to_string() })?;
        // Before 1.5 figures stood in the evaluation alone, which may be gone by now.
        for step in record.stages.iter_mut().filter(|step| step.metrics.is_none()) {
            let evaluation = step.artifacts.get("evaluation");
            if let Some(id) = evaluation.filter(|id| store.path("evaluation", id).exists()) {
                match figures::read(store, id) {
                    Ok(metrics) => step.metrics = Some(metrics),
                    Err(error) => show::warn(error.as_ref()),
                }
            }
        }
        Ok(Some(record))
    }

    /// The run that a name means: all of it, its first characters if no other begins so, or `latest`. `None` where no run is meant.
    ///
    /// # Errors
    /// Several that could be meant, or a record that cannot be read.
    pub fn find(store: &Store, name: &str) -> anyhow::Result<Option<Self>> {
        let runs = store.runs()?;
        let found: Vec<&String> = match name {
            "latest" => runs.first().into_iter().collect(),
            name if runs.iter().any(|run| run == name) => runs.iter().filter(|run| *run == name).collect(),
            // A run begins with its day, an artifact's id hardly does.
            name if name.len() >= 4 => runs.iter().filter(|run| run.starts_with(name)).collect(),
            _ => Vec::new(),
        };
        match found.as_slice() {
            [] => Ok(None),
            [one] => Ok(Self::read(store, one)?),
            several => {
                let shown: Vec<&str> = several.iter().take(5).map(|run| run.as_str()).collect();
                let more = if several.len() > shown.len() { ", ..." } else { "" };
                bail!(
                    "{name} can be any of {} runs: {}{more}; give more of the name",
                    several.len(),
                    shown.join(", ")
                )
            }
        }
    }

    /// What `--set` changed, as far as it was recorded.
    pub fn sets(&self) -> &[String] {
        self.set.as_deref().unwrap_or_default()
    }

    /// Its steps, sources first.
    pub fn steps(&self) -> impl Iterator<Item = &StepRecord> {
        self.sources.iter().chain(&self.stages)
    }

    /// The name and the key of each step that has one: a step that was skipped or failed early has none.
    pub fn keys(&self) -> impl Iterator<Item = (String, Key)> {
        self.steps().filter_map(|step| Some((step.name.clone(), step.key.clone()?)))
    }

    /// How it ended.
    pub fn status(&self) -> &str {
        let failed = || self.stages.iter().any(|step| step.status == "failed");
        self.status.as_deref().unwrap_or_else(|| if failed() { "failed" } else { "done" })
    }

    /// Every setting by its full name, as the pipeline file has it. Several seeds stand as `train.seeds` in the place of `train.seed`.
    pub fn flat_settings(&self) -> BTreeMap<String, Value> {
        flat(&self.settings)
    }

    /// What tells it from other runs of its command, in a few words; what `--set` said where there are none.
    pub fn label(&self) -> String {
        if self.variant.is_empty() {
            return self.sets().join(", ");
        }
        Variant { number: 0, settings: self.variant.clone().into_iter().collect() }.label()
    }

    /// What `evaluate` found, with the seed that was trained with.
    pub fn evaluations(&self) -> impl Iterator<Item = (Option<u64>, &StepRecord, &Metrics)> {
        let only = self.settings["train"]["seed"].as_u64();
        self.stages.iter().filter_map(move |step| Some((step.seed.or(only), step, step.metrics.as_ref()?)))
    }

    /// The tuned decoder's Dice of each seed.
    pub fn dice(&self) -> Vec<f64> {
        self.evaluations().filter_map(|(_, _, metrics)| metrics.methods.get("tuned")?.dice).collect()
    }
}

/// The records that can be read; a warning names each of the others.
pub fn readable<T>(listed: Listed<T>) -> Vec<T> {
    listed.unreadable.iter().for_each(|error| show::warn(error));
    listed.records
}

/// All action records, with a warning for each that cannot be read.
///
/// # Errors
/// When the folder of records cannot be listed.
pub fn all(store: &Store) -> Result<Records, StoreError> {
    let records = Records::read(store)?;
    records.unreadable().iter().for_each(|error| show::warn(error));
    Ok(records)
}

/// The record of a step, with a warning where it cannot be read.
pub fn action(store: &Store, stage: &str, key: &Key) -> Option<Action> {
    store.action(stage, key).unwrap_or_else(|error| {
        show::warn(&error);
        None
    })
}

/// Settings by their full names.
pub fn flat(settings: &Value) -> BTreeMap<String, Value> {
    let mut flat = BTreeMap::new();
    for (section, fields) in settings.as_object().into_iter().flatten() {
        for (name, value) in fields.as_object().into_iter().flatten() {
            flat.insert(format!("{section}.{name}"), value.clone());
        }
    }
    if let Some(seeds) = settings.get("seeds") {
        flat.remove("train.seed");
        flat.insert("train.seeds".into(), seeds.clone());
    }
    flat
}

/// "3 min ago" of a time in RFC 3339; the time itself where it cannot be read.
pub fn age(started: &str, now: jiff::Timestamp) -> String {
    let Ok(then) = started.parse::<jiff::Timestamp>() else { return started.to_owned() };
    match now.as_second() - then.as_second() {
        s if s < 60 => format!("{} s ago", s.max(0)),
        s if s < 3600 => format!("{} min ago", s / 60),
        s if s < 2 * 86_400 => format!("{} h ago", s / 3600),
        s => format!("{} days ago", s / 86_400),
    }
}

#[cfg(test)]
mod tests;
