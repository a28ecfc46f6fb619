//! Where a checkpoint comes from, as the store's records tell it: every artifact behind it, their settings, and their figures.

mod documents;

pub use documents::*;

use crate::record::{RunRecord, readable};
use crate::subject::Subject;
use anyhow::Context;
use resect_artifact::{Action, ArtifactId, Store};
use serde::Deserialize;
use std::collections::BTreeMap;

/// What stands behind a checkpoint. Records may be gone; whatever is not known is absent.
#[derive(Default)]
pub struct Lineage {
    /// How the dataset was read.
    pub ingest: Option<Action>,
    /// How images were embedded.
    pub embed: Option<Action>,
    /// How the decoder was tuned.
    pub train: Option<Trained>,
    /// How the tuned decoder was scored.
    pub evaluation: Option<Action>,
    /// `checkpoint.json`: the kept epoch.
    pub summary: Option<Summary>,
    /// `audit.json` of the targets.
    pub audit: Option<Audit>,
    /// `metrics.json` of the evaluation.
    pub metrics: Option<Evaluation>,
    /// `[dataset]` of the run that tuned it.
    pub dataset: Option<Origin>,
    /// `[checkpoint]` of that run: where the base comes from.
    pub base: Option<Origin>,
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
    /// A record or a file of an artifact that is there and cannot be read.
    pub fn of(subject: &Subject, store: &Store) -> anyhow::Result<Self> {
        let made = |stage: &str, kind: &str, id: &ArtifactId| {
            let mut actions = readable(store.actions(stage)).into_iter();
            actions.find(|action| action.accepted.is_none() && action.outputs.get(kind) == Some(id))
        };
        let base_id = subject.base_id.clone();
        let base = base_id.as_ref().and_then(|id| made("base", "base", id));
        // Only a base that was made has settings; one that was copied has files.
        let made_as = base.as_ref().and_then(|action| action.document.get("params"));
        let made_as =
            made_as.map(Origin::deserialize).transpose().context("the record of the base checkpoint")?;
        let is_random = |origin: Option<&Origin>| matches!(origin, Some(Origin::Random { .. }));
        let Some(tuned) = &subject.tuned else {
            let origin = match &base {
                Some(action) => origin_of(store, &action.run, "checkpoint")?,
                None => None,
            };
            return Ok(Self {
                base_is_random: is_random(made_as.as_ref()) || is_random(origin.as_ref()),
                base: origin,
                base_id,
                ..Self::default()
            });
        };
        let train = tuned.action.clone();
        let input = |kind: &str| {
            let id = input(&train, kind);
            id.with_context(|| format!("the record of train with key {} names no {kind}", train.key.short()))
        };
        let targets = input("targets")?;
        // What is tuned from the pixels on reads none.
        let embeddings = self::input(&train, "embeddings");
        let ingest = made("ingest", "targets", &targets);
        let embed = embeddings.and_then(|id| made("embed", "embeddings", &id));
        // The latest evaluation of this checkpoint on the targets it was tuned for; other targets are other figures.
        let evaluation = readable(store.actions("evaluate")).into_iter().find_map(|action| {
            let reads = |kind: &str, id: &ArtifactId| self::input(&action, kind).as_ref() == Some(id);
            let id = action.outputs.get("evaluation").cloned()?;
            let fits = reads("checkpoint", &tuned.id) && reads("targets", &targets);
            (fits && store.check("evaluation", &id).is_ok()).then_some((action, id))
        });
        let (evaluation, scored) = evaluation.unzip();
        let metrics = match &scored {
            Some(id) => metrics(store, id)?,
            None => None,
        };
        let origin = origin_of(store, &train.run, "checkpoint")?;
        Ok(Self {
            summary: read(store, "checkpoint", &tuned.id, "checkpoint.json")?,
            audit: read(store, "targets", &targets, "audit.json")?,
            metrics,
            dataset: origin_of(store, &train.run, "dataset")?,
            base_is_random: is_random(made_as.as_ref()) || is_random(origin.as_ref()),
            base: origin,
            base_id,
            checkpoint_id: Some(tuned.id.clone()),
            ingest,
            embed,
            train: Some(Trained::of(train)?),
            evaluation,
        })
    }

    /// Every artifact's id, by kind.
    pub fn ids(&self) -> BTreeMap<String, ArtifactId> {
        let mut ids = BTreeMap::new();
        for action in self.stages() {
            ids.extend(action.inputs());
            ids.extend(action.outputs.clone());
        }
        ids.extend(self.base_id.clone().map(|id| ("base".to_owned(), id)));
        ids.extend(self.checkpoint_id.clone().map(|id| ("checkpoint".to_owned(), id)));
        ids
    }

    /// The stages that have a record, in the order in which data flows.
    pub fn stages(&self) -> impl Iterator<Item = &Action> {
        let train = self.train.as_ref().map(|train| &train.action);
        [self.ingest.as_ref(), self.embed.as_ref(), train, self.evaluation.as_ref()].into_iter().flatten()
    }
}

/// The artifact of a kind that a step read.
pub fn input(action: &Action, kind: &str) -> Option<ArtifactId> {
    action.inputs().into_iter().find_map(|(found, id)| (found == kind).then_some(id))
}

/// A section of the settings of a run, which says where data or weights come from; `None` where the run left no record.
fn origin_of(store: &Store, run: &str, section: &str) -> anyhow::Result<Option<Origin>> {
    let Some(record) = RunRecord::read(store, run)? else { return Ok(None) };
    let origin = Origin::deserialize(&record.settings[section]);
    origin.map(Some).with_context(|| format!("settings.{section} in {}", store.run_path(run).display()))
}

/// The figures of an evaluation. Those of another major version are none: today's `evaluate` makes them anew.
fn metrics(store: &Store, evaluation: &ArtifactId) -> anyhow::Result<Option<Evaluation>> {
    #[derive(Deserialize)]
    struct Head {
        format: String,
    }
    let path = store.path("evaluation", evaluation).join("metrics.json");
    if of_file::<Head>(&path)?.format.starts_with("resect-evaluation/2.") {
        of_file(&path).map(Some)
    } else {
        Ok(None)
    }
}
