//! What two runs differ in: settings, code, sources, from which stage on; and how far their figures and numbers are apart.

use crate::figures::Figures;
use crate::record::{self, RunRecord, StepRecord};
use crate::{plan, show};
use anyhow::{Context, ensure};
use resect_artifact::Store;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// All that is said of two runs; what `--json` prints.
#[derive(Serialize)]
struct RunDiff {
    format: &'static str,
    a: String,
    b: String,
    /// Whether every artifact of the one is in the other.
    equal: bool,
    settings: Vec<Field>,
    /// Of a step: its code, or its kind of arithmetic.
    code: Vec<Field>,
    /// Commit, versions, pipeline file, device.
    surroundings: Vec<Field>,
    /// The first step that gave something else.
    from: Option<String>,
    artifacts: Vec<Pair>,
    /// Of methods whose figures differ.
    figures: Vec<Moved>,
    /// What `resect-diff --samples` says of each two evaluations, with the step.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    samples: Vec<Value>,
    /// The same for people.
    #[serde(skip)]
    sample_lines: Vec<String>,
}

/// Of [`RunDiff`].
const FORMAT: &str = "resect-run-diff/1.0";

/// What has another value.
#[derive(Debug, PartialEq, Serialize)]
struct Field {
    field: String,
    a: Value,
    b: Value,
}

/// Two artifacts of a step.
#[derive(Serialize)]
struct Pair {
    step: String,
    kind: String,
    a: Option<String>,
    b: Option<String>,
    equal: bool,
    /// How far their numbers are apart, where they differ and both are there.
    #[serde(skip_serializing_if = "Option::is_none")]
    numbers: Option<Apart>,
}

/// How far the numbers of two artifacts are apart, all tensors and columns together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
struct Apart {
    elements: u64,
    differing: u64,
    /// None where no pair of numbers is finite, like the next.
    max_abs: Option<f64>,
    mean_abs: Option<f64>,
}

/// A figure that moved.
#[derive(Serialize)]
struct Moved {
    seed: Option<u64>,
    method: String,
    metric: &'static str,
    a: Option<f64>,
    b: Option<f64>,
}

/// Compares two runs and prints what differs. Exit code 0 where every artifact is equal, else 1.
pub fn print(
    a: &RunRecord,
    b: &RunRecord,
    store: &Store,
    samples: Option<&str>,
    json: bool,
    program: impl FnOnce() -> anyhow::Result<PathBuf>,
) -> anyhow::Result<ExitCode> {
    let mut diff = RunDiff::of(a, b, store);
    let differ = diff.artifacts.iter().any(|pair| !pair.equal && pair.a.is_some() && pair.b.is_some());
    if differ {
        let program = program()?;
        for pair in &mut diff.artifacts {
            pair.numbers = pair.apart(&program, store)?;
        }
        if let Some(metric) = samples {
            diff.add_samples(metric, &program, store, json)?;
        }
    }
    if json {
        show::print(serde_json::to_string_pretty(&diff)?);
    } else {
        diff.lines().iter().for_each(show::print);
    }
    Ok(if diff.equal { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl RunDiff {
    fn of(a: &RunRecord, b: &RunRecord, store: &Store) -> Self {
        let artifacts = artifacts(a, b);
        let equal = artifacts.iter().all(|pair| pair.equal);
        Self {
            format: FORMAT,
            a: a.run.clone(),
            b: b.run.clone(),
            equal,
            settings: fields(a.flat_settings(), b.flat_settings()),
            code: code(a, b, store),
            surroundings: fields(surroundings(a), surroundings(b)),
            from: artifacts.iter().find(|pair| !pair.equal).map(|pair| pair.step.clone()),
            artifacts,
            figures: figures(a, b),
            samples: Vec::new(),
            sample_lines: Vec::new(),
        }
    }

    /// Asks `resect-diff` about each two evaluations that differ, target by target.
    fn add_samples(&mut self, metric: &str, program: &Path, store: &Store, json: bool) -> anyhow::Result<()> {
        for pair in self.artifacts.iter().filter(|pair| pair.kind == "evaluation" && !pair.equal) {
            let Some(folders) = pair.folders(store) else {
                self.sample_lines.push(format!("{}: not both evaluations are in the store", pair.step));
                continue;
            };
            if json {
                let said = ask(program, &folders, &["--samples", metric, "--json"])?;
                let mut object: Value = serde_json::from_str(&said)?;
                object["step"] = pair.step.clone().into();
                self.samples.push(object);
            } else {
                self.sample_lines.extend([String::new(), pair.step.clone()]);
                self.sample_lines
                    .extend(ask(program, &folders, &["--samples", metric])?.lines().map(str::to_owned));
            }
        }
        Ok(())
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("a: run {}", self.a), format!("b: run {}", self.b)];
        let mut part = |title: &str, fields: &[Field]| {
            if !fields.is_empty() {
                lines.push(String::new());
                lines.push(title.to_owned());
            }
            for Field { field, a, b } in fields {
                lines.push(format!("  {field:<26} {} → {}", short(a), short(b)));
            }
        };
        part("settings", &self.settings);
        part("code and arithmetic", &self.code);
        part("surroundings", &self.surroundings);
        lines.push(String::new());
        lines.push(match &self.from {
            None => "every artifact is equal".into(),
            Some(step) => format!("artifacts differ from {step} on"),
        });
        for Pair { step, kind, a, b, equal, numbers } in &self.artifacts {
            let id =
                |id: &Option<String>| id.as_ref().map_or_else(|| "none".into(), |id| id[..12].to_owned());
            let what = if *equal { format!("{}, equal", id(a)) } else { format!("{} → {}", id(a), id(b)) };
            let numbers = numbers.map(|Apart { elements, differing, max_abs, mean_abs }| match elements {
                0 => "  no numbers to compare".to_owned(),
                _ => {
                    let by = max_abs.zip(mean_abs).map_or_else(
                        || ", of which no pair is finite".to_owned(),
                        |(max, mean)| format!(", by at most {max:.3e}, {mean:.3e} in the mean"),
                    );
                    format!("  {differing} of {elements} numbers{by}")
                }
            });
            lines.push(format!("  {step:<16} {kind:<11} {what}{}", numbers.unwrap_or_default()));
        }
        if !self.figures.is_empty() {
            lines.push(String::new());
            lines.push("figures".into());
        }
        for Moved { seed, method, metric, a, b } in &self.figures {
            let number = |value: &Option<f64>| value.map_or_else(|| "-".into(), |x| format!("{x:.4}"));
            let by = a.zip(*b).map(|(a, b)| format!("  {:+.4}", b - a)).unwrap_or_default();
            let seed = seed.map(|seed| format!(", seed {seed}")).unwrap_or_default();
            lines.push(format!(
                "  {:<18} {metric:<5} {} → {}{by}",
                format!("{method}{seed}"),
                number(a),
                number(b)
            ));
        }
        lines.extend(self.sample_lines.iter().cloned());
        lines
    }
}

/// What has another value in the one than in the other.
fn fields(a: BTreeMap<String, Value>, b: BTreeMap<String, Value>) -> Vec<Field> {
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let value = |of: &BTreeMap<String, Value>, name: &str| of.get(name).cloned().unwrap_or_default();
    let all =
        names.into_iter().map(|name| Field { field: name.clone(), a: value(&a, name), b: value(&b, name) });
    all.filter(|field| field.a != field.b).collect()
}

fn surroundings(run: &RunRecord) -> BTreeMap<String, Value> {
    let mut all: BTreeMap<String, Value> =
        run.versions.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    all.insert("pipeline".into(), run.pipeline.to_string_lossy().into());
    if let Some(checkout) = &run.checkout {
        let changed = if checkout.changed { " and changes" } else { "" };
        all.insert(
            "commit".into(),
            format!("{}{changed}", &checkout.commit[..checkout.commit.len().min(12)]).into(),
        );
    }
    for step in run.steps() {
        if let Some(device) = step.provenance.as_ref().and_then(|place| place.get("device")) {
            all.insert(format!("{}'s device", step.name), device.clone());
        }
    }
    all
}

/// Code and kind of arithmetic of steps that both runs have a record for.
fn code(a: &RunRecord, b: &RunRecord, store: &Store) -> Vec<Field> {
    let of = |run: &RunRecord| {
        let mut found = BTreeMap::new();
        for step in run.steps() {
            let action = step.key.as_ref().and_then(|key| record::action(store, &step.name, key));
            let Some(action) = action else { continue };
            for field in ["code", "numeric"] {
                found.insert(format!("{}'s {field}", step.name), action.document[field].clone());
            }
        }
        found
    };
    let (a, b) = (of(a), of(b));
    // Of a step that only one has a record for, nothing can be told.
    let both: BTreeSet<String> = a.keys().filter(|name| b.contains_key(*name)).cloned().collect();
    let keep = |of: BTreeMap<String, Value>| of.into_iter().filter(|(name, _)| both.contains(name)).collect();
    fields(keep(a), keep(b))
}

/// The artifacts of both, step by step. Seeds are matched by themselves; one seed with another by their place.
fn artifacts(a: &RunRecord, b: &RunRecord) -> Vec<Pair> {
    let steps = |run: &RunRecord| -> Vec<(String, StepRecord)> {
        let whole = run.steps().filter(|step| step.shard.is_none());
        let name = |step: &StepRecord| match step.seed {
            Some(seed) => format!("{}, seed {seed}", step.name),
            None => step.name.clone(),
        };
        whole.map(|step| (name(step), step.clone())).collect()
    };
    let (a, b) = (steps(a), steps(b));
    let in_b: BTreeMap<&String, &StepRecord> = b.iter().map(|(name, step)| (name, step)).collect();
    let in_a: BTreeSet<&String> = a.iter().map(|(name, _)| name).collect();
    let only_b =
        b.iter().filter(|(name, _)| !in_a.contains(name)).map(|(name, step)| (name, None, Some(step)));
    let both = a.iter().map(|(name, step)| (name, Some(step), in_b.get(name).copied()));
    let mut pairs = Vec::new();
    for (name, a, b) in both.chain(only_b) {
        let of = |step: Option<&StepRecord>| step.map(|step| step.artifacts.clone()).unwrap_or_default();
        let (a, b) = (of(a), of(b));
        let kinds: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
        for kind in kinds {
            let id = |of: &resect_artifact::Outputs| of.get(kind).map(ToString::to_string);
            let (a, b) = (id(&a), id(&b));
            let equal = a == b;
            pairs.push(Pair { step: name.clone(), kind: kind.clone(), a, b, equal, numbers: None });
        }
    }
    pairs
}

fn figures(a: &RunRecord, b: &RunRecord) -> Vec<Moved> {
    let (of_a, of_b): (Vec<_>, Vec<_>) = (a.evaluations().collect(), b.evaluations().collect());
    let several = of_a.len() > 1 || of_b.len() > 1;
    let mut moved = Vec::new();
    for (seed, _, metrics) in &of_a {
        // Runs of one seed each are compared although the seeds differ.
        let other = of_b.iter().find(|(other, _, _)| !several || other == seed);
        let Some((_, _, others)) = other else { continue };
        for (method, a) in &metrics.methods {
            let Some(b) = others.methods.get(method) else { continue };
            let of = |f: &Figures| [("Dice", f.dice), ("IoU", f.iou), ("HD95", f.hd95), ("NSD", f.nsd)];
            for ((metric, a), (_, b)) in of(a).into_iter().zip(of(b)).filter(|((_, a), (_, b))| a != b) {
                let seed = seed.filter(|_| several);
                moved.push(Moved { seed, method: method.clone(), metric, a, b });
            }
        }
    }
    moved
}

impl Pair {
    /// The folders of both, where they differ and are sound.
    fn folders(&self, store: &Store) -> Option<[PathBuf; 2]> {
        let folder = |id: &Option<String>| {
            let id = id.clone()?.try_into().ok()?;
            store.check(&self.kind, &id).ok()?;
            Some(store.path(&self.kind, &id))
        };
        if self.equal { None } else { Some([folder(&self.a)?, folder(&self.b)?]) }
    }

    /// How far their numbers are apart, as `resect-diff` says.
    fn apart(&self, program: &Path, store: &Store) -> anyhow::Result<Option<Apart>> {
        #[derive(Deserialize)]
        struct Said {
            numbers: Vec<Numbers>,
        }
        #[derive(Deserialize)]
        struct Numbers {
            elements: u64,
            differing: u64,
            max_abs: Option<f64>,
            mean_abs: Option<f64>,
        }
        let Some(folders) = self.folders(store) else { return Ok(None) };
        let said: Said = serde_json::from_str(&ask(program, &folders, &["--json"])?)?;
        let mut apart = Apart::default();
        // Where no pair of numbers is finite there is nothing to measure.
        let (mut sum, mut measured) = (0.0, 0u64);
        for Numbers { elements, differing, max_abs, mean_abs } in said.numbers {
            apart.elements += elements;
            apart.differing += differing;
            if let (Some(max), Some(mean)) = (max_abs, mean_abs) {
                apart.max_abs = Some(apart.max_abs.map_or(max, |known: f64| known.max(max)));
                sum += mean * elements as f64;
                measured += elements;
            }
        }
        apart.mean_abs = (measured > 0).then(|| sum / measured as f64);
        Ok(Some(apart))
    }
}

/// What the program prints; that two things differ is no failure.
fn ask(program: &Path, folders: &[PathBuf; 2], args: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program).args(folders).args(args).output();
    let output = output.with_context(|| format!("cannot start {}", program.display()))?;
    ensure!(
        matches!(output.status.code(), Some(0 | 1)),
        "{}",
        String::from_utf8_lossy(&output.stderr).trim().trim_start_matches("error: ").to_owned()
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// A value as a person reads it; of a hash the first digits.
fn short(value: &Value) -> String {
    let text = plan::plain(value);
    let is_hash = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hash { text[..12].to_owned() } else { text }
}

#[cfg(test)]
mod tests;
