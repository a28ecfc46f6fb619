//! Where a checkpoint comes from, as the store's records tell it: every artifact behind it, their settings, and what was said of it.

use crate::subject::Subject;
use resect_artifact::{Action, ArtifactId, Store};
use serde_json::Value;
use std::collections::BTreeMap;

/// What stands behind a checkpoint. Records may be gone; whatever is not known is absent.
#[derive(Default)]
pub struct Lineage {
    /// How the dataset was read.
    pub ingest: Option<Action>,
    /// How images were embedded.
    pub embed: Option<Action>,
    /// How the decoder was tuned.
    pub train: Option<Action>,
    /// How the tuned decoder was scored.
    pub evaluation: Option<Action>,
    /// `checkpoint.json`: the kept epoch.
    pub summary: Value,
    /// `audit.json` of the targets.
    pub audit: Value,
    /// `metrics.json` of the evaluation.
    pub metrics: Value,
    /// `[dataset]` of the run that tuned it.
    pub dataset: Value,
    /// `[checkpoint]` of that run: where the base comes from.
    pub base: Value,
    /// Whether the base was never trained.
    pub base_is_random: bool,
    /// The base's artifact.
    pub base_id: Option<ArtifactId>,
    /// The tuned decoder's artifact.
    pub checkpoint_id: Option<ArtifactId>,
}

impl Lineage {
    /// Follows the records back from a checkpoint.
    ///
    /// # Errors
    /// A record that names an artifact in a way that cannot be.
    pub fn of(subject: &Subject, store: &Store) -> anyhow::Result<Self> {
        let made = |stage: &str, kind: &str, id: &str| {
            let mut actions = store.actions(stage).into_iter().filter(|action| {
                action.accepted.is_none() && action.outputs.get(kind).is_some_and(|made| made.as_str() == id)
            });
            actions.next()
        };
        let base_id = subject.base_id.clone();
        let base = base_id.as_ref().and_then(|id| made("base", "base", id.as_str()));
        let settings_of = |run: &str| store.run(run).map(|record| record["settings"].clone());
        let base_is_random =
            base.as_ref().is_some_and(|action| action.document["params"]["kind"] == "random");
        let Some(tuned) = &subject.tuned else {
            let settings = base.as_ref().and_then(|action| settings_of(&action.run)).unwrap_or_default();
            return Ok(Self {
                base: settings["checkpoint"].clone(),
                base_is_random,
                base_id,
                ..Self::default()
            });
        };
        let train = tuned.action.clone();
        let input = |kind: &str| train.document["inputs"][kind].as_str().unwrap_or_default().to_owned();
        let ingest = made("ingest", "targets", &input("targets"));
        let embed = made("embed", "embeddings", &input("embeddings"));
        let of_checkpoint =
            |action: &Action| action.document["inputs"]["checkpoint"].as_str() == Some(tuned.id.as_str());
        // The latest evaluation of this checkpoint on the targets it was tuned for; other targets are other figures.
        let evaluation = store.actions("evaluate").into_iter().find(|action| {
            let artifact = action.outputs.get("evaluation");
            of_checkpoint(action)
                && action.document["inputs"]["targets"] == train.document["inputs"]["targets"]
                && artifact.is_some_and(|id| store.check("evaluation", id).is_ok())
        });
        let json = |kind: &str, id: Option<&ArtifactId>, file: &str| {
            let path = id.map(|id| store.path(kind, id).join(file));
            path.and_then(|path| serde_json::from_slice(&std::fs::read(path).ok()?).ok()).unwrap_or_default()
        };
        let targets = input("targets").try_into().ok();
        let metrics: Value = json(
            "evaluation",
            evaluation.as_ref().and_then(|action| action.outputs.get("evaluation")),
            "metrics.json",
        );
        // Figures of another form are none: today's `evaluate` makes them anew.
        let known =
            metrics["format"].as_str().is_some_and(|format| format.starts_with("resect-evaluation/2."));
        let settings = settings_of(&train.run).unwrap_or_default();
        Ok(Self {
            summary: json("checkpoint", Some(&tuned.id), "checkpoint.json"),
            audit: json("targets", targets.as_ref(), "audit.json"),
            metrics: if known { metrics } else { Value::Null },
            dataset: settings["dataset"].clone(),
            base: settings["checkpoint"].clone(),
            base_is_random,
            base_id,
            checkpoint_id: Some(tuned.id.clone()),
            ingest,
            embed,
            train: Some(train),
            evaluation,
        })
    }

    /// Every artifact's id, by kind.
    pub fn ids(&self) -> BTreeMap<String, ArtifactId> {
        let mut ids = BTreeMap::new();
        for action in [&self.ingest, &self.embed, &self.train, &self.evaluation].into_iter().flatten() {
            for (kind, id) in action.document["inputs"].as_object().into_iter().flatten() {
                if let Some(id) = id.as_str().and_then(|id| ArtifactId::try_from(id.to_owned()).ok()) {
                    ids.insert(kind.clone(), id);
                }
            }
            ids.extend(action.outputs.clone());
        }
        ids.extend(self.base_id.clone().map(|id| ("base".to_owned(), id)));
        ids.extend(self.checkpoint_id.clone().map(|id| ("checkpoint".to_owned(), id)));
        ids
    }

    /// The stages that have a record, in the order in which data flows.
    pub fn stages(&self) -> impl Iterator<Item = &Action> {
        [&self.ingest, &self.embed, &self.train, &self.evaluation].into_iter().flatten()
    }
}

/// The repository of a section of settings whose kind is `hub`.
pub fn repository(section: &Value) -> Option<&str> {
    section["repository"].as_str().filter(|name| section["kind"] == "hub" && !name.is_empty())
}

/// Of local files only the last part of the path is told.
pub fn file_name(section: &Value) -> Option<&str> {
    section["path"].as_str()?.split(['/', '\\']).rfind(|part| !part.is_empty())
}
