//! The cache on disk; the crate's page draws it.

use crate::{Digest, Error, RemoteFile, Repo, Watch};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Clone, Debug)]
pub(crate) struct Cache {
    root: PathBuf,
}

/// A lock of the operating system, which goes with the process that holds it.
pub(crate) struct Lock {
    _file: File,
}

impl Cache {
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_path_buf() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    fn repo(&self, repo: &Repo, revision: &str) -> hf_hub::CacheRepo {
        hf_hub::Cache::new(self.root.clone()).repo(repo.at(revision))
    }

    /// Where the content of a file belongs.
    pub fn blob(&self, repo: &Repo, digest: &Digest) -> PathBuf {
        self.repo(repo, "main").blob_path(digest.hex())
    }

    /// Where it lies, if it is there in its whole length. Its hash is for the one who uses it to check.
    pub fn find(&self, repo: &Repo, file: &RemoteFile) -> Option<PathBuf> {
        let blob = self.blob(repo, &file.digest);
        let found = fs::metadata(&blob).ok()?;
        (found.is_file() && found.len() == file.size).then_some(blob)
    }

    /// Waits for the lock on a blob; says so when somebody else holds it.
    pub fn lock(&self, repo: &Repo, file: &RemoteFile, watch: &mut dyn Watch) -> Result<Lock, Error> {
        let dir = self.root.join(".locks").join(repo.at("main").folder_name());
        fs::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
        let path = dir.join(format!("{}.lock", file.digest.hex()));
        let mut said = false;
        loop {
            let mut options = OpenOptions::new();
            let options = options.read(true).write(true).create(true).truncate(false);
            let mut lock = options.open(&path).map_err(Error::io("lock", &path))?;
            match lock.try_lock() {
                // Other tools remove their lock files; a lock on a removed one excludes nobody.
                Ok(()) if !is_at(&lock, &path) => {}
                Ok(()) => {
                    // Only for the message of those who wait: a full disk is found out where it matters.
                    let _ = lock.set_len(0).and_then(|()| writeln!(lock, "process {}", std::process::id()));
                    return Ok(Lock { _file: lock });
                }
                Err(TryLockError::WouldBlock) => {
                    if !said {
                        let mut holder = String::new();
                        let known = lock.read_to_string(&mut holder).is_ok() && !holder.trim().is_empty();
                        let holder = if known { holder.trim() } else { "another process" };
                        watch.note(&format!("{}: waiting for {holder}, which is fetching it", file.path));
                        said = true;
                    }
                    if watch.interrupted() {
                        return Err(Error::Interrupted);
                    }
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(TryLockError::Error(error)) => return Err(Error::io("lock", &path)(error)),
            }
        }
    }

    /// Links a file of a commit to its blob, for other tools; where links cannot be made, it is copied.
    pub fn point(&self, repo: &Repo, commit: &str, file: &RemoteFile) -> Result<(), Error> {
        let pointer = self.repo(repo, "main").pointer_path(commit).join(&file.path);
        // From the pointer's folder: up to the commit, to `snapshots`, to the repository.
        let up = "../".repeat(2 + file.path.matches('/').count());
        let target = PathBuf::from(format!("{up}blobs/{}", file.digest.hex()));
        if fs::read_link(&pointer).is_ok_and(|present| present == target) {
            return Ok(());
        }
        let dir = pointer.parent().unwrap_or(&self.root);
        fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
        let aside = aside(&pointer);
        let _ = fs::remove_file(&aside);
        let linked = match symlink(&target, &aside) {
            Ok(()) => Ok(()),
            Err(_) => fs::copy(self.blob(repo, &file.digest), &aside).map(drop),
        };
        linked.and_then(|()| fs::rename(&aside, &pointer)).map_err(|error| {
            let _ = fs::remove_file(&aside);
            Error::io("link", &pointer)(error)
        })
    }

    /// Notes the commit a branch or tag is at, for other tools.
    pub fn set_ref(&self, repo: &Repo, revision: &str, commit: &str) -> Result<(), Error> {
        if revision == commit {
            return Ok(());
        }
        let path = self.root.join(repo.at(revision).folder_name()).join("refs").join(revision);
        if fs::read_to_string(&path).is_ok_and(|present| present == commit) {
            return Ok(());
        }
        let dir = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
        let aside = aside(&path);
        fs::write(&aside, commit).and_then(|()| fs::rename(&aside, &path)).map_err(|error| {
            let _ = fs::remove_file(&aside);
            Error::io("write", &path)(error)
        })
    }
}

/// Whether an open file is still the one of that name.
fn is_at(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let of = |metadata: io::Result<fs::Metadata>| {
            metadata.ok().map(|metadata| (metadata.dev(), metadata.ino()))
        };
        let open = of(file.metadata());
        open.is_some() && open == of(fs::metadata(path))
    }
    #[cfg(not(unix))]
    {
        // An open file cannot be removed here.
        let _ = (file, path);
        true
    }
}

fn aside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".tmp{}", std::process::id()));
    path.with_file_name(name)
}

fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    #[cfg(unix)]
    return std::os::unix::fs::symlink(target, link);
    #[cfg(not(unix))]
    {
        let _ = (target, link);
        Err(io::ErrorKind::Unsupported.into())
    }
}
