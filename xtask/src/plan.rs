//! What the steps of a pipeline are, what their keys are made of, and whether they must run.

use crate::code::Codes;
use crate::device::{Place, Places};
use crate::hub::Resolver;
use crate::pipeline::Pipeline;
use crate::sources::{Source, Sources};
use resect_artifact::{Accepted, Action, ArtifactId, Hash, Key, Store};
use resect_device::Settings;
use resect_params::TrainParams;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The steps in the order they run: two sources and four stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

    /// Kinds of the artifacts it reads; each kind is made by one step.
    pub fn inputs(self) -> &'static [&'static str] {
        match self {
            Step::Dataset | Step::Base => &[],
            Step::Ingest => &["dataset"],
            Step::Embed => &["images", "base"],
            Step::Train => &["embeddings", "targets", "base"],
            Step::Evaluate => &["checkpoint", "images", "embeddings", "targets", "base"],
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
        self.inputs().is_empty()
    }
}

/// A step of a run. With several seeds, `train` and `evaluate` come once for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    pub step: Step,
    /// The seed, where there are several.
    pub seed: Option<u64>,
    /// Whether it is of the first seed: what a pipeline gave last is what that one gave.
    first: bool,
}

impl Task {
    /// What is said of it, with the seed where there are several.
    pub fn says(self, what: &str) -> String {
        self.seed.map_or_else(|| what.to_owned(), |seed| format!("seed {seed}: {what}"))
    }

    /// Name of the folder of what it logs.
    pub fn folder(self) -> String {
        self.seed
            .map_or_else(|| self.step.name().to_owned(), |seed| format!("{}-seed-{seed}", self.step.name()))
    }

    /// The name under which the key it used last is remembered.
    pub fn memory(self) -> String {
        match self.seed {
            Some(seed) if !self.first => format!("{}, seed {seed}", self.step.name()),
            _ => self.step.name().to_owned(),
        }
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
    pub sources: Sources,
    pub store: Store,
    places: Places,
    codes: Codes,
    /// Stages whose artifacts are accepted although their code, or their numeric class, was another.
    accept: [(&'static str, Vec<Step>); 2],
    /// The keys this pipeline used last.
    pub latest: BTreeMap<String, Key>,
}

/// What a step's key says.
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
    /// Reads the pipeline file, checks it and resolves the sources.
    pub fn new(args: &crate::PipelineArgs) -> anyhow::Result<Self> {
        let mut pipeline = Pipeline::load(args.pipeline.as_deref(), &args.set)?;
        if let Some(choice) = args.device {
            pipeline.device = Settings { embed: choice, train: choice, evaluate: choice };
        }
        let places = Places::find(&pipeline.device)?;
        let store = args.store.open()?;
        let hub = Resolver::new(&pipeline.path, args.offline, args.update)?;
        let sources = Sources::resolve(&pipeline, &store, hub)?;
        let latest = store.latest(&pipeline.path.to_string_lossy());
        let codes = Codes::new(args.bin_dir.as_deref())?;
        let accept = [("code", args.accept_code.clone()), ("numeric", args.accept_device.clone())];
        Ok(Self { pipeline, sources, store, places, codes, accept, latest })
    }

    pub fn bin_dir(&self) -> Option<&std::path::Path> {
        self.codes.bin_dir()
    }

    /// Where each step computes.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// The steps of a run in their order.
    pub fn tasks(&self) -> Vec<Task> {
        let (once, each): (Vec<Step>, Vec<Step>) =
            Step::ALL.into_iter().partition(|step| *step < Step::Train);
        let seeds = &self.pipeline.seeds;
        let one = |step: &Step| Task { step: *step, seed: None, first: true };
        let mut tasks: Vec<Task> = once.iter().map(one).collect();
        if seeds.is_empty() {
            tasks.extend(each.iter().map(one));
        }
        for (i, seed) in seeds.iter().enumerate() {
            tasks.extend(each.iter().map(|step| Task { step: *step, seed: Some(*seed), first: i == 0 }));
        }
        tasks
    }

    /// The key of a step, given the artifacts it reads.
    pub fn key(&self, task: Task, known: &Known) -> anyhow::Result<Keyed> {
        let step = task.step;
        let mut document = match self.sources.of(step) {
            Some(source) => source.document(&self.pipeline)?,
            None => {
                let inputs: BTreeMap<_, _> =
                    step.inputs().iter().map(|kind| (*kind, known.get(kind))).collect();
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
            Step::Embed => json!(pipeline.embed_params()),
            Step::Train => {
                let seed = task.seed.unwrap_or(pipeline.train.seed);
                json!(TrainParams { seed, ..pipeline.train.clone() })
            }
            Step::Evaluate => json!(pipeline.evaluate),
        }
    }

    /// The identity of the code behind a step.
    pub fn code(&self, step: Step) -> anyhow::Result<Option<String>> {
        match self.sources.of(step).map(Source::made_by) {
            Some(None) => Ok(None),
            Some(Some(dir)) => self.codes.of_crate(dir).map(Some),
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
            None => self.changes(task, keyed),
            Some(action) => match self.damage(step, &action) {
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
            Some(id) => self.store.check(kind, id).err(),
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
        let mut actions = self.store.actions(step.name());
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
    /// settings on the same kind of arithmetic, of other images or under other views. The latest first; a few, because each is hashed again:
    /// what is copied from one that was damaged would be wrong for ever.
    pub fn hints(&self, step: Step, keyed: &Keyed) -> Vec<PathBuf> {
        const MOST: usize = 4;
        if step != Step::Embed {
            return Vec::new();
        }
        let kind = step.outputs()[0];
        let mut ids: Vec<ArtifactId> = Vec::new();
        for action in self.store.actions(step.name()) {
            let mut differ = Vec::new();
            differences(&action.document, &keyed.document, "", &mut differ);
            let Some(id) = action.outputs.get(kind) else { continue };
            // What was only accepted may be of other code.
            if action.accepted.is_some()
                || differ.is_empty()
                || !differ.iter().all(|d| ["inputs.images", "params.views"].contains(&d.path.as_str()))
                || ids.contains(id)
            {
                continue;
            }
            match self.store.verify(kind, id) {
                Ok(()) => ids.push(id.clone()),
                Err(damage) => eprintln!("{}: nothing is copied from {damage}", step.name()),
            }
            if ids.len() == MOST {
                break;
            }
        }
        ids.iter().map(|id| self.store.path(kind, id)).collect()
    }

    /// The key this pipeline used last for a step; for a seed that is new, that of the first.
    fn latest(&self, task: Task) -> Option<&Key> {
        self.latest.get(&task.memory()).or_else(|| self.latest.get(task.step.name()))
    }

    /// What is different from the key this pipeline used last.
    fn changes(&self, task: Task, keyed: &Keyed) -> Vec<String> {
        let step = task.step;
        let before = self.latest(task).and_then(|key| self.store.action(step.name(), key));
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
fn plain(value: &Value) -> String {
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
mod tests {
    use super::*;

    #[test]
    fn differences_name_each_field() {
        let before = json!({"params": {"learning_rate": 1e-5, "epochs": 3}, "inputs": {"images": "a"}});
        let after = json!({"params": {"learning_rate": 3e-5, "epochs": 3}, "inputs": {"images": "b"}});
        let mut found = Vec::new();
        differences(&before, &after, "", &mut found);
        let paths: Vec<&str> = found.iter().map(|d| d.path.as_str()).collect();
        assert_eq!(paths, ["inputs.images", "params.learning_rate"]);
        assert_eq!(plain(&found[1].before), "1e-5");
        assert_eq!(setting_name(Step::Train, "learning_rate"), "train.learning_rate");
        assert_eq!(setting_name(Step::Embed, "views"), "train.augment");
        assert_eq!(setting_name(Step::Ingest, "mask.threshold"), "mask.threshold");
        assert_eq!(setting_name(Step::Ingest, "layout.image_column"), "dataset.image_column");
    }

    #[test]
    fn the_kind_of_arithmetic_is_that_of_the_device_and_of_the_cpu_as_it_was() {
        let gpu = resect_device::Gpu {
            index: 1,
            name: "A".into(),
            capability: (9, 0),
            memory: 1 << 30,
            cuda: "12.8".into(),
        };
        let place = Place { device: resect_device::Device::Cuda(1), gpu: Some(gpu) };
        assert_eq!(numeric_class(Step::Embed, &place), "cuda-sm90");
        assert_eq!(numeric_class(Step::Ingest, &place), "exact");
        assert_eq!(place.provenance().unwrap()["device"], "cuda:1");
        let cpu = format!("flex-f32-{}-{}", std::env::consts::ARCH, vector_instructions());
        assert_eq!(numeric_class(Step::Train, &Place::default()), cpu);
        assert_eq!(Place::default().provenance(), None);
    }

    #[test]
    fn every_input_is_made_by_an_earlier_step() {
        for (i, step) in Step::ALL.into_iter().enumerate() {
            for input in step.inputs() {
                assert!(Step::ALL[..i].iter().any(|earlier| earlier.outputs().contains(input)), "{input}");
            }
        }
    }
}
