//! What is kept, what is not, and how much room it takes.

use crate::manifest::MANIFEST;
use crate::store::{create_dir, file_names, read_record};
use crate::{ArtifactId, Listed, Manifest, Named, Records, Store, StoreError};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A run as retention sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its name.
    pub run: String,
    /// When it began.
    pub began: SystemTime,
    /// What it gave, or reused.
    pub artifacts: BTreeSet<Named>,
}

/// Which runs' artifacts stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// So many of the latest runs.
    pub runs: usize,
    /// And all that began within this time.
    pub age: Duration,
    /// Bytes that artifacts may take; the oldest runs go until they do. What is pinned, and what pipelines gave last, stays all the same.
    pub most_bytes: Option<u64>,
}

impl Default for Retention {
    /// 20 runs, 30 days, any size.
    fn default() -> Self {
        Self { runs: 20, age: Duration::from_secs(30 * 86_400), most_bytes: None }
    }
}

/// What goes and what stays.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Sweep {
    /// Artifacts that nothing kept reaches, with their bytes.
    pub artifacts: Vec<(String, ArtifactId, u64)>,
    /// Action records of which no output stays: stage and key.
    pub records: Vec<(String, String)>,
    /// Folders and files that nobody needs: leftovers of what was killed or removed, logs of runs that are not kept.
    pub leftovers: Vec<PathBuf>,
    /// Runs whose artifacts stay.
    pub kept_runs: usize,
    /// Artifacts that stay, and their bytes.
    pub kept: (usize, u64),
    /// Whether what must stay takes more than was allowed.
    pub over_budget: bool,
}

impl Sweep {
    /// Bytes of the artifacts that go.
    pub fn bytes(&self) -> u64 {
        self.artifacts.iter().map(|(_, _, bytes)| bytes).sum()
    }
}

/// Protects something from removal: `.resect/pins/<name>.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// [`Pin::FORMAT`].
    pub format: String,
    /// A run, or an artifact as `kind/id`.
    pub what: String,
    /// Why, in the user's words.
    pub note: String,
    /// When, RFC 3339.
    pub since: String,
}

impl Pin {
    /// Format of the file.
    pub const FORMAT: &str = "resect-pin/1.0";

    /// The artifact that is pinned, where it is one.
    pub fn artifact(&self) -> Option<Named> {
        let (kind, id) = self.what.split_once('/')?;
        Some((kind.to_owned(), id.to_owned().try_into().ok()?))
    }
}

/// Held while a store is used: nothing is removed from it meanwhile.
#[derive(Debug)]
pub struct Hold {
    _file: File,
}

impl Store {
    /// Holds the store, together with others. `waiting` is called once where somebody is removing from it, until that is done. `None` where
    /// the store can only be read: then nobody like us removes from it.
    ///
    /// # Errors
    /// When the file of the lock cannot be made or locked.
    pub fn hold(&self, waiting: impl FnOnce()) -> Result<Option<Hold>, StoreError> {
        use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
        match self.hold_by(File::try_lock_shared, File::lock_shared, waiting) {
            Err(StoreError::Io { source, .. })
                if [PermissionDenied, ReadOnlyFilesystem].contains(&source.kind()) =>
            {
                Ok(None)
            }
            held => held.map(Some),
        }
    }

    /// Has the store alone: what may remove from it. `waiting` is called once where others hold it, until they are done.
    ///
    /// # Errors
    /// When the file of the lock cannot be made or locked.
    pub fn alone(&self, waiting: impl FnOnce()) -> Result<Hold, StoreError> {
        self.hold_by(File::try_lock, File::lock, waiting)
    }

    fn hold_by(
        &self,
        attempt: fn(&File) -> Result<(), TryLockError>,
        wait: fn(&File) -> std::io::Result<()>,
        waiting: impl FnOnce(),
    ) -> Result<Hold, StoreError> {
        let path = self.private("hold.lock");
        let failed = || StoreError::io("lock", &path);
        let mut options = File::options();
        let file =
            options.read(true).write(true).create(true).truncate(false).open(&path).map_err(failed())?;
        match attempt(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                waiting();
                wait(&file).map_err(failed())?;
            }
            Err(TryLockError::Error(error)) => return Err(failed()(error)),
        }
        Ok(Hold { _file: file })
    }

    fn pin_path(&self, what: &str) -> PathBuf {
        self.private("pins").join(format!("{}.json", what.replace('/', "-")))
    }

    /// All pins, by what is pinned, and an error for each that cannot be read.
    pub fn pins(&self) -> Listed<Pin> {
        let dir = self.private("pins");
        let names = match file_names(&dir) {
            Ok(names) => names,
            Err(error) => return Listed { records: Vec::new(), unreadable: vec![error] },
        };
        // Other names are those of unfinished pins.
        let paths = names.iter().filter(|name| name.ends_with(".json")).map(|name| dir.join(name));
        let mut listed: Listed<Pin> = paths.filter_map(|path| read_pin(&path).transpose()).collect();
        listed.records.sort_by(|a, b| a.what.cmp(&b.what));
        listed
    }

    /// Pins something; a pin on the same is replaced.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn pin(&self, pin: &Pin) -> Result<(), StoreError> {
        crate::store::write_record(&self.pin_path(&pin.what), pin)
    }

    /// Removes a pin; whether there was one.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn unpin(&self, what: &str) -> Result<bool, StoreError> {
        let path = self.pin_path(what);
        if !path.exists() {
            return Ok(false);
        }
        fs::remove_file(&path).map_err(StoreError::io("remove", &path)).map(|()| true)
    }

    /// All artifacts with their bytes, as far as their manifests can be read; a damaged artifact counts 0 bytes.
    ///
    /// # Errors
    /// When the folders of artifacts cannot be listed.
    pub fn sizes(&self) -> Result<BTreeMap<Named, u64>, StoreError> {
        let mut sizes = BTreeMap::new();
        for kind in self.kinds()? {
            for id in self.ids(&kind, "")? {
                let manifest = read_record::<Manifest>(&self.path(&kind, &id).join(MANIFEST));
                let bytes = manifest.ok().flatten().map_or(0, |manifest| manifest.bytes());
                sizes.insert((kind.clone(), id), bytes);
            }
        }
        Ok(sizes)
    }

    /// What pipelines gave last: these artifacts stay, whatever their age. Of a matrix and of several seeds only the first counts, which
    /// commands take when they are given no other; the rest stays with its runs, or a matrix would stay for ever.
    fn latest_artifacts(&self) -> Result<BTreeSet<Named>, StoreError> {
        let (dir, mut found) = (self.private("latest"), BTreeSet::new());
        for name in file_names(&dir)?.iter().filter(|name| name.ends_with(".json")) {
            let keys: Option<BTreeMap<String, crate::Key>> = read_record(&dir.join(name))?;
            for (stage, key) in keys.into_iter().flatten().filter(|(name, _)| !name.contains(',')) {
                found.extend(self.action(&stage, &key)?.into_iter().flat_map(|action| action.outputs));
            }
        }
        Ok(found)
    }

    /// Says what would go under a retention: what is reached neither by a pin, nor by a run that is kept, nor by what a pipeline gave
    /// last. An artifact that stays keeps all that it was made from. Nothing is removed.
    ///
    /// # Errors
    /// A record or a pin that cannot be read: what it keeps is not known, so nothing may go.
    pub fn sweep(&self, runs: &[Kept], retention: &Retention, now: SystemTime) -> Result<Sweep, StoreError> {
        let pins = self.pins().all()?;
        let latest = self.latest_artifacts()?;
        let records = Records::read(self)?.complete()?;
        let sizes = self.sizes()?;
        let pinned_runs: BTreeSet<&str> = pins.iter().map(|pin| pin.what.as_str()).collect();
        let mut roots: BTreeSet<Named> = pins.iter().filter_map(Pin::artifact).collect();
        roots.extend(latest);
        let mut newest: Vec<&Kept> = runs.iter().collect();
        newest.sort_by(|a, b| (b.began, &b.run).cmp(&(a.began, &a.run)));
        let mut must: Vec<&Kept> = Vec::new();
        let mut may: Vec<&Kept> = Vec::new();
        for (i, run) in newest.iter().enumerate() {
            let is_young = now.duration_since(run.began).unwrap_or_default() <= retention.age;
            if pinned_runs.contains(run.run.as_str()) || i == 0 {
                must.push(run);
            } else if i < retention.runs || is_young {
                may.push(run);
            }
        }
        let reached = |may: &[&Kept]| {
            let of_runs = must.iter().chain(may).flat_map(|run| run.artifacts.iter().cloned());
            let all: BTreeSet<Named> = of_runs.chain(roots.iter().cloned()).collect();
            records.ancestry(all).artifacts
        };
        let bytes =
            |kept: &BTreeSet<Named>| -> u64 { kept.iter().filter_map(|named| sizes.get(named)).sum() };
        let mut kept = reached(&may);
        while retention.most_bytes.is_some_and(|most| bytes(&kept) > most) && may.pop().is_some() {
            kept = reached(&may);
        }
        let gone = |named: &Named| !kept.contains(named);
        let unused = records.actions().iter().filter(|action| {
            let outputs = std::iter::once(&action.outputs).chain(&action.other_outputs).flatten();
            outputs.map(|(kind, id)| (kind.clone(), id.clone())).all(|named| gone(&named))
        });
        let kept_bytes = bytes(&kept);
        let names: BTreeSet<&str> = must.iter().chain(&may).map(|run| run.run.as_str()).collect();
        Ok(Sweep {
            artifacts: sizes
                .iter()
                .filter(|(named, _)| gone(named))
                .map(|((kind, id), bytes)| (kind.clone(), id.clone(), *bytes))
                .collect(),
            records: unused.map(|action| (action.stage.clone(), action.key.to_string())).collect(),
            leftovers: self.leftovers(&names, retention, now),
            kept_runs: names.len(),
            kept: (kept.iter().filter(|named| sizes.contains_key(*named)).count(), kept_bytes),
            over_budget: retention.most_bytes.is_some_and(|most| kept_bytes > most),
        })
    }

    /// What nobody needs beside artifacts and records. A folder that cannot be listed has none: what is not found stays.
    fn leftovers(&self, kept: &BTreeSet<&str>, retention: &Retention, now: SystemTime) -> Vec<PathBuf> {
        let list = |dir: PathBuf| fs::read_dir(dir).into_iter().flatten().flatten();
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // As old as what changed in it last; of a program that outlived its runner not at all.
        let is_old = |path: &Path| {
            let inside = ["", "out", "state"]
                .map(|part| fs::metadata(path.join(part)).and_then(|found| found.modified()));
            let last = inside.into_iter().flatten().max().unwrap_or(now);
            let at_work = match File::open(path.join("stage.lock")) {
                Ok(lock) => lock.try_lock().is_err(),
                Err(error) => error.kind() != std::io::ErrorKind::NotFound,
            };
            !at_work && now.duration_since(last).unwrap_or_default() > retention.age
        };
        let mut found: Vec<PathBuf> = Vec::new();
        // A stage that was killed goes on from its folder, so that only an old one is of no use.
        let work = list(self.private("work")).map(|entry| entry.path());
        found.extend(
            work.filter(|path| ASIDE.iter().any(|aside| name(path).starts_with(aside)) || is_old(path)),
        );
        // Nobody holds a lock of a key while this one has the store alone.
        found.extend(list(self.private("locks")).map(|entry| entry.path()));
        let records = list(self.private("actions")).flat_map(|entry| list(entry.path()));
        let records =
            records.chain(["runs", "latest", "pins"].into_iter().flat_map(|dir| list(self.private(dir))));
        let unfinished =
            |path: &PathBuf| path.extension().is_some_and(|e| e.to_string_lossy().starts_with("tmp"));
        found.extend(records.map(|entry| entry.path()).filter(unfinished));
        let logs = list(self.root().join("runs")).map(|entry| entry.path());
        found.extend(logs.filter(|path| !kept.contains(name(path).as_str())));
        found.sort();
        found
    }

    /// Removes what a sweep says. `done` is called after each artifact with the bytes it had. An artifact is moved aside first: one that
    /// was half removed is never seen.
    ///
    /// # Errors
    /// The first that cannot be removed; what was removed until then is gone, and the next sweep goes on.
    pub fn remove(&self, sweep: &Sweep, mut done: impl FnMut(u64)) -> Result<(), StoreError> {
        // Records first: of an artifact that is gone nothing should say that it is there.
        for (stage, key) in &sweep.records {
            let path = self.private("actions").join(stage).join(format!("{key}.json"));
            remove(&path)?;
        }
        for (kind, id, bytes) in &sweep.artifacts {
            self.discard(kind, id)?;
            done(*bytes);
        }
        sweep.leftovers.iter().try_for_each(|path| remove(path))
    }

    /// Removes an artifact that was found damaged, unless somebody has made it anew meanwhile.
    ///
    /// # Errors
    /// As [`Store::discard`].
    pub fn discard_damaged(&self, kind: &str, id: &ArtifactId) -> Result<(), StoreError> {
        if self.path(kind, id).exists() && self.verify(kind, id).is_err() {
            self.discard(kind, id)?;
        }
        Ok(())
    }

    /// Removes an artifact: a miss from now on.
    ///
    /// # Errors
    /// When it cannot be moved or removed.
    pub fn discard(&self, kind: &str, id: &ArtifactId) -> Result<(), StoreError> {
        let from = self.path(kind, id);
        let work = self.private("work");
        create_dir(&work)?;
        let aside = work.join(format!("{}{}-{}", ASIDE[0], id.short(), std::process::id()));
        fs::rename(&from, &aside).map_err(StoreError::io("set aside", &from))?;
        fs::remove_dir_all(&aside).map_err(StoreError::io("remove", &aside))
    }
}

/// How folders begin whose content is of no use any more.
const ASIDE: [&str; 3] = ["removed-", "damaged-", "import-"];

/// Reads a pin; `None` where it was removed meanwhile.
fn read_pin(path: &Path) -> Result<Option<Pin>, StoreError> {
    let Some(pin) = read_record::<Pin>(path)? else { return Ok(None) };
    let wrong = |message| Err(StoreError::Record { path: path.into(), message });
    if !pin.format.starts_with("resect-pin/1.") {
        return wrong(format!("its format is {:?}, expected {}", pin.format, Pin::FORMAT));
    }
    if pin.what.contains('/') && pin.artifact().is_none() {
        return wrong(format!("it pins {:?}, expected a run or kind/id", pin.what));
    }
    Ok(Some(pin))
}

fn remove(path: &Path) -> Result<(), StoreError> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StoreError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}
