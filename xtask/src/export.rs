//! `cargo xtask export`: a checkpoint as a folder that other programs open as it is; with `--artifact`, any artifact as an archive for
//! another store (`archive.rs`).
//!
//! ```text
//! --format transformers                        --format original
//!   model.safetensors                            sam_<size>.safetensors
//!   config.json                                  sam_<size>.pth        what `sam_model_registry` loads
//!   preprocessor_config.json                     config.json           read by Resect alone
//!   README.md      the model card                README.md
//!   resect.json    [`Manifest`]                  resect.json
//! ```
//!
//! The folder appears whole: it is written beside its place and renamed. Nothing in it names a time, a host or a path.

use crate::StoreArgs;
use crate::archive;
use crate::card::Card;
use crate::lineage::Lineage;
use crate::show;
use crate::subject::Subject;
use crate::workspace;
use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};
use resect_artifact::{ArtifactId, Hash, hash_file};
use resect_checkpoint::{
    CONFIG_FILE, Checkpoint, Layout, NAMED_CONFIGS, PREPROCESSOR_FILE, Replaced, SamConfig, WEIGHTS_FILE,
};
use resect_tuning::{
    ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE, DecoderTune, EncoderTune, Tuned, Tuning, write_peft,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Args)]
pub struct ExportArgs {
    /// What to export: a run, a checkpoint's id or its first digits, or a checkpoint on disk [default: what the pipeline gave
    /// last].
    #[arg(long, value_name = "RUN|ARTIFACT|PATH")]
    checkpoint: Option<String>,
    /// Instead: an artifact (the first digits of its id) or all of a run, with everything behind it, as one file for another store.
    #[arg(long, value_name = "ARTIFACT|RUN", conflicts_with_all = ["checkpoint", "format", "name", "license"])]
    artifact: Option<String>,
    /// With `--artifact`: leave artifacts of this kind out, such as dataset, where data must not be passed on. Repeatable.
    #[arg(long, value_name = "KIND", requires = "artifact")]
    without: Vec<String>,
    /// The folder to make. An earlier export in it is replaced, anything else is left alone. With `--artifact` the file to write.
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// Whose names the tensors get.
    #[arg(long, value_enum, default_value = "transformers")]
    format: Format,
    /// The model's name in its card [default: the folder's].
    #[arg(long)]
    name: Option<String>,
    /// The licence of the weights, by its identifier on the Hub, such as apache-2.0.
    #[arg(long, value_name = "ID", default_value = "unknown")]
    license: String,
    /// The pipeline file [default: pipeline.toml at the top of the workspace].
    #[arg(long, value_name = "FILE")]
    pipeline: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
    /// Print one JSON object on standard output instead of lines.
    #[arg(long)]
    json: bool,
}

/// Whose names the tensors get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// `SamModel.from_pretrained` and `SamProcessor.from_pretrained` open it.
    Transformers,
    /// Names of the original code, as safetensors and as a PyTorch file.
    Original,
    /// What was tuned alone, LoRA unmerged: `PeftModel.from_pretrained` opens it over the base.
    Peft,
}

/// The file that says what an export is: `resect.json`.
pub const MANIFEST_FILE: &str = "resect.json";
/// Its format.
const FORMAT: &str = "resect-export/1.0";
const CARD_FILE: &str = "README.md";

/// `resect.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: String,
    /// Whose names the tensors have.
    pub layout: Format,
    /// Id of the tuned decoder's artifact; none when the base was exported as it is.
    pub checkpoint: Option<ArtifactId>,
    /// Id of the base checkpoint's artifact; none for one that never was in a store.
    pub base: Option<ArtifactId>,
    /// Parts of the model that were tuned.
    pub tuned: Vec<String>,
    /// Whether predicted IoU scores, and the masks 1 to 3, come from weights that were trained together with the rest.
    pub iou_head_trained: bool,
    /// Ids of the artifacts it was made from and with, by kind.
    pub lineage: BTreeMap<String, ArtifactId>,
    /// BLAKE3 of every other file of the folder.
    pub files: BTreeMap<String, Hash>,
}

impl Manifest {
    /// The manifest of an export; `None` where `dir` holds none.
    ///
    /// # Errors
    /// A manifest that cannot be read, or of another major version.
    pub fn read(dir: &Path) -> anyhow::Result<Option<Self>> {
        let path = dir.join(MANIFEST_FILE);
        let text = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let manifest: Self =
            serde_json::from_slice(&text).with_context(|| format!("cannot read {}", path.display()))?;
        let known = manifest.format.starts_with("resect-export/1.");
        ensure!(known, "{} has format {}; this version reads {FORMAT}", path.display(), manifest.format);
        Ok(Some(manifest))
    }

    /// The manifest of the export that a checkpoint lies in, if its weights are still those that were exported.
    ///
    /// # Errors
    /// A manifest or weights that cannot be read.
    pub fn of(checkpoint: &Checkpoint) -> anyhow::Result<Option<Self>> {
        let weights = checkpoint.file().path();
        let (Some(dir), Some(name)) = (weights.parent(), weights.file_name()) else { return Ok(None) };
        let Some(manifest) = Self::read(dir)? else { return Ok(None) };
        // An export names its files in UTF-8, so a file of another name is none of them.
        let expected = name.to_str().and_then(|name| manifest.files.get(name));
        let unchanged = expected.is_some() && Some(&hash_file(weights)?) == expected;
        Ok(unchanged.then_some(manifest))
    }
}

pub fn main(args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let store = args.store.open()?;
    if let Some(artifact) = &args.artifact {
        return archive::export(&store, artifact, &args.without, &args.out, args.json);
    }
    let out = std::path::absolute(&args.out)?;
    let folder =
        out.file_name().and_then(|name| name.to_str()).context("--out must name a folder to make")?;
    let name = args.name.clone().unwrap_or_else(|| folder.to_owned());
    ensure!(!name.trim().is_empty(), "--name must not be empty");
    // Before anything is written, and again before anything is replaced.
    check_replaceable(&out)?;
    let subject = Subject::find(args.checkpoint.as_deref(), &store, args.pipeline.as_deref())?;
    subject.verify(&store)?;
    let checkpoint = Checkpoint::open(&subject.base)?;
    let tuned = subject.tuned.as_ref().map(|tuned| tuned.over(&checkpoint)).transpose()?;

    let parent = out.parent().context("--out must name a folder to make")?;
    std::fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    let aside = Aside::create(parent.join(format!(".{folder}.resect-export")))?;
    let lineage = Lineage::of(&subject, &store)?;
    let size = size_name(checkpoint.config());
    let weights = write_model(&aside.0, args.format, &checkpoint, tuned.as_ref(), size)?;
    let earlier = Manifest::of(&checkpoint)?;
    let mut manifest = manifest(args.format, &subject, &lineage, earlier.as_ref());
    for file in std::fs::read_dir(&aside.0)? {
        let file = file?;
        let name = file.file_name().into_string();
        let name = name.map_err(|name| anyhow::anyhow!("{} is not valid UTF-8", name.display()))?;
        manifest.files.insert(name, hash_file(&file.path())?);
    }
    let card = Card {
        name: &name,
        license: &args.license,
        format: args.format,
        weights: &weights,
        size,
        config: checkpoint.config(),
        manifest: &manifest,
        lineage: &lineage,
        exported_again: earlier.is_some(),
    };
    let text = card.render();
    std::fs::write(aside.0.join(CARD_FILE), &text)?;
    manifest.files.insert(CARD_FILE.into(), Hash::of(text.as_bytes()));
    std::fs::write(aside.0.join(MANIFEST_FILE), serde_json::to_string_pretty(&manifest)? + "\n")?;
    aside.put(&out)?;

    let shown = workspace::display(&out);
    let upload = format!("hf upload OWNER/NAME {} .", quoted(&shown));
    if args.json {
        let result = json!({ "folder": shown, "manifest": manifest, "upload": upload });
        show::print(serde_json::to_string_pretty(&result)?);
    } else {
        show::print(format_args!("{shown}: {}", subject.describe()));
        if lineage.evaluation.is_none() && subject.tuned.is_some() {
            show::print(format_args!(
                "its card has no figures: no evaluation of this checkpoint is in the store"
            ));
        }
        show::print(format_args!("nothing was uploaded; to do so:\n  {upload}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes weights and configuration; the names of the weights files.
fn write_model(
    dir: &Path,
    format: Format,
    checkpoint: &Checkpoint,
    tuned: Option<&Tuned<'_>>,
    size: &str,
) -> anyhow::Result<Vec<String>> {
    if format == Format::Peft {
        let tuned = tuned.context("--format peft needs a tuned checkpoint: the base alone has no adapter")?;
        write_peft(dir, tuned, "")?;
        return Ok(vec![ADAPTER_WEIGHTS_FILE.into(), ADAPTER_CONFIG_FILE.into()]);
    }
    std::fs::write(dir.join(CONFIG_FILE), config_text(checkpoint)?)?;
    let changed = |name: &str| tuned.filter(|tuned| tuned.changes(name)).map(|tuned| tuned.tensor(name));
    let tuned = Some(&changed as Replaced<'_>);
    match format {
        Format::Peft => bail!("internal error: an adapter was written before"),
        Format::Transformers => {
            checkpoint.write(&dir.join(WEIGHTS_FILE), Layout::Transformers, tuned)?;
            std::fs::write(dir.join(PREPROCESSOR_FILE), checkpoint.config().to_preprocessor_json())?;
            Ok(vec![WEIGHTS_FILE.into()])
        }
        Format::Original => {
            let [safetensors, pth] =
                ["safetensors", "pth"].map(|extension| format!("sam_{size}.{extension}"));
            checkpoint.write(&dir.join(&safetensors), Layout::Original, tuned)?;
            checkpoint.write_state_dict(&dir.join(&pth), Layout::Original, tuned)?;
            Ok(vec![safetensors, pth])
        }
    }
}

/// The base's own `config.json`, byte for byte where it has one, so that nothing in it that Resect does not know gets lost.
fn config_text(checkpoint: &Checkpoint) -> anyhow::Result<String> {
    let Some(path) = checkpoint.config_file() else { return Ok(checkpoint.config().to_json()) };
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut value: Value = serde_json::from_str(&text)?;
    let mut changed = false;
    // The weights are written as F32. A base of half precision says so here, and `transformers` would round them again.
    for field in ["dtype", "torch_dtype"] {
        if let Some(dtype) = value.get_mut(field).filter(|dtype| !dtype.is_null() && **dtype != "float32") {
            *dtype = "float32".into();
            changed = true;
        }
    }
    Ok(if changed { format!("{value:#}\n") } else { text })
}

/// The published size with this configuration, by the original code's name for it; `custom` for any other.
fn size_name(config: &SamConfig) -> &'static str {
    let same = |name: &str| {
        let named = SamConfig::named(name)?;
        let (vision, prompt, mut decoder) = (named.vision, named.prompt, named.decoder);
        decoder.layer_norm_eps = config.decoder.layer_norm_eps;
        Some(SamConfig { vision, prompt, decoder } == *config)
    };
    let names = ["tiny", "small", "vit_b", "vit_l", "vit_h"];
    let known = NAMED_CONFIGS.iter().zip(names).find(|(name, _)| same(name) == Some(true));
    known.map_or("custom", |(_, name)| name)
}

fn manifest(format: Format, subject: &Subject, lineage: &Lineage, earlier: Option<&Manifest>) -> Manifest {
    if let Some(earlier) = earlier {
        // What was exported before is what it was.
        return Manifest { layout: format, files: BTreeMap::new(), ..earlier.clone() };
    }
    let tuned = subject.tuned.as_ref();
    let tuning = tuned.map(|tuned| tuned.summary.tuning.clone());
    let has =
        |part: &str, is: fn(&Tuning) -> bool| tuning.as_ref().filter(|t| is(t)).map(|_| part.to_owned());
    let encoder = has("vision_encoder", |tuning| tuning.encoder.tune != EncoderTune::None);
    let decoder = has("mask_decoder", |tuning| tuning.decoder.tune != DecoderTune::None);
    let parts = encoder.into_iter().chain(decoder).collect();
    Manifest {
        format: FORMAT.into(),
        layout: format,
        checkpoint: tuned.map(|tuned| tuned.id.clone()),
        base: subject.base_id.clone(),
        tuned: parts,
        // A single-mask loss gives these heads no gradient: they do not know the decoder that was tuned beside them.
        iou_head_trained: tuned.is_none() && !lineage.base_is_random,
        lineage: lineage.ids(),
        files: BTreeMap::new(),
    }
}

/// Refuses a place that holds anything but an unchanged earlier export.
fn check_replaceable(out: &Path) -> anyhow::Result<()> {
    let entries = match std::fs::read_dir(out) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("--out: cannot list {}", out.display())),
    };
    let names: Vec<String> = entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<std::io::Result<_>>()
        .with_context(|| format!("--out: cannot list {}", out.display()))?;
    if names.is_empty() {
        return Ok(());
    }
    let shown = workspace::display(out);
    let Some(manifest) = Manifest::read(out).context("--out holds something else than an earlier export")?
    else {
        bail!("--out: {shown} is not empty and holds no earlier export; name another folder");
    };
    for name in names.iter().filter(|name| *name != MANIFEST_FILE) {
        let Some(expected) = manifest.files.get(name) else {
            bail!("--out: {shown} holds {name}, which no export wrote; name another folder or move it away");
        };
        ensure!(
            hash_file(&out.join(name)).is_ok_and(|found| found == *expected),
            "--out: {name} in {shown} was changed since it was exported; name another folder or move it away"
        );
    }
    Ok(())
}

/// A folder beside the place it is for; removed unless it is put there.
struct Aside(PathBuf);

impl Aside {
    fn create(path: PathBuf) -> anyhow::Result<Self> {
        remove(&path)?;
        std::fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }

    /// Puts the folder in its place. What lies there is moved out of the way first, and removed when the new one is there.
    fn put(self, out: &Path) -> anyhow::Result<()> {
        for file in std::fs::read_dir(&self.0)? {
            std::fs::File::open(file?.path())?.sync_all()?;
        }
        check_replaceable(out)?;
        let old = self.0.with_extension("resect-export-old");
        remove(&old)?;
        let moved = |result: std::io::Result<()>| {
            result.with_context(|| format!("cannot put {} in place", out.display()))
        };
        if out.exists() {
            moved(std::fs::rename(out, &old))?;
        }
        if let Err(error) = std::fs::rename(&self.0, out) {
            // Better the earlier export than none.
            let _ = std::fs::rename(&old, out);
            return moved(Err(error));
        }
        remove(&old)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn remove(path: &Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// A word as a shell takes it.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests;
