//! What the steps of a pipeline are, what their keys are made of, and whether they must run.

use crate::code::Codes;
use crate::device::{Place, Places};
use crate::hub::Resolver;
use crate::matrix::Variant;
use crate::pipeline::Pipeline;
use crate::record::{self, readable};
use crate::show;
use crate::sound::Sound;
use crate::sources::Sources;
use resect_artifact::{Accepted, Action, ArtifactId, Hash, Key, Store};
use resect_device::Settings;
use resect_embed_params::{EmbedParams, Shard};
use resect_numeric::Place as ModelPlace;
use resect_train_params::TrainParams;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;

/// The steps in the order they run: two sources and four stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    Dataset,
    Base,
    Ingest,
    Embed,
    Train,
    Evaluate,
}

impl Step {
    pub const ALL: [Step; 6] =
        [Step::Dataset, Step::Base, Step::Ingest, Step::Embed, Step::Train, Step::Evaluate];
    pub const STAGES: [Step; 4] = [Step::Ingest, Step::Embed, Step::Train, Step::Evaluate];

    pub fn name(self) -> &'static str {
        match self {
            Step::Dataset => "dataset",
            Step::Base => "base",
            Step::Ingest => "ingest",
            Step::Embed => "embed",
            Step::Train => "train",
            Step::Evaluate => "evaluate",
        }
    }

    /// Kinds of the artifacts it reads; each kind is made by one step. `place` is where the tuned part of the model begins: what begins
    /// with pixels reads no embeddings.
    pub fn inputs(self, place: ModelPlace) -> &'static [&'static str] {
        match (self, place) {
            (Step::Dataset | Step::Base, _) => &[],
            (Step::Ingest, _) => &["dataset"],
            (Step::Embed, _) => &["images", "base"],
            (Step::Train, ModelPlace::Pixels) => &["images", "targets", "base"],
            (Step::Train, _) => &["embeddings", "targets", "base"],
            (Step::Evaluate, ModelPlace::Pixels) => &["checkpoint", "images", "targets", "base"],
            (Step::Evaluate, _) => &["checkpoint", "images", "embeddings", "targets", "base"],
        }
    }

    /// Kinds of the artifacts it makes.
    pub fn outputs(self) -> &'static [&'static str] {
        match self {
            Step::Dataset => &["dataset"],
            Step::Base => &["base"],
            Step::Ingest => &["images", "targets"],
            Step::Embed => &["embeddings"],
            Step::Train => &["checkpoint"],
            Step::Evaluate => &["evaluation"],
        }
    }

    pub fn is_source(self) -> bool {
        matches!(self, Step::Dataset | Step::Base)
    }
}

/// A step of a run. With several seeds, `train` and `evaluate` come once for each; in shards, `embed` comes once for each, and once
/// more to put them together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    pub step: Step,
    /// Kinds of the artifacts it reads.
    pub reads: &'static [&'static str],
    /// The seed, where there are several.
    pub seed: Option<u64>,
    /// The part of the images that it embeds, where that is not all.
    pub shard: Option<Shard>,
    /// Whether it is of the first seed: what a pipeline gave last is what that one gave.
    first: bool,
}

impl Task {
    fn once(step: Step, place: ModelPlace) -> Self {
        Self { step, reads: step.inputs(place), seed: None, shard: None, first: true }
    }

    /// What tells it from others of its step in the same run.
    fn label(self) -> Option<String> {
        let seed = self.seed.map(|seed| format!("seed {seed}"));
        seed.or_else(|| self.shard.map(|shard| format!("shard {shard}")))
    }

    /// Name of the folder of what it logs.
    pub fn folder(self) -> String {
        self.seed
            .map_or_else(|| self.step.name().to_owned(), |seed| format!("{}-seed-{seed}", self.step.name()))
    }

    /// Whether what it makes is read by steps after it; a shard is read by the step that puts shards together alone.
    pub fn is_known_to(self, other: Task) -> bool {
        self.shard.is_none() && (self.seed.is_none() || self.seed == other.seed)
    }
}

impl std::str::FromStr for Step {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let names = Self::STAGES.map(Self::name).join(", ");
        Self::STAGES
            .into_iter()
            .find(|step| step.name() == name)
            .ok_or_else(|| format!("there is no stage {name}; there are {names}"))
    }
}

/// Kind to artifact, as far as known.
pub type Known = BTreeMap<&'static str, ArtifactId>;

/// A pipeline with its sources resolved: enough to say of each step what its key is.
pub struct Plan {
    pub pipeline: Pipeline,
    /// What tells it from the others of a matrix.
    pub variant: Option<Variant>,
    pub sources: Arc<Sources>,
    /// Where the part of the model begins that the pipeline tunes.
    pub place: ModelPlace,
    pub store: Store,
    /// What of it this command has hashed.
    pub sound: Arc<Sound>,
    places: Arc<Places>,
    codes: Arc<Codes>,
    /// Stages whose artifacts are accepted although their code, or their numeric class, was another.
    accept: [(&'static str, Vec<Step>); 2],
    /// The keys this pipeline used last.
    pub latest: BTreeMap<String, Key>,
}

/// Which shards of `embed` are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shards {
    /// This one alone.
    One(Shard),
    /// So many, and what they make together.
    All(NonZeroU32),
}

/// What was found out, by what it was asked for.
struct Once<T>(Vec<(Value, Arc<T>)>);

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Once<T> {
    fn of(&mut self, asked: Value, find: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<Arc<T>> {
        if let Some((_, known)) = self.0.iter().find(|(known, _)| *known == asked) {
            return Ok(known.clone());
        }
        let found = Arc::new(find()?);
        self.0.push((asked, found.clone()));
        Ok(found)
    }
}

/// What a step's key says.
#[derive(Clone)]
pub struct Keyed {
    pub document: Value,
    pub key: Key,
}

/// Whether a step must run.
pub enum Decision {
    /// An earlier run of the same key is there with all its artifacts.
    Reuse(Box<Action>),
    /// Another key's artifacts are there, and the user accepts what is different about it. The record is the one to
    /// be written for this key.
    Accept(Box<Action>),
    /// It must run, and why: one line for each thing that changed.
    Run(Vec<String>),
}

impl Plan {
    /// Reads the pipeline file, checks it and resolves the sources: one plan, or one for each run that its matrix makes. They share
    /// what costs time to find out.
    pub fn all(args: &crate::PipelineArgs) -> anyhow::Result<Vec<Self>> {
        let pipelines = Pipeline::load(args.pipeline.as_deref(), &args.set)?;
        let store = args.store.open()?;
        let codes = Arc::new(Codes::new(args.bin_dir.as_deref())?);
        let accept = [("code", args.accept_code.clone()), ("numeric", args.accept_device.clone())];
        let file = crate::pipeline::file(args.pipeline.as_deref())?;
        // Only explanations depend on it, so a run goes on without.
        let latest = store.latest(crate::pipeline::name(&file)?).unwrap_or_else(|error| {
            show::warn(&error);
            BTreeMap::new()
        });
        let sound = Arc::new(Sound::new(args.verify));
        let mut hub = Resolver::new(&file, args.offline, args.update)?;
        let (mut places, mut sources) = (Once::default(), Once::default());
        let mut plans = Vec::new();
        for (variant, mut pipeline) in pipelines {
            if let Some(choice) = args.device {
                pipeline.device = Settings { embed: choice, train: choice, evaluate: choice };
            }
            let places = places.of(json!(pipeline.device), || Ok(Places::find(&pipeline.device)?))?;
            let from = json!([pipeline.dataset, pipeline.checkpoint]);
            let sources = sources.of(from, || Sources::resolve(&pipeline, &store, &mut hub))?;
            let tuning = pipeline.train.tuning();
            tuning.check(&sources.model)?;
            let place = tuning.place(&sources.model)?;
            let (store, sound, codes) = (store.clone(), sound.clone(), codes.clone());
            let (accept, latest) = (accept.clone(), latest.clone());
            plans.push(Self {
                pipeline,
                variant,
                sources,
                place,
                store,
                sound,
                places,
                codes,
                accept,
                latest,
            });
        }
        hub.save()?;
        Ok(plans)
    }

    /// What tells a task from others of its step; empty where there are none.
    pub fn label(&self, task: Task) -> String {
        label([(self, task)].into_iter())
    }

    /// What is said of a task, after its label.
    pub fn says(&self, task: Task, what: &str) -> String {
        says(&self.label(task), what)
    }

    /// The name under which the key that a task used last is remembered.
    pub fn memory(&self, task: Task) -> String {
        let variant = self.variant.as_ref().filter(|variant| variant.number > 0).map(Variant::label);
        let seed = task.seed.filter(|_| !task.first).map(|seed| format!("seed {seed}"));
        let shard = task.shard.map(|shard| format!("shard {shard}"));
        let name = Some(task.step.name().to_owned());
        [name, variant, seed, shard].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    pub fn bin_dir(&self) -> Option<&std::path::Path> {
        self.codes.bin_dir()
    }

    /// Where each step computes.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// The steps of a run in their order. Of `shards`, only one can be meant: then nothing after it is.
    pub fn tasks(&self, shards: Option<Shards>) -> Vec<Task> {
        let upto = if matches!(shards, Some(Shards::One(_))) { Step::Embed } else { Step::Evaluate };
        let mut tasks = Vec::new();
        let once = |step| Task::once(step, self.place);
        // What is tuned from the pixels on needs no features.
        let is_done = |step: &Step| *step != Step::Embed || self.place != ModelPlace::Pixels;
        for step in Step::ALL.into_iter().filter(|step| *step < Step::Train).filter(is_done) {
            let shard = |shard| Task { shard: Some(shard), ..once(step) };
            match shards.filter(|_| step == Step::Embed) {
                Some(Shards::One(one)) => tasks.push(shard(one)),
                Some(Shards::All(count)) => {
                    tasks.extend((1..=count.get()).map(|index| shard(Shard { index, count: count.get() })));
                    tasks.push(once(step));
                }
                None => tasks.push(once(step)),
            }
        }
        let seeds: Vec<Option<u64>> = match self.pipeline.seeds.as_slice() {
            [] => vec![None],
            seeds => seeds.iter().copied().map(Some).collect(),
        };
        for (i, seed) in seeds.into_iter().enumerate() {
            let each = Step::ALL.into_iter().filter(|step| *step >= Step::Train && *step <= upto);
            tasks.extend(each.map(|step| Task { seed, first: i == 0, ..once(step) }));
        }
        tasks
    }

    /// The key of a step, given the artifacts it reads.
    pub fn key(&self, task: Task, known: &Known) -> anyhow::Result<Keyed> {
        let step = task.step;
        let mut document = match self.sources.of(step) {
            Some(source) => source.document(&self.pipeline)?,
            None => {
                let inputs: BTreeMap<_, _> = task.reads.iter().map(|kind| (*kind, known.get(kind))).collect();
                let numeric = numeric_class(step, self.places.of(step));
                json!({ "params": self.params(task), "inputs": inputs, "numeric": numeric })
            }
        };
        document["stage"] = step.name().into();
        if let Some(code) = self.code(step)? {
            document["code"] = code.into();
        }
        Ok(Keyed { key: Hash::key(&document), document })
    }

    /// The settings of a stage that shape its output.
    pub fn params(&self, task: Task) -> Value {
        let pipeline = &self.pipeline;
        match task.step {
            Step::Dataset | Step::Base => Value::Null,
            Step::Ingest => json!(pipeline.ingest_params(&self.sources.model)),
            Step::Embed => {
                json!(EmbedParams { shard: task.shard, place: self.place, ..pipeline.embed_params() })
            }
            Step::Train => {
                let seed = task.seed.unwrap_or(pipeline.train.seed);
                json!(TrainParams { seed, ..pipeline.train.clone() })
            }
            Step::Evaluate => json!(pipeline.evaluate),
        }
    }

    /// The identity of the code behind a step.
    pub fn code(&self, step: Step) -> anyhow::Result<Option<String>> {
        match self.sources.of(step) {
            Some(source) => Ok(source.code().map(str::to_owned)),
            None => self.codes.of_stage(step).map(Some),
        }
    }

    /// Whether a step must run. `run` names the present run in the record of what it accepts.
    pub fn decide(&self, task: Task, keyed: &Keyed, forced: bool, run: &str) -> Decision {
        let step = task.step;
        if forced {
            return Decision::Run(vec!["forced".into()]);
        }
        let reasons = match self.store.action(step.name(), &keyed.key) {
            Err(error) => vec![error.to_string()],
            Ok(None) => self.changes(task, keyed),
            Ok(Some(action)) => match self.damage(step, &action) {
                damage if damage.is_empty() => return Decision::Reuse(Box::new(action)),
                damage => damage,
            },
        };
        let fields: Vec<&str> =
            self.accept.iter().filter(|(_, steps)| steps.contains(&step)).map(|(field, _)| *field).collect();
        match self.acceptable(task, keyed, &fields) {
            Some((action, reason)) => {
                let accepted = Some(Accepted { key: action.key, reason, run: run.to_owned() });
                let (key, document) = (keyed.key.clone(), keyed.document.clone());
                Decision::Accept(Box::new(Action { key, document, accepted, ..action }))
            }
            None => Decision::Run(reasons),
        }
    }

    /// What is missing or wrong among the artifacts that a record names.
    fn damage(&self, step: Step, action: &Action) -> Vec<String> {
        let outputs = step.outputs().iter();
        let damage = outputs.filter_map(|kind| match action.outputs.get(*kind) {
            Some(id) => self.sound.reusable(&self.store, kind, id).err(),
            None => Some(format!("its record names no {kind}")),
        });
        damage.collect()
    }

    /// An action whose key differs from this one in nothing but some of `fields`, with its artifacts sound, and what
    /// is different about it. The one this pipeline used last comes first, then the latest.
    fn acceptable(&self, task: Task, keyed: &Keyed, fields: &[&str]) -> Option<(Action, String)> {
        if fields.is_empty() {
            return None;
        }
        let (step, last) = (task.step, self.latest(task));
        let mut actions = readable(self.store.actions(step.name()));
        actions.sort_by_key(|action| Some(&action.key) != last);
        actions.into_iter().find_map(|action| {
            let mut differ = Vec::new();
            differences(&action.document, &keyed.document, "", &mut differ);
            // What was accepted itself is found under the key that made it.
            let fits = action.accepted.is_none()
                && !differ.is_empty()
                && differ.iter().all(|difference| fields.contains(&difference.path.as_str()))
                && self.damage(step, &action).is_empty();
            let words = differ.iter().map(|difference| match difference.path.as_str() {
                "numeric" => format!("made on {}", plain(&difference.before)),
                _ => "its code changed since".to_owned(),
            });
            let reason = words.collect::<Vec<_>>().join(", ");
            fits.then_some((action, reason))
        })
    }

    /// The flags that would reuse what earlier code, or another kind of device, gave for this step.
    pub fn could_accept(&self, task: Task, keyed: &Keyed) -> Option<String> {
        let step = task.step;
        let flags = |fields: &[&str]| {
            let flag = |field: &&str| match *field {
                "code" => format!("--accept-code {}", step.name()),
                _ => format!("--accept-device {}", step.name()),
            };
            fields.iter().map(flag).collect::<Vec<_>>().join(" ")
        };
        let ways: [&[&str]; 3] = [&["code"], &["numeric"], &["code", "numeric"]];
        ways.into_iter().find(|fields| self.acceptable(task, keyed, fields).is_some()).map(flags)
    }

    /// Earlier artifacts from which `embed` may copy rows: made by the same code from the same checkpoint with the same
    /// settings on the same kind of arithmetic, of other images, under other views or of some of the images. Shards of what is wanted
    /// come first, all of them; of the rest the latest, a few, because each is hashed again: what is copied from one that was damaged
    /// would be wrong for ever.
    pub fn hints(&self, step: Step, keyed: &Keyed) -> Vec<PathBuf> {
        const MOST: usize = 4;
        if step != Step::Embed {
            return Vec::new();
        }
        let kind = step.outputs()[0];
        let (mut shards, mut others): (Vec<ArtifactId>, Vec<ArtifactId>) = (Vec::new(), Vec::new());
        for action in readable(self.store.actions(step.name())) {
            let mut differ = Vec::new();
            differences(&action.document, &keyed.document, "", &mut differ);
            let Some(id) = action.outputs.get(kind) else { continue };
            let is_shard = |path: &str| path.starts_with("params.shard");
            let may_differ = |path: &str| ["inputs.images", "params.views"].contains(&path) || is_shard(path);
            // What was only accepted may be of other code.
            if action.accepted.is_some()
                || differ.is_empty()
                || !differ.iter().all(|d| may_differ(&d.path))
                || shards.contains(id)
                || others.contains(id)
            {
                continue;
            }
            let of_this = differ.iter().all(|d| is_shard(&d.path));
            if of_this { shards.push(id.clone()) } else { others.push(id.clone()) }
        }
        let mut sound = |id: &ArtifactId| match self.sound.readable(&self.store, kind, id) {
            Ok(()) => true,
            Err(damage) => {
                say!("{}: nothing is copied from {damage}", step.name());
                false
            }
        };
        shards.retain(&mut sound);
        let others: Vec<ArtifactId> = others.into_iter().filter(sound).take(MOST).collect();
        shards.iter().chain(&others).map(|id| self.store.path(kind, id)).collect()
    }

    /// The key this pipeline used last for a step; for a seed, a shard or a run of a matrix that is new, that of the first.
    fn latest(&self, task: Task) -> Option<&Key> {
        self.latest.get(&self.memory(task)).or_else(|| self.latest.get(task.step.name()))
    }

    /// What is different from the key this pipeline used last.
    fn changes(&self, task: Task, keyed: &Keyed) -> Vec<String> {
        let step = task.step;
        let before = self.latest(task).and_then(|key| record::action(&self.store, step.name(), key));
        let Some(before) = before else { return vec!["first run".into()] };
        let mut changes = Vec::new();
        differences(&before.document, &keyed.document, "", &mut changes);
        let mut lines: Vec<String> = Vec::new();
        let mut files = 0;
        for Difference { path, before, after } in changes {
            let path = path.as_str();
            if path == "code" {
                lines.push("its code changed".into());
            } else if path == "numeric" {
                lines.push(format!("numeric class {} → {}", plain(&before), plain(&after)));
            } else if let Some(kind) = path.strip_prefix("inputs.") {
                lines.push(format!("{kind} {} → {}", short(&before), short(&after)));
            } else if let Some(setting) = path.strip_prefix("params.") {
                lines.push(format!("{} {} → {}", setting_name(step, setting), plain(&before), plain(&after)));
            } else if path.starts_with("files") {
                files += 1;
            } else {
                lines.push(format!("{path} changed"));
            }
        }
        match files {
            0 => {}
            1 => lines.push("1 source file changed".into()),
            n => lines.push(format!("{n} source files changed")),
        }
        if lines.is_empty() {
            lines.push("its record is gone".into());
        }
        lines
    }
}

/// What tells a piece of work from others of its step: what the tasks that share it have in common, and others have not.
pub fn label<'a>(mut sharing: impl Iterator<Item = (&'a Plan, Task)> + Clone) -> String {
    let variant = Variant::common_label(sharing.clone().filter_map(|(plan, _)| plan.variant.as_ref()));
    let first = sharing.next().and_then(|(_, task)| task.label());
    let of_task = first.filter(|first| sharing.all(|(_, task)| task.label().as_ref() == Some(first)));
    let labels = [Some(variant).filter(|label| !label.is_empty()), of_task];
    labels.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// What is said, after a label where there is one.
pub fn says(label: &str, what: &str) -> String {
    if label.is_empty() { what.to_owned() } else { format!("{label}: {what}") }
}

/// The name under which a user knows a setting of a step.
fn setting_name(step: Step, path: &str) -> String {
    match step {
        Step::Ingest => match path.strip_prefix("layout.") {
            Some(setting) => format!("dataset.{setting}"),
            None if path.contains('.') => path.to_owned(),
            None => format!("the model's {path}"),
        },
        Step::Base => format!("checkpoint.{path}"),
        Step::Embed if path == "views" => "train.augment".into(),
        Step::Embed if path.starts_with("shard") => "shard".into(),
        _ => format!("{}.{path}", step.name()),
    }
}

struct Difference {
    path: String,
    before: Value,
    after: Value,
}

fn differences(before: &Value, after: &Value, path: &str, found: &mut Vec<Difference>) {
    if before == after {
        return;
    }
    if let (Value::Object(a), Value::Object(b)) = (before, after) {
        let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
        for name in names {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let null = Value::Null;
            differences(a.get(name).unwrap_or(&null), b.get(name).unwrap_or(&null), &path, found);
        }
        return;
    }
    found.push(Difference { path: path.to_owned(), before: before.clone(), after: after.clone() });
}

/// A value as a person writes it.
pub fn plain(value: &Value) -> String {
    match value {
        Value::Null => "none".into(),
        Value::String(text) if text.is_empty() => "\"\"".into(),
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_f64() {
            Some(x) if number.is_f64() && x != 0.0 && !(1e-3..1e6).contains(&x.abs()) => format!("{x:e}"),
            _ => number.to_string(),
        },
        other => other.to_string(),
    }
}

fn short(value: &Value) -> String {
    value.as_str().map_or_else(|| "none".into(), |id| id.chars().take(12).collect())
}

/// What decides how a stage's numbers are rounded: the backend, and the vector instructions or the architecture of the GPU
/// found when it runs. `ingest` computes in integers alone.
pub fn numeric_class(step: Step, place: &Place) -> String {
    match (step, &place.gpu) {
        (Step::Ingest, _) => "exact".into(),
        (_, None) => format!("flex-f32-{}-{}", std::env::consts::ARCH, vector_instructions()),
        (_, Some(gpu)) => format!("cuda-{}", gpu.architecture()),
    }
}

#[cfg(target_arch = "x86_64")]
fn vector_instructions() -> &'static str {
    if std::arch::is_x86_feature_detected!("avx512f") {
        "avx512"
    } else if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
        "avx2"
    } else {
        "sse2"
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn vector_instructions() -> &'static str {
    "baseline"
}

#[cfg(test)]
mod tests;
