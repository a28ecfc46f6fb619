use crate::manifest::{files_below, hash_file};
use crate::{Action, ArtifactId, Hash, Key, MANIFEST, Manifest, StoreError};
use serde::{Serialize, de::DeserializeOwned};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// A store on disk; see the crate's page for what lies where.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// Opens the store in `root`, created when absent.
    ///
    /// # Errors
    /// When the folder cannot be created.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let store = Self { root: root.to_path_buf() };
        for name in ["actions", "latest", "locks", "work", "runs"] {
            create_dir(&store.private(name))?;
        }
        Ok(store)
    }

    /// The store's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn private(&self, name: &str) -> PathBuf {
        self.root.join(".resect").join(name)
    }

    /// Where an artifact lies, whether it exists or not.
    pub fn path(&self, kind: &str, id: &ArtifactId) -> PathBuf {
        self.root.join(kind).join(id.as_str())
    }

    /// The cheap check before each use: the manifest is the id's own and every file is there with its size.
    ///
    /// # Errors
    /// What is missing or wrong, in words; that makes the artifact a miss.
    pub fn check(&self, kind: &str, id: &ArtifactId) -> Result<Manifest, String> {
        let dir = self.path(kind, id);
        let text = match fs::read(dir.join(MANIFEST)) {
            Ok(text) => text,
            Err(_) if !dir.exists() => return Err(format!("{kind} {} is missing", id.short())),
            Err(_) => return Err(format!("{kind} {} has no readable manifest", id.short())),
        };
        let damaged = || format!("{kind} {} has a damaged manifest", id.short());
        if Hash::of(&text) != *id {
            return Err(damaged());
        }
        let manifest: Manifest = serde_json::from_slice(&text).map_err(|_| damaged())?;
        for file in &manifest.files {
            match fs::metadata(dir.join(&file.path)) {
                Ok(found) if found.len() == file.size => {}
                Ok(found) => {
                    let (found, size) = (found.len(), file.size);
                    return Err(format!(
                        "{kind} {}: {} has {found} bytes, not {size}",
                        id.short(),
                        file.path
                    ));
                }
                Err(_) => return Err(format!("{kind} {}: {} is missing", id.short(), file.path)),
            }
        }
        Ok(manifest)
    }

    /// The full check: every byte is hashed again, and nothing else lies in the folder.
    ///
    /// # Errors
    /// What is missing or wrong, in words.
    pub fn verify(&self, kind: &str, id: &ArtifactId) -> Result<Manifest, String> {
        let manifest = self.check(kind, id)?;
        let dir = self.path(kind, id);
        for file in &manifest.files {
            if hash_file(&dir.join(&file.path)).map_err(|e| e.to_string())? != file.blake3 {
                return Err(format!("{kind} {}: {} has other content", id.short(), file.path));
            }
        }
        let found = files_below(&dir).map_err(|e| e.to_string())?.len();
        if found != manifest.files.len() + 1 {
            return Err(format!("{kind} {} holds files that are not its own", id.short()));
        }
        Ok(manifest)
    }

    /// Makes the files below `dir`, a work folder on the same file system, an artifact, and says its id.
    ///
    /// The artifact appears whole or not at all. Where the same content is there already and sound, `dir` is
    /// removed; where it is there but damaged, `dir` takes its place.
    ///
    /// # Errors
    /// When the files cannot be hashed, synced or moved.
    pub fn publish(&self, kind: &str, dir: &Path) -> Result<ArtifactId, StoreError> {
        let manifest = Manifest::of_dir(dir)?;
        let id = manifest.id()?;
        let target = self.path(kind, &id);
        if self.verify(kind, &id).is_ok() {
            fs::remove_dir_all(dir).map_err(StoreError::io("remove", dir))?;
            return Ok(id);
        }
        write_synced(&dir.join(MANIFEST), manifest.to_json()?.as_bytes())?;
        for path in files_below(dir)? {
            let file = File::open(&path).map_err(StoreError::io("read", &path))?;
            file.sync_all().map_err(StoreError::io("sync", &path))?;
            let mut permissions = file.metadata().map_err(StoreError::io("read", &path))?.permissions();
            permissions.set_readonly(true);
            fs::set_permissions(&path, permissions).map_err(StoreError::io("protect", &path))?;
        }
        sync_dir(dir)?;
        let parent = self.root.join(kind);
        create_dir(&parent)?;
        if target.exists() {
            self.discard(kind, &id)?;
        }
        fs::rename(dir, &target).map_err(StoreError::io("move into place", &target))?;
        sync_dir(&parent)?;
        Ok(id)
    }

    /// The work folder of a stage and key. What a killed run left there is still in it, as it was before the run began to publish.
    ///
    /// # Errors
    /// When it cannot be created, or what was left not be written to again.
    pub fn work_dir(&self, stage: &str, key: &Key) -> Result<PathBuf, StoreError> {
        let dir = self.work_path(stage, key);
        let out = dir.join("out");
        create_dir(&out)?;
        for kind in fs::read_dir(&out).map_err(StoreError::io("read", &out))? {
            let kind = kind.map_err(StoreError::io("read", &out))?.path();
            if kind.join(MANIFEST).exists() {
                unpublish(&kind)?;
            }
        }
        Ok(dir)
    }

    /// Where the work folder of a stage and key lies, whether it exists or not.
    pub fn work_path(&self, stage: &str, key: &Key) -> PathBuf {
        self.private("work").join(format!("{stage}-{}", key.short()))
    }

    /// Where the lock of a key lies.
    pub fn lock_path(&self, key: &Key) -> PathBuf {
        self.private("locks").join(format!("{key}.lock"))
    }

    /// The record of a stage and key; `None` where there is none.
    ///
    /// # Errors
    /// A record that cannot be read, or that belongs to another key. Callers treat it as a miss and say why.
    pub fn action(&self, stage: &str, key: &Key) -> Result<Option<Action>, StoreError> {
        let path = self.action_path(stage, key);
        let Some(action) = read_record::<Action>(&path)? else { return Ok(None) };
        let wrong = |message| Err(StoreError::Record { path: path.clone(), message });
        if !action.format.starts_with("resect-action/1.") {
            return wrong(format!("its format is {:?}, expected resect-action/1.x", action.format));
        }
        if action.key != *key {
            return wrong(format!("it belongs to key {}", action.key.short()));
        }
        match action.invalid_input() {
            Some(input) => wrong(format!("inputs.{input} is not the id of an artifact")),
            None => Ok(Some(action)),
        }
    }

    /// The stages of which there are records, sorted.
    ///
    /// # Errors
    /// When the folder of records cannot be listed.
    pub fn stages(&self) -> Result<Vec<String>, StoreError> {
        file_names(&self.private("actions"))
    }

    /// All records of a stage, the latest first, and an error for each that cannot be read.
    pub fn actions(&self, stage: &str) -> Listed<Action> {
        let names = match file_names(&self.private("actions").join(stage)) {
            Ok(names) => names,
            Err(error) => return Listed { records: Vec::new(), unreadable: vec![error] },
        };
        // Other names are those of unfinished records.
        let keys = names.iter().filter_map(|name| Key::try_from(name.strip_suffix(".json")?.to_owned()).ok());
        let mut listed: Listed<Action> =
            keys.filter_map(|key| self.action(stage, &key).transpose()).collect();
        listed.records.sort_by(|a, b| (&b.finished, &b.key).cmp(&(&a.finished, &a.key)));
        listed
    }

    /// Writes the record of a stage and key.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn record(&self, action: &Action) -> Result<(), StoreError> {
        write_record(&self.action_path(&action.stage, &action.key), action)
    }

    fn action_path(&self, stage: &str, key: &Key) -> PathBuf {
        self.private("actions").join(stage).join(format!("{key}.json"))
    }

    /// The keys a pipeline used last, by stage; empty before its first run.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn latest(&self, pipeline: &str) -> Result<std::collections::BTreeMap<String, Key>, StoreError> {
        Ok(read_record(&self.latest_path(pipeline))?.unwrap_or_default())
    }

    /// Remembers the keys a pipeline used.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn set_latest(
        &self,
        pipeline: &str,
        keys: &std::collections::BTreeMap<String, Key>,
    ) -> Result<(), StoreError> {
        write_record(&self.latest_path(pipeline), keys)
    }

    fn latest_path(&self, pipeline: &str) -> PathBuf {
        self.private("latest").join(format!("{}.json", Hash::of(pipeline.as_bytes()).short()))
    }

    /// Writes the record of a run, named by the time it began and a few digits that tell runs of one second apart.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn record_run(&self, run: &str, record: &impl Serialize) -> Result<(), StoreError> {
        write_record(&self.run_path(run), record)
    }

    /// The folder for what a run logs; not there before something is.
    pub fn run_dir(&self, run: &str) -> PathBuf {
        self.root.join("runs").join(run)
    }

    /// The record of a run; `None` where there is none of this name.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn run(&self, run: &str) -> Result<Option<serde_json::Value>, StoreError> {
        let plain = run.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if plain { read_record(&self.run_path(run)) } else { Ok(None) }
    }

    /// Where the record of a run lies, whether it exists or not.
    pub fn run_path(&self, run: &str) -> PathBuf {
        self.private("runs").join(format!("{run}.json"))
    }

    /// The names of all runs that left a record, the latest first.
    ///
    /// # Errors
    /// When the folder of records cannot be listed.
    pub fn runs(&self) -> Result<Vec<String>, StoreError> {
        let names = file_names(&self.private("runs"))?;
        let mut runs: Vec<String> =
            names.iter().filter_map(|name| Some(name.strip_suffix(".json")?.to_owned())).collect();
        runs.sort_by(|a, b| b.cmp(a));
        Ok(runs)
    }

    /// The kinds of which there are artifacts, sorted.
    ///
    /// # Errors
    /// When the store cannot be listed.
    pub fn kinds(&self) -> Result<Vec<String>, StoreError> {
        let mut kinds = file_names(&self.root)?;
        kinds.retain(|name| !name.starts_with('.') && name != "runs" && self.root.join(name).is_dir());
        Ok(kinds)
    }

    /// The ids of all artifacts of a kind that begin with these digits, sorted.
    ///
    /// # Errors
    /// When the folder of the kind cannot be listed.
    pub fn ids(&self, kind: &str, digits: &str) -> Result<Vec<ArtifactId>, StoreError> {
        let names = file_names(&self.root.join(kind))?;
        let begins = names.into_iter().filter(|name| name.starts_with(digits));
        // A folder of another name is no artifact.
        Ok(begins.filter_map(|name| Hash::try_from(name).ok()).collect())
    }

    /// Where hashes of source files are remembered.
    pub fn source_cache_path(&self) -> PathBuf {
        self.private("sources.json")
    }
}

/// The records of a folder that can be read, and an error for each that cannot.
#[derive(Debug)]
pub struct Listed<T> {
    /// The records.
    pub records: Vec<T>,
    /// Which files cannot be read, and why.
    pub unreadable: Vec<StoreError>,
}

impl<T> Listed<T> {
    /// The records, where nothing may be left out.
    ///
    /// # Errors
    /// The first that cannot be read.
    pub fn all(self) -> Result<Vec<T>, StoreError> {
        match self.unreadable.into_iter().next() {
            Some(error) => Err(error),
            None => Ok(self.records),
        }
    }
}

impl<T> FromIterator<Result<T, StoreError>> for Listed<T> {
    fn from_iter<I: IntoIterator<Item = Result<T, StoreError>>>(results: I) -> Self {
        let mut listed = Self { records: Vec::new(), unreadable: Vec::new() };
        for result in results {
            match result {
                Ok(record) => listed.records.push(record),
                Err(error) => listed.unreadable.push(error),
            }
        }
        listed
    }
}

/// Reads a JSON record; `None` where there is no file.
pub(crate) fn read_record<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StoreError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("read", path)(error)),
    };
    let wrong =
        |error: serde_json::Error| StoreError::Record { path: path.into(), message: error.to_string() };
    serde_json::from_slice(&text).map(Some).map_err(wrong)
}

/// The names in a folder that are valid UTF-8, as all names of the store are, sorted; none where there is no folder.
pub(crate) fn file_names(dir: &Path) -> Result<Vec<String>, StoreError> {
    let failed = || StoreError::io("list", dir);
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed()(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.map_err(failed())?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

/// Writes a JSON record aside, syncs it, renames it.
pub(crate) fn write_record(path: &Path, value: &impl Serialize) -> Result<(), StoreError> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|e| StoreError::Io {
        action: "encode",
        path: path.into(),
        source: e.into(),
    })?;
    text.push(b'\n');
    if let Some(parent) = path.parent() {
        create_dir(parent)?;
    }
    let aside = path.with_extension(format!("tmp{}", std::process::id()));
    let written = write_synced(&aside, &text)
        .and_then(|()| fs::rename(&aside, path).map_err(StoreError::io("write", path)));
    if written.is_err() {
        let _ = fs::remove_file(&aside);
    }
    written
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let mut file = File::create(path).map_err(StoreError::io("write", path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(StoreError::io("write", path))
}

/// Undoes what publishing a folder did to it before it was killed. The manifest came first and goes last: it is the sign.
fn unpublish(dir: &Path) -> Result<(), StoreError> {
    for path in files_below(dir)? {
        let mut permissions = fs::metadata(&path).map_err(StoreError::io("read", &path))?.permissions();
        if permissions.readonly() {
            own(&mut permissions);
            fs::set_permissions(&path, permissions).map_err(StoreError::io("make writable", &path))?;
        }
    }
    let manifest = dir.join(MANIFEST);
    fs::remove_file(&manifest).map_err(StoreError::io("remove", &manifest))
}

/// Lets the owner write.
#[cfg(unix)]
fn own(permissions: &mut fs::Permissions) {
    use std::os::unix::fs::PermissionsExt;
    permissions.set_mode(permissions.mode() | 0o200);
}

#[cfg(not(unix))]
fn own(permissions: &mut fs::Permissions) {
    permissions.set_readonly(false);
}

fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    // Only Unix can sync a folder; elsewhere the rename alone has to do.
    if cfg!(unix) {
        File::open(dir).and_then(|d| d.sync_all()).map_err(StoreError::io("sync", dir))?;
    }
    Ok(())
}

pub(crate) fn create_dir(dir: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(dir).map_err(StoreError::io("create", dir))
}
