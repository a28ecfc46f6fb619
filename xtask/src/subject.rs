//! What `predict` and `export` work on: a checkpoint as it lies on disk, or a tuned decoder in the store together with
//! the base checkpoint it belongs to.

use crate::device::Place;
use crate::lineage::input;
use crate::pipeline;
use crate::plan::{Step, numeric_class};
use crate::record::{RunRecord, readable};
use anyhow::{Context, bail};
use resect_artifact::{Action, ArtifactId, Store};
use resect_checkpoint::{Checkpoint, TensorFile};
use resect_checkpoint_records::Summary;
use resect_tuning::EncoderTune;
use std::path::{Path, PathBuf};

/// A checkpoint to work with.
pub struct Subject {
    /// The whole model: a folder with `config.json` and `model.safetensors`, or whatever else [`Checkpoint::open`] reads.
    pub base: PathBuf,
    /// Its id, where it lies in the store.
    pub base_id: Option<ArtifactId>,
    /// The tuned decoder that takes the place of the base's.
    pub tuned: Option<Tuned>,
}

/// A `checkpoint` artifact and how it was made.
pub struct Tuned {
    /// The artifact.
    pub id: ArtifactId,
    /// Its folder.
    pub dir: PathBuf,
    /// Its `checkpoint.json`.
    pub summary: Summary,
    /// The record of the stage that made it.
    pub action: Action,
}

impl Tuned {
    /// The tuned model over its base.
    ///
    /// # Errors
    /// Weights that cannot be read or do not fit the base.
    pub fn over<'a>(&self, base: &'a Checkpoint) -> anyhow::Result<resect_tuning::Tuned<'a>> {
        let tensors = TensorFile::open(&self.summary.weights(&self.dir))?.read_weights()?;
        Ok(resect_tuning::Tuned::new(base, &self.summary.tuning, tensors)?)
    }
}

impl Subject {
    /// Finds what `name` means: a checkpoint on disk, an artifact of kind `checkpoint` or `base` (its folder, or the first digits
    /// of its id), or a run. Without a name it is the checkpoint that a pipeline gave last: that of a file, or of the workspace's
    /// `pipeline.toml`.
    ///
    /// # Errors
    /// A name that means nothing or several things, an artifact that is damaged, a pipeline that has not been run.
    pub fn find(name: Option<&str>, store: &Store, pipeline: Option<&Path>) -> anyhow::Result<Self> {
        match name {
            Some(name) => Self::named(name, store),
            None => Self::latest(store, &pipeline::file(pipeline)?),
        }
    }

    fn named(name: &str, store: &Store) -> anyhow::Result<Self> {
        let path = Path::new(name);
        if path.exists() {
            if let Some((kind, id)) = artifact_at(path, store) {
                return Self::artifact(kind, &id, store);
            }
            Checkpoint::check(path).with_context(|| format!("{name} is no checkpoint"))?;
            return Ok(Self { base: std::path::absolute(path)?, base_id: None, tuned: None });
        }
        if let Some(run) = RunRecord::read(store, name)? {
            let id = run.stages.iter().find_map(|stage| stage.artifacts.get("checkpoint"));
            let id = id.with_context(|| format!("run {name} made no checkpoint"))?;
            return Self::artifact("checkpoint", id, store);
        }
        let mut found = Vec::new();
        for kind in ["checkpoint", "base"] {
            found.extend(store.ids(kind, name)?.into_iter().map(|id| (kind, id)));
        }
        match found.as_slice() {
            [(kind, id)] => Self::artifact(kind, id, store),
            [] => bail!(
                "there is no folder, run or artifact {name}; expected a checkpoint, the name of a run, or the first \
                 digits of a checkpoint's id as `cargo xtask run` prints it"
            ),
            several => {
                let names: Vec<_> =
                    several.iter().map(|(kind, id)| format!("{kind} {}", id.short())).collect();
                bail!("{name} can be any of {}; give more digits", names.join(", "))
            }
        }
    }

    fn latest(store: &Store, pipeline: &Path) -> anyhow::Result<Self> {
        let key = store.latest(pipeline::name(pipeline)?)?.remove("train");
        let action = key.map(|key| store.action("train", &key)).transpose()?.flatten();
        let id = action.and_then(|action| action.outputs.get("checkpoint").cloned());
        let id = id.with_context(|| {
            let path = crate::workspace::display(pipeline);
            format!(
                "{path} has given no checkpoint yet: `cargo xtask run --pipeline {path}` first, or name one"
            )
        })?;
        Self::artifact("checkpoint", &id, store)
    }

    fn artifact(kind: &str, id: &ArtifactId, store: &Store) -> anyhow::Result<Self> {
        let sound = |kind: &str, id: &ArtifactId| store.check(kind, id).map_err(anyhow::Error::msg);
        if kind == "base" {
            sound("base", id)?;
            return Ok(Self { base: store.path("base", id), base_id: Some(id.clone()), tuned: None });
        }
        sound("checkpoint", id)?;
        let actions = readable(store.actions("train")).into_iter();
        let made = actions.filter(|action| action.outputs.get("checkpoint") == Some(id));
        // What was only accepted says less about how it was made.
        let action = made.min_by_key(|action| action.accepted.is_some());
        let action =
            action.with_context(|| format!("no record says how checkpoint {} was made", id.short()))?;
        let base_id = input(&action, "base").context("the record of the checkpoint names no base")?;
        sound("base", &base_id)
            .context("the checkpoint holds the decoder alone, and its base is not in the store")?;
        let dir = store.path("checkpoint", id);
        let tuned = Tuned { id: id.clone(), summary: Summary::read(&dir)?, dir, action };
        Ok(Self { base: store.path("base", &base_id), base_id: Some(base_id), tuned: Some(tuned) })
    }

    /// The artifacts it lies in, by kind.
    pub fn artifacts(&self) -> impl Iterator<Item = (&'static str, &ArtifactId)> {
        let tuned = self.tuned.as_ref().map(|tuned| ("checkpoint", &tuned.id));
        self.base_id.as_ref().map(|id| ("base", id)).into_iter().chain(tuned)
    }

    /// Hashes them: for what computes with them, or hands them on.
    pub fn verify(&self, store: &Store) -> anyhow::Result<()> {
        self.artifacts()
            .try_for_each(|(kind, id)| store.verify(kind, id).map(drop).map_err(anyhow::Error::msg))
    }

    /// What it is, in a line.
    pub fn describe(&self) -> String {
        let base = match &self.base_id {
            Some(id) => format!("base {}", id.short()),
            None => crate::workspace::display(&self.base),
        };
        match &self.tuned {
            Some(tuned) => format!("checkpoint {} over {base}", tuned.id.short()),
            None => format!("{base}, not tuned"),
        }
    }

    /// Whether its image encoder was tuned, so that what `embed` stored is of no use.
    fn encodes_anew(&self) -> bool {
        self.tuned.as_ref().is_some_and(|tuned| tuned.summary.tuning.encoder.tune != EncoderTune::None)
    }

    /// Folders of embeddings in the store that the encoder of this checkpoint gave, the latest first: those which `embed` would
    /// give again now where `predict` computes (`place`), with its code at hand (`code`), in single precision, in which `predict`
    /// encodes.
    pub fn embeddings(&self, store: &Store, code: &str, place: &Place) -> Vec<PathBuf> {
        let Some(base) = self.base_id.as_ref().filter(|_| !self.encodes_anew()) else { return Vec::new() };
        let numeric = numeric_class(Step::Embed, place);
        let actions = readable(store.actions("embed")).into_iter().filter(|action| {
            let says = |field: &str, value: &str| action.document[field].as_str() == Some(value);
            action.accepted.is_none()
                && says("code", code)
                && says("numeric", &numeric)
                && action.document["params"]["precision"] == "f32"
                && action.document["params"]["place"].is_null()
                && input(action, "base").as_ref() == Some(base)
        });
        let ids = actions.filter_map(|action| action.outputs.get("embeddings").cloned());
        ids.filter(|id| store.check("embeddings", id).is_ok())
            .map(|id| store.path("embeddings", &id))
            .collect()
    }
}

/// The kind and id of an artifact whose folder in the store this is.
fn artifact_at(dir: &Path, store: &Store) -> Option<(&'static str, ArtifactId)> {
    let dir = dir.canonicalize().ok()?;
    ["checkpoint", "base"].into_iter().find_map(|kind| {
        let parent = store.root().join(kind).canonicalize().ok()?;
        let name = dir.strip_prefix(parent).ok()?.to_str()?;
        Some((kind, name.to_owned().try_into().ok()?))
    })
}
