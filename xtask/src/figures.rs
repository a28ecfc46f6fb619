//! The figures of an evaluation that runs are compared by, out of its `metrics.json`.

use crate::lineage::present;
use anyhow::{Context, ensure};
use resect_artifact::{ArtifactId, Store};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Means over the test part, tight boxes; absent where a mean is not defined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    pub dice: Option<f64>,
    pub iou: Option<f64>,
    /// Pixels of the original image.
    pub hd95: Option<f64>,
    /// Normalised surface Dice.
    pub nsd: Option<f64>,
    pub low_res_dice: Option<f64>,
    pub low_res_iou: Option<f64>,
}

/// What a run's record says of an evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Targets that were scored.
    pub targets: u64,
    /// The kept epoch.
    pub epoch: u32,
    /// By method: `box`, `ellipse`, `otsu`, `untuned`, `tuned`.
    pub methods: BTreeMap<String, Figures>,
}

/// The part of `metrics.json` that is read here.
#[derive(Deserialize)]
struct File {
    targets: u64,
    checkpoint: Kept,
    methods: Vec<Method>,
}

#[derive(Deserialize)]
struct Kept {
    epoch: u32,
}

#[derive(Deserialize)]
struct Method {
    method: String,
    all: Totals,
}

#[derive(Deserialize)]
struct Totals {
    original: Of,
    low_res: Of,
}

#[derive(Deserialize)]
struct Of {
    dice: Estimate,
    iou: Estimate,
    hd95: Estimate,
    surface_dice: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    #[serde(deserialize_with = "present")]
    mean: Option<f64>,
}

/// Reads those of an evaluation in the store.
///
/// # Errors
/// A file that is not there, has another form, or lacks the figures of the tuned decoder.
pub fn read(store: &Store, evaluation: &ArtifactId) -> anyhow::Result<Metrics> {
    let path = store.path("evaluation", evaluation).join("metrics.json");
    let read = std::fs::read(&path).map_err(anyhow::Error::from);
    let file = read.and_then(|json| Ok(serde_json::from_slice::<File>(&json)?));
    let file = file.with_context(|| format!("cannot read {}", path.display()))?;
    let is_tuned = |method: &Method| method.method == "tuned";
    ensure!(
        file.methods.iter().any(is_tuned),
        "{} has no figures of the tuned decoder; `run --force evaluate` scores it again",
        path.display()
    );
    let methods = file.methods.into_iter().map(|Method { method, all: Totals { original, low_res } }| {
        let figures = Figures {
            dice: original.dice.mean,
            iou: original.iou.mean,
            hd95: original.hd95.mean,
            nsd: original.surface_dice.mean,
            low_res_dice: low_res.dice.mean,
            low_res_iou: low_res.iou.mean,
        };
        (method, figures)
    });
    Ok(Metrics { targets: file.targets, epoch: file.checkpoint.epoch, methods: methods.collect() })
}

#[cfg(test)]
mod tests;
