//! Datasets and checkpoints on the Hub: resolved once into the lock file, fetched when a step needs them.

use crate::lockfile::{Locked, Lockfile, Wanted};
use crate::pipeline::{HubCheckpoint, HubDataset};
use crate::plan::Step;
use crate::program::Interrupted;
use crate::show::Working;
use crate::{interrupt, select, workspace};
use anyhow::{Context, bail, ensure};
use resect_artifact::{Hash, Store};
use resect_checkpoint::{CONFIG_FILE, Checkpoint, SamConfig, WEIGHTS_FILE};
use resect_hub::{Error, Hub, Kind, Listing, RemoteFile, Repo, Settings, Watch};
use serde_json::{Value, json};

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// Files of a repository at a commit.
pub struct HubFiles {
    wanted: Wanted,
    commit: String,
    files: Vec<RemoteFile>,
    connection: Arc<Connection>,
}

/// The Hub, set up when it is first needed: what is in the store needs neither network nor cache nor environment.
struct Connection {
    offline: bool,
    hub: OnceLock<Hub>,
}

impl Connection {
    fn settings(&self) -> anyhow::Result<Settings> {
        let mut settings = Settings::from_env()?;
        settings.offline |= self.offline;
        Ok(settings)
    }

    fn hub(&self) -> anyhow::Result<&Hub> {
        if let Some(hub) = self.hub.get() {
            return Ok(hub);
        }
        let hub = Hub::new(&self.settings()?)?;
        Ok(self.hub.get_or_init(|| hub))
    }
}

/// Looks up revisions: in the lock file, or where they are not in it, on the Hub.
pub struct Resolver {
    connection: Arc<Connection>,
    lock: Lockfile,
    update: bool,
    used: Vec<Wanted>,
}

impl Resolver {
    pub fn new(pipeline: &Path, offline: bool, update: bool) -> anyhow::Result<Self> {
        let connection = Arc::new(Connection { offline, hub: OnceLock::new() });
        Ok(Self { connection, lock: Lockfile::beside(pipeline)?, update, used: Vec::new() })
    }

    /// The files of a dataset.
    pub fn dataset(&mut self, source: &HubDataset) -> anyhow::Result<HubFiles> {
        let wanted = wanted(Kind::Dataset, &source.repository, &source.revision)?;
        self.files(wanted, select::is_parquet, |files| select::parquet(files, source))
    }

    /// The files of a checkpoint.
    pub fn checkpoint(&mut self, source: &HubCheckpoint) -> anyhow::Result<HubFiles> {
        let wanted = wanted(Kind::Model, &source.repository, &source.revision)?;
        let select = |files: &[RemoteFile]| Ok(select::checkpoint(files, &source.repository)?.to_vec());
        self.files(wanted, |file| [CONFIG_FILE, WEIGHTS_FILE].contains(&file.path.as_str()), select)
    }

    /// Writes the lock file if it changed. With `--update` it keeps what this pipeline uses and nothing else.
    pub fn save(mut self) -> anyhow::Result<()> {
        if self.update {
            self.lock.keep(&self.used);
        }
        self.lock.save()
    }

    /// Resolves a revision and selects from its files; `keep` says which of them the lock file names.
    fn files(
        &mut self,
        wanted: Wanted,
        keep: impl Fn(&RemoteFile) -> bool,
        select: impl Fn(&[RemoteFile]) -> anyhow::Result<Vec<RemoteFile>>,
    ) -> anyhow::Result<HubFiles> {
        self.used.push(wanted.clone());
        let before = self.lock.get(&wanted).cloned();
        let locked = before.clone().filter(|_| !self.update);
        let (commit, files) = match locked.map(|locked| (select(&locked.files), locked.commit)) {
            Some((Ok(files), commit)) => (commit, files),
            // Somebody may have shortened the lock file: the commit still says what there is.
            Some((Err(error), _)) if self.offline()? => return Err(error),
            Some((Err(_), commit)) => self.list(wanted.clone(), &commit, before, keep, select)?,
            None => {
                let revision = wanted.revision.clone();
                self.list(wanted.clone(), &revision, before, keep, select)?
            }
        };
        Ok(HubFiles { wanted, commit, files, connection: self.connection.clone() })
    }

    fn offline(&self) -> anyhow::Result<bool> {
        Ok(self.connection.settings()?.offline)
    }

    /// Asks the Hub, and notes the answer for the lock file once something could be selected from it.
    fn list(
        &mut self,
        wanted: Wanted,
        revision: &str,
        before: Option<Locked>,
        keep: impl Fn(&RemoteFile) -> bool,
        select: impl Fn(&[RemoteFile]) -> anyhow::Result<Vec<RemoteFile>>,
    ) -> anyhow::Result<(String, Vec<RemoteFile>)> {
        let Wanted { repo, revision: named } = &wanted;
        let lock = workspace::display(self.lock.path());
        if self.offline()? {
            ensure!(!self.update, "--update asks the Hub, and HF_HUB_OFFLINE forbids it");
            bail!(
                "{lock} does not say what revision \"{named}\" of {repo} is, and offline nothing is asked\n\
                 hint: run once without --offline (or HF_HUB_OFFLINE), or put the lock file of somebody who did beside the \
                 pipeline file"
            );
        }
        let mut watch = Plain;
        let Listing { commit, mut files } =
            self.connection.hub()?.resolve(repo, revision, &mut watch).map_err(interrupted)?;
        let selected = select(&files)?;
        match before.map(|before| before.commit) {
            None => say!("{repo}: \"{named}\" is commit {commit}, noted in {lock}"),
            Some(before) if before == commit => {
                if self.update {
                    say!("{repo}: \"{named}\" is still commit {commit}");
                }
            }
            Some(before) => say!("{repo}: \"{named}\" moved: commit {before} → {commit}"),
        }
        files.retain(|file| keep(file));
        self.lock.set(wanted, Locked { commit: commit.clone(), files });
        Ok((commit, selected))
    }
}

fn wanted(kind: Kind, repository: &str, revision: &str) -> anyhow::Result<Wanted> {
    let repo = Repo::new(kind, repository).map_err(anyhow::Error::msg)?;
    Ok(Wanted { repo, revision: revision.to_owned() })
}

impl HubFiles {
    /// Path to hash: what the content is, whatever the commit and the server.
    pub fn document(&self) -> Value {
        let hashes: BTreeMap<_, _> = self.files.iter().map(|file| (&file.path, &file.digest)).collect();
        json!({ "files": hashes })
    }

    /// Where it comes from.
    pub fn provenance(&self) -> Value {
        let Wanted { repo, revision } = &self.wanted;
        json!({
            "hub": repo.kind().name(), "repository": repo.name(), "revision": revision, "commit": self.commit
        })
    }

    /// The model of a checkpoint: from the store if it is there, else from the cache or the Hub.
    pub fn model(&self, store: &Store) -> anyhow::Result<SamConfig> {
        let text = match self.config_in(store) {
            Some(text) => text,
            None => {
                let file = self.files.iter().find(|file| file.path == CONFIG_FILE);
                let file = file.context("a checkpoint has a config.json")?;
                let read = self.connection.hub()?.read(&self.wanted.repo, &self.commit, file, &mut Plain);
                read.map_err(interrupted)?
            }
        };
        let wrong = || format!("{CONFIG_FILE} of {} describes no SAM", self.wanted.repo);
        let text = String::from_utf8(text).with_context(wrong)?;
        let config = SamConfig::from_json(&text).map_err(anyhow::Error::msg).with_context(wrong)?;
        config.validate().with_context(wrong)?;
        Ok(config)
    }

    /// `config.json` of the artifact that these files became in an earlier run.
    fn config_in(&self, store: &Store) -> Option<Vec<u8>> {
        let mut document = self.document();
        document["stage"] = Step::Base.name().into();
        let action = crate::record::action(store, Step::Base.name(), &Hash::key(&document))?;
        let kind = Step::Base.outputs()[0];
        let id = action.outputs.get(kind)?;
        store.check(kind, id).ok()?;
        std::fs::read(store.path(kind, id).join(CONFIG_FILE)).ok()
    }

    /// Puts the files into a folder, each with the hash it is to have; fetches what is not in the cache.
    pub fn make(&self, out: &Path, working: &mut Working) -> anyhow::Result<()> {
        let total = self.files.iter().map(|file| file.size).sum();
        let mut watch = Shown { working, before: 0, total };
        for file in &self.files {
            let hub = self.connection.hub()?;
            let copied = hub.copy(&self.wanted.repo, &self.commit, file, &out.join(&file.path), &mut watch);
            copied.map_err(interrupted)?;
            watch.before += file.size;
        }
        if self.wanted.repo.kind() == Kind::Model {
            Checkpoint::check(out)
                .with_context(|| format!("{} is no usable checkpoint", self.wanted.repo))?;
        }
        Ok(())
    }
}

fn interrupted(error: Error) -> anyhow::Error {
    match error {
        Error::Interrupted => Interrupted.into(),
        other => other.into(),
    }
}

/// Before any step begins: lines on standard error.
struct Plain;

impl Watch for Plain {
    fn interrupted(&self) -> bool {
        interrupt::requested()
    }

    fn progress(&mut self, _: &str, _: u64, _: u64) {}

    fn note(&mut self, line: &str) {
        say!("{line}");
    }
}

/// Within a step: bytes of all its files.
struct Shown<'a, 'b> {
    working: &'a mut Working<'b>,
    /// Bytes of the files that are done.
    before: u64,
    total: u64,
}

impl Watch for Shown<'_, '_> {
    fn interrupted(&self) -> bool {
        interrupt::requested()
    }

    fn progress(&mut self, path: &str, done: u64, _: u64) {
        self.working.bytes(path, self.before + done, self.total);
    }

    fn note(&mut self, line: &str) {
        self.working.log(line);
    }
}
