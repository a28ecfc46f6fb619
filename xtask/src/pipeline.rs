//! The pipeline file: read, completed with defaults, overridden by `--set`, and checked as a whole before anything
//! runs. Every problem is reported at once, with its line and the nearest right name.

mod strategy;

use crate::matrix::{self, Axis, Variant};
use crate::workspace;
use anyhow::Context;
use resect_device::Settings as DeviceSettings;
use resect_embed_params::EmbedParams;
use resect_evaluate_params::EvaluateParams;
use resect_ingest_params::{IngestLimits, IngestParams, Layout, MaskParams, SplitParams};
use resect_params::{Problems, Runtime};
use resect_phantom::PhantomParams;
use resect_train_params::TrainParams;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A whole pipeline: every setting has its value.
#[derive(Clone, Debug, Serialize)]
pub struct Pipeline {
    /// The file it was read from.
    #[serde(skip)]
    pub path: PathBuf,
    pub dataset: Dataset,
    pub checkpoint: BaseCheckpoint,
    pub mask: MaskParams,
    pub split: SplitParams,
    pub ingest: IngestLimits,
    pub embed: EmbedParams,
    pub train: TrainParams,
    /// `train.seeds`: tunes and scores once with each, in the place of `train.seed`. Empty: with that one alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub seeds: Vec<u64>,
    pub evaluate: EvaluateParams,
    pub device: DeviceSettings,
    pub runtime: Runtime,
    pub remote: RemoteSettings,
}

/// `[remote]`: a store that machines share.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RemoteSettings {
    /// Where it is; empty is nowhere.
    pub url: String,
    /// Whether each run sends what it gave.
    pub push: bool,
}

/// Where the images and masks come from.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Dataset {
    /// Made by Resect.
    Phantom(PhantomParams),
    /// Parquet files in the Hugging Face image layout.
    Parquet(ParquetSource),
    /// `images/` and `masks/`.
    Folder(FolderSource),
    /// Parquet files of a repository on the Hugging Face Hub.
    Hub(HubDataset),
}

/// `[dataset] kind = "parquet"`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ParquetSource {
    /// A file, a folder or a pattern such as `data/train-*.parquet`.
    pub path: String,
    pub image_column: String,
    pub mask_column: String,
    pub id_column: String,
    pub group_column: String,
}

impl Default for ParquetSource {
    fn default() -> Self {
        Self {
            path: String::new(),
            image_column: "image".into(),
            mask_column: "annotation".into(),
            id_column: "name".into(),
            group_column: String::new(),
        }
    }
}

/// `[dataset] kind = "folder"`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct FolderSource {
    /// The folder that holds `images/` and `masks/`.
    pub path: String,
}

/// `[dataset] kind = "hub"`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HubDataset {
    /// `owner/name`.
    pub repository: String,
    /// A branch, a tag or a commit.
    pub revision: String,
    /// The folder of a configuration, where there are several.
    pub config: String,
    /// The splits to fetch; none are all.
    pub splits: Vec<String>,
    /// Patterns of file names; instead of `config` and `splits`.
    pub files: Vec<String>,
    pub image_column: String,
    pub mask_column: String,
    pub id_column: String,
    pub group_column: String,
}

impl Default for HubDataset {
    fn default() -> Self {
        let ParquetSource { path: _, image_column, mask_column, id_column, group_column } =
            ParquetSource::default();
        Self {
            repository: String::new(),
            revision: MAIN.into(),
            config: String::new(),
            splits: Vec::new(),
            files: Vec::new(),
            image_column,
            mask_column,
            id_column,
            group_column,
        }
    }
}

/// The branch that every repository on the Hub has.
const MAIN: &str = "main";

/// Where the base model's weights come from.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum BaseCheckpoint {
    /// Seeded random weights of a named size.
    Random(RandomCheckpoint),
    /// A Hugging Face folder (`config.json` and `model.safetensors`), or a file or folder in the original layout.
    Folder(FolderSource),
    /// The same two files of a repository on the Hugging Face Hub.
    Hub(HubCheckpoint),
}

/// `[checkpoint] kind = "hub"`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HubCheckpoint {
    /// `owner/name`.
    pub repository: String,
    /// A branch, a tag or a commit.
    pub revision: String,
}

impl Default for HubCheckpoint {
    fn default() -> Self {
        Self { repository: String::new(), revision: MAIN.into() }
    }
}

/// `[checkpoint] kind = "random"`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RandomCheckpoint {
    /// One of the named sizes.
    pub size: String,
    pub seed: u64,
}

impl Default for RandomCheckpoint {
    fn default() -> Self {
        Self { size: "tiny".into(), seed: 0 }
    }
}

/// Everything that is wrong with a pipeline file and its `--set`s.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct PipelineErrors(Vec<String>);

impl Pipeline {
    /// Reads a pipeline file (by default the workspace's `pipeline.toml`) and applies `--set`s: one pipeline, or each that its
    /// `[matrix]` and lists of values make, with what is its own.
    ///
    /// # Errors
    /// [`PipelineErrors`] when a setting is wrong; another error when the file cannot be read.
    pub fn load(path: Option<&Path>, sets: &[String]) -> anyhow::Result<Vec<(Option<Variant>, Self)>> {
        let path = file(path)?;
        name(&path)?;
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read the pipeline file {}", path.display()))?;
        Reader::new(&path, &text, sets).and_then(Reader::expand).map_err(|e| PipelineErrors(e).into())
    }

    /// The settings of `embed`; `train.augment` decides the views.
    pub fn embed_params(&self) -> EmbedParams {
        EmbedParams { views: self.train.augment, ..self.embed.clone() }
    }

    /// The settings of `ingest`; the model decides the sizes.
    pub fn ingest_params(&self, model: &resect_checkpoint::SamConfig) -> IngestParams {
        let layout = match &self.dataset {
            Dataset::Phantom(_) | Dataset::Folder(_) => Layout::Folder,
            Dataset::Parquet(source) => Layout::Parquet {
                image_column: source.image_column.clone(),
                mask_column: source.mask_column.clone(),
                id_column: source.id_column.clone(),
                group_column: source.group_column.clone(),
            },
            Dataset::Hub(source) => Layout::Parquet {
                image_column: source.image_column.clone(),
                mask_column: source.mask_column.clone(),
                id_column: source.id_column.clone(),
                group_column: source.group_column.clone(),
            },
        };
        IngestParams {
            layout,
            mask: self.mask.clone(),
            split: self.split.clone(),
            image_size: model.image_size() as u32,
            low_res_size: model.low_res() as u32,
            ingest: self.ingest.clone(),
        }
    }
}

/// The pipeline file that is meant: the one given, or the workspace's `pipeline.toml`. What a pipeline gave is remembered by [`name`].
///
/// # Errors
/// When the current folder is gone.
pub fn file(given: Option<&Path>) -> std::io::Result<PathBuf> {
    given.map_or_else(|| Ok(workspace::root().join("pipeline.toml")), std::path::absolute)
}

/// The name of a pipeline file in the store and in records: its path.
///
/// # Errors
/// A path that is not valid UTF-8: two such paths could not be told apart.
pub fn name(file: &Path) -> anyhow::Result<&str> {
    file.to_str().with_context(|| {
        format!("the path of the pipeline file, {}, is not valid UTF-8; rename it", file.display())
    })
}

/// The defaults of a run's settings, by section, of a dataset and a checkpoint of the same kinds. A kind that is not known here, of a
/// later version, has none.
///
/// # Errors
/// Defaults that cannot be encoded, which is a fault of the program.
pub fn defaults(settings: &Value) -> anyhow::Result<Value> {
    fn of<T: Default + Serialize>() -> anyhow::Result<Value> {
        serde_json::to_value(T::default()).context("internal error: default settings cannot be encoded")
    }
    let none = || Ok(Value::Object(Map::new()));
    Ok(serde_json::json!({
        "dataset": match settings["dataset"]["kind"].as_str() {
            Some("hub") => of::<HubDataset>(),
            Some("parquet") => of::<ParquetSource>(),
            Some("folder") => of::<FolderSource>(),
            Some("phantom") => of::<PhantomParams>(),
            _ => none(),
        }?,
        "checkpoint": match settings["checkpoint"]["kind"].as_str() {
            Some("hub") => of::<HubCheckpoint>(),
            Some("folder") => of::<FolderSource>(),
            Some("random") => of::<RandomCheckpoint>(),
            _ => none(),
        }?,
        "mask": of::<MaskParams>()?,
        "split": of::<SplitParams>()?,
        "ingest": of::<IngestLimits>()?,
        "embed": of::<EmbedParams>()?,
        "train": of::<TrainParams>()?,
        "evaluate": of::<EvaluateParams>()?,
        "device": of::<DeviceSettings>()?,
        "runtime": of::<Runtime>()?,
        "remote": of::<RemoteSettings>()?,
    }))
}

const SECTIONS: [&str; 11] = [
    "dataset",
    "checkpoint",
    "mask",
    "split",
    "ingest",
    "embed",
    "train",
    "evaluate",
    "device",
    "runtime",
    "remote",
];

/// The section that makes several pipelines of one.
const MATRIX: &str = "matrix";

/// Reads sections one after the other and collects what is wrong with any of them.
#[derive(Clone)]
struct Reader<'a> {
    path: &'a Path,
    document: Map<String, Value>,
    /// Full setting name to where it was given: a line of the file, or a `--set`.
    origins: BTreeMap<String, String>,
    /// Settings with several values, in the order in which they were given.
    axes: Vec<Axis>,
    problems: Vec<String>,
}

impl<'a> Reader<'a> {
    fn new(path: &'a Path, text: &str, sets: &[String]) -> Result<Self, Vec<String>> {
        let name = workspace::display(path);
        let line_of = |offset: usize| 1 + text[..offset.min(text.len())].matches('\n').count();
        let document = toml_edit::Document::parse(text).map_err(|e| {
            let line = e.span().map_or(1, |span| line_of(span.start));
            vec![format!("{name}:{line}: {}", e.message().trim_end().replace('\n', "; "))]
        })?;
        let mut reader = Self {
            path,
            document: Map::new(),
            origins: BTreeMap::new(),
            axes: Vec::new(),
            problems: Vec::new(),
        };
        for (section, item) in document.as_table().iter() {
            let key = document.as_table().key(section);
            let line = key.and_then(|key| key.span()).or_else(|| item.span()).map_or(1, |s| line_of(s.start));
            reader.origins.insert(section.to_owned(), format!("{name}:{line}"));
            let Some(table) = item.as_table_like() else {
                reader.document.insert(section.to_owned(), json_of(item));
                continue;
            };
            if section == MATRIX {
                let line = |span: Option<std::ops::Range<usize>>| {
                    format!("{name}:{}", span.map_or(line, |span| line_of(span.start)))
                };
                reader.matrix(table, "", &line);
                continue;
            }
            let mut settings = Map::new();
            for (setting, item) in table.iter() {
                let span = table.key(setting).and_then(|key| key.span()).or_else(|| item.span());
                let line = span.map_or(line, |s| line_of(s.start));
                reader.origins.insert(format!("{section}.{setting}"), format!("{name}:{line}"));
                for (inner, item) in item.as_table_like().into_iter().flat_map(|inner| inner.iter()) {
                    let line = item.span().map_or(line, |span| line_of(span.start));
                    reader.origins.insert(format!("{section}.{setting}.{inner}"), format!("{name}:{line}"));
                }
                settings.insert(setting.to_owned(), json_of(item));
            }
            reader.document.insert(section.to_owned(), Value::Object(settings));
        }
        for set in sets {
            reader.apply(set);
        }
        Ok(reader)
    }

    /// `[matrix]`: `train.loss = ["dice", "ce"]`, or the same with the name in quotes, or in a table of its own.
    fn matrix(
        &mut self,
        table: &dyn toml_edit::TableLike,
        above: &str,
        line: &dyn Fn(Option<std::ops::Range<usize>>) -> String,
    ) {
        for (name, item) in table.iter() {
            let setting = format!("{above}{name}");
            let span = table.key(name).and_then(|key| key.span()).or_else(|| item.span());
            match (item.as_table_like(), json_of(item)) {
                (Some(inner), _) => self.matrix(inner, &format!("{setting}."), line),
                (None, Value::Array(values)) => self.vary(&setting, values, line(span)),
                (None, _) => {
                    let origin = line(span);
                    self.problems.push(format!("{origin}: matrix.{setting} must be a list of values"));
                }
            }
        }
    }

    /// Notes that a setting has several values.
    fn vary(&mut self, setting: &str, values: Vec<Value>, origin: String) {
        let axis = Axis { setting: setting.to_owned(), values, origin };
        let problem = match setting.split_once('.') {
            Some(_) => matrix::problem(&axis),
            None => Some("is not SECTION.SETTING".into()),
        };
        if let Some(problem) = problem {
            self.problems.push(format!("{}: {setting} {problem}", axis.origin));
        }
        // Again from the command line: there it takes the place that it had.
        match self.axes.iter_mut().find(|known| known.setting == axis.setting) {
            Some(known) => *known = axis,
            None => self.axes.push(axis),
        }
    }

    /// Applies one `--set section.setting=value`, or `=value,value`.
    fn apply(&mut self, set: &str) {
        let origin = format!("--set {set}");
        let split = set.split_once('=').and_then(|(name, value)| Some((name.trim().split_once('.')?, value)));
        let Some(((section, setting), value)) = split else {
            self.problems.push(format!("{origin}: expected SECTION.SETTING=VALUE"));
            return;
        };
        let name = format!("{section}.{setting}");
        // A path in the file is relative to the file, one on the command line to the current folder.
        let from_here =
            |value: Value| match value.as_str().filter(|path| setting == "path" && !path.is_empty()) {
                Some(path) => absolute(path).map(Value::from),
                None => Ok(value),
            };
        // What is not TOML is text.
        let read = |text: &str| from_here(toml_value(text).unwrap_or_else(|text| text.into()));
        match (toml_value(value), matrix::split(value)) {
            (Err(_), Some(values)) => match values.into_iter().map(read).collect() {
                Ok(values) => self.vary(&name, values, origin),
                Err(problem) => self.problems.push(format!("{origin}: {problem}")),
            },
            _ => {
                self.axes.retain(|axis| axis.setting != name);
                match read(value) {
                    Ok(value) => self.put(&name, value, origin),
                    Err(problem) => self.problems.push(format!("{origin}: {problem}")),
                }
            }
        }
    }

    /// Sets one setting.
    fn put(&mut self, name: &str, value: Value, origin: String) {
        let (section, setting) = name.split_once('.').unwrap_or((name, ""));
        self.origins.insert(name.to_owned(), origin.clone());
        self.origins.entry(section.to_owned()).or_insert(origin);
        let table = self.document.entry(section).or_insert_with(|| Value::Object(Map::new()));
        insert(table, setting, value);
    }

    /// Each pipeline that the axes make, or all that is wrong with any of them.
    fn expand(mut self) -> Result<Vec<(Option<Variant>, Pipeline)>, Vec<String>> {
        let axes = std::mem::take(&mut self.axes);
        if axes.is_empty() {
            return Ok(vec![(None, self.finish()?)]);
        }
        let runs = axes.iter().fold(1_usize, |runs, axis| runs.saturating_mul(axis.values.len()));
        if runs > matrix::MOST_RUNS {
            let file = workspace::display(self.path);
            self.problems.push(format!(
                "{file}: the matrix makes {runs} runs, more than {}: take values out of it",
                matrix::MOST_RUNS
            ));
        }
        if !self.problems.is_empty() {
            return Err(self.problems);
        }
        let (mut pipelines, mut problems) = (Vec::new(), Vec::new());
        for (number, settings) in matrix::combinations(&axes).into_iter().enumerate() {
            let mut reader = self.clone();
            for (axis, (setting, value)) in axes.iter().zip(&settings) {
                reader.put(setting, value.clone(), axis.origin.clone());
            }
            match reader.finish() {
                Ok(pipeline) => pipelines.push((Some(Variant { number, settings }), pipeline)),
                Err(of_this) => problems.extend(of_this),
            }
        }
        // What is wrong with one value is wrong in each run that has it.
        let mut seen = std::collections::BTreeSet::new();
        problems.retain(|problem| seen.insert(problem.clone()));
        if problems.is_empty() { Ok(pipelines) } else { Err(problems) }
    }

    fn problem(&mut self, setting: &str, message: impl std::fmt::Display) {
        let section = setting.split('.').next().unwrap_or_default();
        let table = setting.rsplit_once('.').map_or(section, |(table, _)| table);
        let origins = [setting, table, section].map(|name| self.origins.get(name));
        let origin = origins.into_iter().flatten().next();
        let file = workspace::display(self.path);
        let origin = origin.cloned().unwrap_or(file);
        self.problems.push(format!("{origin}: {setting} {message}"));
    }

    fn finish(mut self) -> Result<Pipeline, Vec<String>> {
        let sections: Vec<String> = self.document.keys().cloned().collect();
        for section in sections {
            if !SECTIONS.contains(&section.as_str()) {
                let hint = did_you_mean(&section, SECTIONS.into_iter().chain([MATRIX]));
                self.problem(&section, format!("is not a section{hint}"));
            }
        }
        let dataset = match self.kind("dataset", "phantom", &["phantom", "parquet", "folder", "hub"]) {
            "hub" => Dataset::Hub(self.section("dataset")),
            "parquet" => Dataset::Parquet(self.section("dataset")),
            "folder" => Dataset::Folder(self.section("dataset")),
            _ => Dataset::Phantom(self.section("dataset")),
        };
        let checkpoint = match self.kind("checkpoint", "random", &["random", "folder", "hub"]) {
            "hub" => BaseCheckpoint::Hub(self.section("checkpoint")),
            "folder" => BaseCheckpoint::Folder(self.section("checkpoint")),
            _ => BaseCheckpoint::Random(self.section("checkpoint")),
        };
        self.strategy();
        let seeds = self.seeds();
        let mut pipeline = Pipeline {
            path: self.path.to_path_buf(),
            dataset,
            checkpoint,
            mask: self.section("mask"),
            split: self.section("split"),
            ingest: self.section("ingest"),
            embed: self.section("embed"),
            train: self.section("train"),
            seeds,
            evaluate: self.section("evaluate"),
            device: self.section("device"),
            runtime: self.section("runtime"),
            remote: self.section("remote"),
        };
        self.check_values(&mut pipeline);
        if self.problems.is_empty() { Ok(pipeline) } else { Err(self.problems) }
    }

    /// The `kind` of a section that has several, taken out of it.
    fn kind(&mut self, section: &str, default: &'static str, kinds: &[&'static str]) -> &'static str {
        let table = self.document.get_mut(section).and_then(Value::as_object_mut);
        let Some(given) = table.and_then(|table| table.remove("kind")) else { return default };
        let given = given.as_str().map_or_else(|| given.to_string(), str::to_owned);
        match kinds.iter().find(|kind| **kind == given) {
            Some(kind) => kind,
            None => {
                let kinds = kinds.join("\", \"");
                self.problem(
                    &format!("{section}.kind"),
                    format!("must be one of \"{kinds}\", is \"{given}\""),
                );
                // What the other settings of the section should be cannot be told now.
                self.document.remove(section);
                default
            }
        }
    }

    /// `train.strategy`, taken out of its section: the settings that it names, where they are not given.
    fn strategy(&mut self) {
        let table = self.document.get_mut("train").and_then(Value::as_object_mut);
        let Some(given) = table.and_then(|table| table.remove("strategy")) else { return };
        let preset = given.as_str().and_then(strategy::settings);
        match (preset, self.document.get_mut("train")) {
            (Some(preset), Some(train)) => strategy::complete(train, preset),
            _ => {
                let given = given.as_str().map_or_else(|| given.to_string(), str::to_owned);
                let names = resect_tuning::STRATEGIES.join("\", \"");
                self.problem("train.strategy", format!("must be one of \"{names}\", is \"{given}\""));
            }
        }
    }

    /// `train.seeds`, taken out of its section: a stage run knows one seed.
    fn seeds(&mut self) -> Vec<u64> {
        let table = self.document.get_mut("train").and_then(Value::as_object_mut);
        let Some(table) = table else { return Vec::new() };
        let Some(given) = table.remove("seeds") else { return Vec::new() };
        let both = table.contains_key("seed");
        let seeds: Vec<u64> = match serde_json::from_value(given) {
            Ok(seeds) => seeds,
            Err(error) => {
                let message = format!("has a wrong value: {error}; expected a list such as [0, 1, 2]");
                self.problem("train.seeds", message);
                return Vec::new();
            }
        };
        if both && !seeds.is_empty() {
            self.problem("train.seeds", "takes the place of train.seed: give one or the other");
        }
        let mut seen = std::collections::BTreeSet::new();
        if let Some(twice) = seeds.iter().find(|seed| !seen.insert(**seed)) {
            self.problem("train.seeds", format!("holds {twice} twice: it would be the same run"));
        }
        seeds
    }

    /// One section: the defaults, with each given setting put in its place.
    fn section<T: Default + Serialize + DeserializeOwned>(&mut self, section: &str) -> T {
        let given = match self.document.get(section) {
            None => Map::new(),
            Some(Value::Object(table)) => table.clone(),
            Some(_) => {
                self.problem(section, format!("must be a section: write [{section}]"));
                Map::new()
            }
        };
        let defaults = match serde_json::to_value(T::default()) {
            Ok(defaults) => defaults,
            Err(error) => {
                self.problem(section, format!("cannot be checked: internal error: its defaults: {error}"));
                return T::default();
            }
        };
        let mut settings = defaults.clone();
        self.fill::<T>(section, "", &given, &defaults, &mut settings);
        // Settings that pass one at a time may still contradict each other.
        serde_json::from_value(settings).unwrap_or_else(|error| {
            self.problem(section, format!("has settings that do not go together: {error}"));
            T::default()
        })
    }

    /// Puts the given settings of a section, or of a table in it whose path is `above`, into the place of their defaults.
    fn fill<T: DeserializeOwned>(
        &mut self,
        section: &str,
        above: &str,
        given: &Map<String, Value>,
        defaults: &Value,
        settings: &mut Value,
    ) {
        let table = defaults.pointer(above).and_then(Value::as_object);
        let known: Vec<String> = table.into_iter().flat_map(Map::keys).cloned().collect();
        for (name, value) in given {
            let pointer = format!("{above}/{name}");
            let full = format!("{section}{}", pointer.replace('/', "."));
            let default = known.contains(name).then(|| defaults.pointer(&pointer)).flatten();
            match (default, value) {
                (None, _) => {
                    let hint = did_you_mean(name, known.iter().map(String::as_str));
                    self.problem(&full, format!("is not a setting{hint}"));
                }
                (Some(Value::Object(_)), Value::Object(inner)) => {
                    self.fill::<T>(section, &pointer, inner, defaults, settings);
                }
                (Some(Value::Object(_)), _) => {
                    let table = full.clone();
                    self.problem(&full, format!("must be a table: write [{table}]"));
                }
                (Some(_), _) => {
                    // One setting at a time, so that each wrong type is reported, not only the first.
                    let mut alone = defaults.clone();
                    for document in [Some(&mut alone), Some(&mut *settings)].into_iter().flatten() {
                        if let Some(place) = document.pointer_mut(&pointer) {
                            *place = value.clone();
                        }
                    }
                    if let Err(error) = serde_json::from_value::<T>(alone) {
                        self.problem(&full, format!("has a wrong value: {error}"));
                        if let (Some(place), Some(default)) =
                            (settings.pointer_mut(&pointer), defaults.pointer(&pointer))
                        {
                            *place = default.clone();
                        }
                    }
                }
            }
        }
    }

    fn check_values(&mut self, pipeline: &mut Pipeline) {
        let mut problems = Problems::default();
        pipeline.mask.check(&mut problems);
        pipeline.split.check(&mut problems);
        pipeline.ingest.check(&mut problems);
        pipeline.train.check(&mut problems);
        pipeline.evaluate.check(&mut problems);
        pipeline.runtime.check(&mut problems);
        problems.expect(
            pipeline.train.patience == 0 || pipeline.split.validation_share > 0.0,
            "train.patience",
            || {
                "needs a validation part: raise split.validation_share, which is 0, or set train.patience = 0"
                    .into()
            },
        );
        for problem in problems.0 {
            self.problem(&problem.setting, problem.message);
        }
        // The root of the file system alone has no parent, and it is no file.
        let base = self.path.parent().unwrap_or(Path::new("")).to_path_buf();
        let resolve = |reader: &mut Self, section: &str, path: &mut String| {
            if path.is_empty() {
                let hint =
                    format!("must be given: --set {section}.path=... or path = \"...\" in [{section}]");
                reader.problem(&format!("{section}.path"), hint);
            } else {
                match base.join(&*path).into_os_string().into_string() {
                    Ok(resolved) => *path = resolved,
                    Err(resolved) => {
                        let message = format!("lies at {}, which is not valid UTF-8", resolved.display());
                        reader.problem(&format!("{section}.path"), message);
                    }
                }
            }
        };
        match &mut pipeline.dataset {
            Dataset::Phantom(params) => {
                if let Err(error) = params.validate() {
                    self.problem(&format!("dataset.{}", error.field), error.message);
                }
            }
            Dataset::Parquet(source) => resolve(self, "dataset", &mut source.path),
            Dataset::Folder(source) => resolve(self, "dataset", &mut source.path),
            Dataset::Hub(source) => {
                self.check_hub("dataset", &source.repository, &source.revision);
                self.check_selection(source);
            }
        }
        match &mut pipeline.checkpoint {
            BaseCheckpoint::Random(random) => {
                let names = resect_checkpoint::NAMED_CONFIGS;
                if resect_checkpoint::SamConfig::named(&random.size).is_none() {
                    let message = format!("must be one of {}, is \"{}\"", names.join(", "), random.size);
                    self.problem("checkpoint.size", message);
                }
            }
            BaseCheckpoint::Folder(source) => resolve(self, "checkpoint", &mut source.path),
            BaseCheckpoint::Hub(source) => {
                self.check_hub("checkpoint", &source.repository, &source.revision);
            }
        }
    }

    fn check_hub(&mut self, section: &str, repository: &str, revision: &str) {
        let setting = format!("{section}.repository");
        if repository.is_empty() {
            let hint = format!("must be given: repository = \"owner/name\" in [{section}]");
            self.problem(&setting, hint);
        } else if let Err(problem) = resect_hub::check_repository(repository) {
            self.problem(&setting, problem);
        }
        if let Err(problem) = resect_hub::check_revision(revision) {
            self.problem(&format!("{section}.revision"), problem);
        }
    }

    fn check_selection(&mut self, source: &HubDataset) {
        for pattern in &source.files {
            if let Err(error) = glob::Pattern::new(pattern) {
                self.problem("dataset.files", format!("holds \"{pattern}\", which is no pattern: {error}"));
            }
        }
        let by_name = !source.config.is_empty() || !source.splits.is_empty();
        if by_name && !source.files.is_empty() {
            self.problem("dataset.files", "takes the place of config and splits: give one or the other");
        }
        if source.splits.iter().any(String::is_empty) {
            self.problem("dataset.splits", "holds an empty name");
        }
    }
}

/// Sets a setting of a table, or of the tables in it that the setting's dots name.
fn insert(table: &mut Value, setting: &str, value: Value) {
    let Some(table) = table.as_object_mut() else { return };
    match setting.split_once('.') {
        None => drop(table.insert(setting.to_owned(), value)),
        Some((inner, setting)) => {
            let inner = table.entry(inner).or_insert_with(|| Value::Object(Map::new()));
            insert(inner, setting, value);
        }
    }
}

/// A path on the command line, from the root of the file system.
fn absolute(path: &str) -> Result<String, String> {
    let absolute =
        std::path::absolute(path).map_err(|error| format!("{path} cannot be resolved: {error}"))?;
    let not_text = |path: std::ffi::OsString| format!("{} is not valid UTF-8", path.display());
    absolute.into_os_string().into_string().map_err(not_text)
}

/// A value as TOML has it. What is not TOML is text, so that paths and names need no quotes.
fn toml_value(text: &str) -> Result<Value, &str> {
    let parsed = format!("v = {text}").parse::<toml_edit::DocumentMut>();
    parsed.map(|document| json_of(&document["v"])).map_err(|_| text)
}

/// `; did you mean X?` when a known name is near, else the list of known names.
fn did_you_mean<'a>(given: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let near = known.clone().map(|name| (strsim::damerau_levenshtein(given, name), name)).min();
    match near {
        Some((distance, name)) if distance <= 1 + given.len() / 3 => format!("; did you mean {name}?"),
        _ => format!("; there are {}", known.collect::<Vec<_>>().join(", ")),
    }
}

fn json_of(item: &toml_edit::Item) -> Value {
    if let Some(value) = item.as_value() {
        return match value {
            toml_edit::Value::String(s) => Value::from(s.value().as_str()),
            toml_edit::Value::Integer(i) => Value::from(*i.value()),
            toml_edit::Value::Float(f) => Value::from(*f.value()),
            toml_edit::Value::Boolean(b) => Value::from(*b.value()),
            toml_edit::Value::Datetime(d) => Value::from(d.value().to_string()),
            toml_edit::Value::Array(items) => {
                items.iter().map(|v| json_of(&toml_edit::Item::Value(v.clone()))).collect()
            }
            toml_edit::Value::InlineTable(table) => table
                .iter()
                .map(|(k, v)| (k.to_owned(), json_of(&toml_edit::Item::Value(v.clone()))))
                .collect(),
        };
    }
    match item.as_table_like() {
        Some(table) => table.iter().map(|(k, v)| (k.to_owned(), json_of(v))).collect(),
        None => Value::Null,
    }
}

#[cfg(test)]
mod tests;
