//! Where data and weights come from: the only place that reads outside the store. What it finds becomes artifacts,
//! so that no stage ever depends on a path, a server or a file somebody may edit.

use crate::hub::{HubFiles, Resolver};
use crate::pipeline::{BaseCheckpoint, Dataset, Pipeline};
use crate::plan::Step;
use crate::show::Working;
use anyhow::{Context, bail, ensure};
use resect_artifact::{Hash, Store, hash_file};
use resect_checkpoint::{CONFIG_FILE, Checkpoint, Layout, SamConfig, WEIGHTS_FILE};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use walkdir::WalkDir;

/// A source, resolved: what its artifact will hold is settled, whether it is in the store yet or not.
pub enum Source {
    /// Made from parameters.
    Phantom(resect_phantom::PhantomParams),
    /// Made from parameters.
    Random(Box<SamConfig>, u64),
    /// Copied: path within the artifact, with the file and its hash.
    Files(BTreeMap<String, (PathBuf, Hash)>),
    /// Fetched: files of a Hub repository at a commit.
    Hub(HubFiles),
    /// A checkpoint in another layout or format than the stages read: converted on its way into the store, numbers as they are.
    Converted {
        /// What to open.
        path: PathBuf,
        /// The files that are read, by what they are, with their hashes.
        files: BTreeMap<String, (PathBuf, Hash)>,
    },
}

impl Source {
    /// What the source is, apart from the code that makes it: the part of a key that says it.
    pub fn document(&self, pipeline: &Pipeline) -> anyhow::Result<Value> {
        Ok(match self {
            Self::Phantom(params) => json!({ "params": params }),
            Self::Random(..) => json!({ "params": pipeline.checkpoint }),
            Self::Files(files) | Self::Converted { files, .. } => {
                let hashes: BTreeMap<_, _> = files.iter().map(|(name, (_, hash))| (name, hash)).collect();
                json!({ "files": hashes })
            }
            Self::Hub(files) => files.document(),
        })
    }

    /// Where its content comes from, if that has a name; no key holds it.
    pub fn provenance(&self) -> Option<Value> {
        match self {
            Self::Hub(files) => Some(files.provenance()),
            _ => None,
        }
    }

    /// The identity of the code that makes it, which is the runner's own; none where files are copied as they are.
    pub fn code(&self) -> Option<&'static str> {
        match self {
            Self::Phantom(_) => Some(env!("RESECT_PHANTOM")),
            Self::Random(..) | Self::Converted { .. } => Some(env!("RESECT_CHECKPOINT")),
            Self::Files(_) | Self::Hub(_) => None,
        }
    }

    /// Puts the artifact's files into `out`, an empty folder.
    pub fn make(&self, out: &Path, working: &mut Working) -> anyhow::Result<()> {
        match self {
            Self::Phantom(params) => Ok(resect_phantom::write_dataset(params, out)?),
            Self::Random(config, seed) => Ok(resect_checkpoint::write_random(out, config, *seed)?),
            Self::Files(files) => {
                for (name, (from, hash)) in files {
                    let to = out.join(name);
                    if let Some(parent) = to.parent() {
                        std::fs::create_dir_all(parent)?;
                    }
                    let copied = reflink_copy::reflink_or_copy(from, &to);
                    copied.with_context(|| format!("cannot copy {} into the store", from.display()))?;
                    at_rest(&to, from, hash)?;
                }
                Ok(())
            }
            Self::Hub(files) => files.make(out, working),
            Self::Converted { path, files } => {
                Checkpoint::open(path)?.convert(out)?;
                files.values().try_for_each(|(from, hash)| at_rest(from, from, hash))
            }
        }
    }
}

/// Checks that what was read of `from` is what its hash was taken of.
fn at_rest(read: &Path, from: &Path, hash: &Hash) -> anyhow::Result<()> {
    ensure!(
        hash_file(read)? == *hash,
        "{} changed while it was being copied; run again when it is at rest",
        from.display()
    );
    Ok(())
}

/// The dataset of a pipeline.
fn dataset(pipeline: &Pipeline, store: &Store, hub: &mut Resolver) -> anyhow::Result<Source> {
    let files = match &pipeline.dataset {
        Dataset::Phantom(params) => return Ok(Source::Phantom(params.clone())),
        Dataset::Parquet(source) => parquet_files(&source.path)?,
        Dataset::Folder(source) => folder_files(Path::new(&source.path))?,
        Dataset::Hub(source) => return Ok(Source::Hub(hub.dataset(source)?)),
    };
    hashed(files, store)
}

/// The base checkpoint of a pipeline and its model. The tensors of a local one are checked, all of them, before any work
/// starts; those of one on the Hub as soon as they are here.
fn base(pipeline: &Pipeline, store: &Store, hub: &mut Resolver) -> anyhow::Result<(Source, SamConfig)> {
    match &pipeline.checkpoint {
        BaseCheckpoint::Random(random) => {
            let config = SamConfig::named(&random.size).context("the size was checked with the file")?;
            Ok((Source::Random(Box::new(config.clone()), random.seed), config))
        }
        BaseCheckpoint::Folder(source) => checkpoint_files(Path::new(&source.path), store),
        BaseCheckpoint::Hub(source) => {
            let files = hub.checkpoint(source)?;
            let config = files.model(store)?;
            Ok((Source::Hub(files), config))
        }
    }
}

/// A checkpoint on disk: copied where it is what the stages read, else converted.
fn checkpoint_files(path: &Path, store: &Store) -> anyhow::Result<(Source, SamConfig)> {
    let checkpoint = Checkpoint::open(path)?;
    let weights = checkpoint.file().path();
    let config = checkpoint.config_file();
    let as_read = checkpoint.layout() == Layout::Transformers
        && weights.file_name().is_some_and(|name| name == WEIGHTS_FILE);
    let weights_name = if as_read { WEIGHTS_FILE } else { "weights" };
    let files = [(weights_name, Some(weights)), (CONFIG_FILE, config)];
    let files = files.into_iter().filter_map(|(name, path)| Some((name.to_owned(), path?.to_path_buf())));
    let mut source = hashed(files.collect(), store)?;
    if let (false, Source::Files(files)) = (as_read, &source) {
        source = Source::Converted { path: path.to_path_buf(), files: files.clone() };
    }
    Ok((source, checkpoint.config().clone()))
}

/// The Parquet files a path means, by the name they get in the artifact.
fn parquet_files(path: &str) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let given = Path::new(path);
    let mut files = BTreeMap::new();
    if given.is_dir() {
        for file in files_below(given)? {
            if file.extension().is_some_and(|e| e.eq_ignore_ascii_case("parquet")) {
                files.insert(name_below(given, &file)?, file);
            }
        }
        ensure!(!files.is_empty(), "dataset.path: there is no .parquet file below {path}");
        return Ok(files);
    }
    if given.is_file() {
        let name = own_name(given)?;
        return Ok(BTreeMap::from([(name, given.to_path_buf())]));
    }
    let pattern = glob::glob(path).with_context(|| format!("dataset.path: {path} is no pattern"))?;
    for file in pattern {
        let file = file?;
        let name = own_name(&file)?;
        if let Some(other) = files.insert(name, file.clone()) {
            bail!(
                "dataset.path: {} and {} have the same name; name the folder above them",
                other.display(),
                file.display()
            );
        }
    }
    ensure!(
        !files.is_empty(),
        "dataset.path: there is no file, folder or match of a pattern at {path}; give the Parquet files with \
         --set dataset.path=..."
    );
    Ok(files)
}

/// The files of a dataset folder: those below `images/` and `masks/`, and `splits.csv` where there is one.
fn folder_files(dir: &Path) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let mut files = BTreeMap::new();
    for part in ["images", "masks"] {
        let below = dir.join(part);
        ensure!(
            below.is_dir(),
            "dataset.path: {} has no folder {part}/; expected images/ and masks/, matched by file stem",
            dir.display()
        );
        for file in files_below(&below)? {
            files.insert(name_below(dir, &file)?, file);
        }
    }
    let splits = dir.join("splits.csv");
    if splits.is_file() {
        files.insert("splits.csv".into(), splits);
    }
    Ok(files)
}

fn files_below(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in WalkDir::new(dir).follow_links(true) {
        let entry = entry.with_context(|| format!("cannot list {}", dir.display()))?;
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        if entry.file_type().is_file() && !hidden {
            files.push(entry.into_path());
        }
    }
    Ok(files)
}

/// The last part of a file's path, which becomes its name in the store.
fn own_name(file: &Path) -> anyhow::Result<String> {
    let name = file.file_name().with_context(|| format!("{} names no file", file.display()))?;
    let name = name.to_str().with_context(|| format!("the name of {} is not valid UTF-8", file.display()))?;
    Ok(name.to_owned())
}

fn name_below(dir: &Path, file: &Path) -> anyhow::Result<String> {
    let below = file.strip_prefix(dir);
    let below = below.with_context(|| format!("{} lies outside {}", file.display(), dir.display()))?;
    let name = below.to_str();
    Ok(name.with_context(|| format!("the name of {} is not valid UTF-8", file.display()))?.replace('\\', "/"))
}

/// What is remembered of a source file, so that an unchanged one is not read again.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct Stat {
    size: u64,
    modified: Duration,
    changed: (i64, i64),
    inode: u64,
}

#[derive(Serialize, Deserialize)]
struct Remembered {
    stat: Stat,
    blake3: Hash,
}

/// Younger than this when it was hashed, a file may change again without its times showing it (git's racy entries).
const RACY: Duration = Duration::from_secs(2);

fn hashed(files: BTreeMap<String, PathBuf>, store: &Store) -> anyhow::Result<Source> {
    let path = store.source_cache_path();
    let mut cache: BTreeMap<PathBuf, Remembered> =
        std::fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
    let mut changed = false;
    let mut hashed = BTreeMap::new();
    for (name, file) in files {
        let file = std::path::absolute(file)?;
        let before = stat(&file)?;
        let known = cache.get(&file).filter(|known| known.stat == before).map(|known| known.blake3.clone());
        let hash = match known {
            Some(hash) => hash,
            None => {
                let hash = hash_file(&file)?;
                ensure!(
                    stat(&file)? == before,
                    "{} is being written to; wait until it is done",
                    file.display()
                );
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                if now.saturating_sub(before.modified) > RACY {
                    cache.insert(file.clone(), Remembered { stat: before, blake3: hash.clone() });
                    changed = true;
                }
                hash
            }
        };
        hashed.insert(name, (file, hash));
    }
    if changed {
        // Only a help: where it cannot be written, the next run hashes again.
        let aside = path.with_extension(format!("tmp{}", std::process::id()));
        let _ = serde_json::to_vec(&cache)
            .map_err(std::io::Error::from)
            .and_then(|text| std::fs::write(&aside, text))
            .and_then(|()| std::fs::rename(&aside, &path));
    }
    Ok(Source::Files(hashed))
}

fn stat(file: &Path) -> anyhow::Result<Stat> {
    let found = std::fs::metadata(file).with_context(|| format!("cannot read {}", file.display()))?;
    let modified = found.modified()?.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    #[cfg(unix)]
    let (changed, inode) = {
        use std::os::unix::fs::MetadataExt;
        ((found.ctime(), found.ctime_nsec()), found.ino())
    };
    #[cfg(not(unix))]
    let (changed, inode) = ((0, 0), 0);
    Ok(Stat { size: found.len(), modified, changed, inode })
}

/// The sources of a pipeline.
pub struct Sources {
    pub dataset: Source,
    pub base: Source,
    pub model: SamConfig,
}

impl Sources {
    /// Resolves both; nothing is copied or made yet.
    pub fn resolve(pipeline: &Pipeline, store: &Store, hub: &mut Resolver) -> anyhow::Result<Self> {
        let (base, model) = base(pipeline, store, hub)?;
        let dataset = dataset(pipeline, store, hub)?;
        Ok(Self { dataset, base, model })
    }

    /// The source behind a step, for the two steps that are sources.
    pub fn of(&self, step: Step) -> Option<&Source> {
        match step {
            Step::Dataset => Some(&self.dataset),
            Step::Base => Some(&self.base),
            _ => None,
        }
    }
}
