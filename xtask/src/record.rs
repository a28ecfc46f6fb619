//! A run's record as later commands read it: every form since 1.0.

use crate::figures::{self, Metrics};
use crate::matrix::Variant;
use anyhow::{Context, bail};
use resect_artifact::{ArtifactId, Store};
use resect_embed_params::Shard;
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
    #[serde(default)]
    pub set: Vec<String>,
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
    pub key: Option<String>,
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
    /// Reads the record of a run; none where there is none that can be read.
    pub fn read(store: &Store, run: &str) -> Option<Self> {
        let mut record: Self = serde_json::from_value(store.run(run)?).ok()?;
        // Before 1.5 they stood in the artifact alone.
        for step in record.stages.iter_mut().filter(|step| step.metrics.is_none()) {
            step.metrics = step.artifacts.get("evaluation").and_then(|id| figures::read(store, id).ok());
        }
        Some(record)
    }

    /// The run that a name means: all of it, its first characters if no other begins so, or `latest`. `None` where no run is meant.
    ///
    /// # Errors
    /// Several that could be meant, or a record that cannot be read.
    pub fn find(store: &Store, name: &str) -> anyhow::Result<Option<Self>> {
        let runs = store.runs();
        let found: Vec<&String> = match name {
            "latest" => runs.first().into_iter().collect(),
            name if runs.iter().any(|run| run == name) => runs.iter().filter(|run| *run == name).collect(),
            // A run begins with its day, an artifact's id hardly does.
            name if name.len() >= 4 => runs.iter().filter(|run| run.starts_with(name)).collect(),
            _ => Vec::new(),
        };
        match found.as_slice() {
            [] => Ok(None),
            [one] => {
                let record = Self::read(store, one);
                record.map(Some).with_context(|| format!("the record of run {one} cannot be read"))
            }
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

    /// Its steps, sources first.
    pub fn steps(&self) -> impl Iterator<Item = &StepRecord> {
        self.sources.iter().chain(&self.stages)
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
            return self.set.join(", ");
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
