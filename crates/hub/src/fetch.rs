//! Getting files: listed, fetched, verified, handed out.

use crate::cache::Cache;
use crate::digest::Hasher;
use crate::http::{Answer, Asked, Attempts, Client, Failure, plain_etag};
use crate::repo::escape;
use crate::{Digest, Error, Listing, RemoteFile, Repo, Settings, Watch, check_path, check_revision};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// No listing is longer: a hundred thousand files.
const LISTING_LIMIT: usize = 64 << 20;
/// What counts as progress; a server that sends a few bytes and cuts is given up on like one that sends none.
const PROGRESS: u64 = 1 << 20;

/// The Hub and the cache.
pub struct Hub {
    client: Client,
    cache: Cache,
    offline: bool,
}

/// Why a download did not end with the file.
enum Flaw {
    /// Something broke; what has arrived is good.
    Broken(Failure),
    /// What has arrived is wrong and removed; the error to end with if it happens again.
    Wrong(Error),
    /// What has arrived is of no use and removed; nothing is wrong.
    Restart,
}

impl Hub {
    /// # Errors
    /// When the certificates that the settings name cannot be read.
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        let cache = Cache::new(&settings.cache);
        Ok(Self { client: Client::new(settings)?, cache, offline: settings.offline })
    }

    /// Resolves a branch, tag or commit: what it is now, and what files it holds.
    ///
    /// # Errors
    /// When the Hub cannot be asked, knows no such thing or does not show it.
    pub fn resolve(&self, repo: &Repo, revision: &str, watch: &mut dyn Watch) -> Result<Listing, Error> {
        let what = format!("the files of {repo}");
        let malformed = |message: String| Error::Malformed {
            endpoint: self.client.endpoint().to_owned(),
            what: repo.to_string(),
            message,
        };
        check_revision(revision)
            .map_err(|_| Error::Revision { repo: repo.to_string(), revision: revision.into() })?;
        if self.offline {
            let what = format!("what revision \"{revision}\" of {repo} is");
            return Err(Error::Offline { what, cache: self.cache.root().to_path_buf() });
        }
        let kind = repo.kind().name();
        let url = format!(
            "{}/api/{kind}s/{}/revision/{}?blobs=true",
            self.client.endpoint(),
            repo.name(),
            escape(revision, true)
        );
        let asked = Asked { repo, revision, path: None };
        let mut attempts = Attempts::new();
        loop {
            let failure = match self.client.get(&url, 0, watch)? {
                Ok(answer) if answer.head.status == 200 => match answer.whole(LISTING_LIMIT, watch)? {
                    Ok(json) => {
                        let listing = Listing::parse(&json).map_err(malformed)?;
                        // For other tools alone: where it cannot be written, nothing is lost here.
                        let _ = self.cache.set_ref(repo, revision, &listing.commit);
                        return Ok(listing);
                    }
                    Err(failure) => failure,
                },
                Ok(answer) => self.client.refusal(answer, &asked, watch)?,
                Err(failure) => failure,
            };
            attempts.wait(&what, failure, watch)?;
        }
    }

    /// Puts a file of a commit at `to`, by reference where the file system can. The copy has the listed hash; a blob in the
    /// cache that turns out to be damaged is fetched again.
    ///
    /// # Errors
    /// When it cannot be fetched, or is not what is listed.
    pub fn copy(
        &self,
        repo: &Repo,
        commit: &str,
        file: &RemoteFile,
        to: &Path,
        watch: &mut dyn Watch,
    ) -> Result<(), Error> {
        let mut again = true;
        loop {
            let blob = self.fetch(repo, commit, file, watch)?;
            if let Some(parent) = to.parent() {
                fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
            }
            if let Err(error) = reflink_copy::reflink_or_copy(&blob, to) {
                return Err(self.disk(error, "write", to, file, file.size));
            }
            let found = self.digest_of(&file.digest, to, watch)?;
            if found == file.digest {
                return Ok(());
            }
            fs::remove_file(to).map_err(Error::io("remove", to))?;
            self.discard(&blob, file, found, &mut again, watch)?;
        }
    }

    /// Reads a small file of a commit.
    ///
    /// # Errors
    /// As [`Hub::copy`].
    pub fn read(
        &self,
        repo: &Repo,
        commit: &str,
        file: &RemoteFile,
        watch: &mut dyn Watch,
    ) -> Result<Vec<u8>, Error> {
        let mut again = true;
        loop {
            let blob = self.fetch(repo, commit, file, watch)?;
            let content = fs::read(&blob).map_err(Error::io("read", &blob))?;
            let mut hasher = Hasher::new(&file.digest, content.len() as u64);
            hasher.update(&content);
            let found = hasher.finish();
            if found == file.digest {
                return Ok(content);
            }
            self.discard(&blob, file, found, &mut again, watch)?;
        }
    }

    /// Removes a blob that is not what its name says, once.
    fn discard(
        &self,
        blob: &Path,
        file: &RemoteFile,
        found: Digest,
        again: &mut bool,
        watch: &mut dyn Watch,
    ) -> Result<(), Error> {
        if self.offline || !std::mem::take(again) {
            return Err(Error::Damaged { path: blob.into(), expected: file.digest.clone(), found });
        }
        watch.note(&format!("{}: damaged in the cache; it is fetched again", file.path));
        fs::remove_file(blob).map_err(Error::io("remove", blob))
    }

    fn digest_of(&self, like: &Digest, path: &Path, watch: &dyn Watch) -> Result<Digest, Error> {
        like.same_kind_of(path, || watch.interrupted()).map_err(|error| interrupted_or(error, "read", path))
    }

    /// The file's blob in the cache, fetched if it is not there. It has the right size; its hash was right when it came.
    fn fetch(
        &self,
        repo: &Repo,
        commit: &str,
        file: &RemoteFile,
        watch: &mut dyn Watch,
    ) -> Result<PathBuf, Error> {
        // From a lock file that somebody may have edited.
        check_path(&file.path).map_err(|message| Error::Malformed {
            endpoint: self.client.endpoint().to_owned(),
            what: repo.to_string(),
            message,
        })?;
        if let Some(blob) = self.cache.find(repo, file) {
            watch.progress(&file.path, file.size, file.size);
            return Ok(blob);
        }
        if self.offline {
            let what = format!("{} of {repo}", file.path);
            return Err(Error::Offline { what, cache: self.cache.root().to_path_buf() });
        }
        let _lock = self.cache.lock(repo, file, watch)?;
        if let Some(blob) = self.cache.find(repo, file) {
            watch.progress(&file.path, file.size, file.size);
            return Ok(blob);
        }
        let blob = self.cache.blob(repo, &file.digest);
        let part = blob.with_extension("incomplete");
        if let Some(dir) = blob.parent() {
            fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
        }
        self.download(repo, commit, file, &part, watch)?;
        fs::rename(&part, &blob).map_err(Error::io("move into place", &blob))?;
        if let Some(dir) = blob.parent().filter(|_| cfg!(unix)) {
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(Error::io("sync", dir))?;
        }
        if let Err(error) = self.cache.point(repo, commit, file) {
            watch.note(&format!("{}: other tools will not find it in the cache: {error}", file.path));
        }
        Ok(blob)
    }

    /// Leaves the whole file in `part`: verified and synced.
    fn download(
        &self,
        repo: &Repo,
        commit: &str,
        file: &RemoteFile,
        part: &Path,
        watch: &mut dyn Watch,
    ) -> Result<(), Error> {
        let mut attempts = Attempts::new();
        let (mut wrong, mut restarts, mut most) = (0, 0, 0);
        loop {
            let flaw = match self.attempt(repo, commit, file, part, watch)? {
                Ok(()) => return Ok(()),
                Err(flaw) => flaw,
            };
            match flaw {
                Flaw::Wrong(error) if wrong > 0 => return Err(error),
                Flaw::Wrong(error) => {
                    wrong += 1;
                    let line = error.to_string();
                    watch.note(&format!(
                        "{}; once more from the start",
                        line.lines().next().unwrap_or_default()
                    ));
                }
                // A server that takes a range for one thing now and for another then must not be asked for ever.
                Flaw::Restart if restarts < 2 => restarts += 1,
                Flaw::Restart => return Err(self.sent(repo, file, "no usable part of it".into(), "")),
                Flaw::Broken(failure) => {
                    let there = fs::metadata(part).map_or(0, |part| part.len());
                    if there >= most + PROGRESS {
                        attempts.progress();
                        most = there;
                    }
                    attempts.wait(&format!("{} of {repo}", file.path), failure, watch)?;
                }
            }
        }
    }

    /// One request, going on where `part` ends.
    fn attempt(
        &self,
        repo: &Repo,
        commit: &str,
        file: &RemoteFile,
        part: &Path,
        watch: &mut dyn Watch,
    ) -> Result<Result<(), Flaw>, Error> {
        let mut options = OpenOptions::new();
        let mut out =
            options.read(true).append(true).create(true).open(part).map_err(Error::io("write", part))?;
        let clear = |out: &File| out.set_len(0).map_err(Error::io("write", part));
        let mut hasher = Hasher::new(&file.digest, file.size);
        if out.metadata().map_err(Error::io("read", part))?.len() > file.size {
            clear(&out)?;
        }
        let kept = hasher.read(&mut out, || watch.interrupted());
        let mut there = kept.map_err(|error| interrupted_or(error, "read", part))?;
        if there < file.size || file.size == 0 {
            self.check_room(file, file.size - there, part)?;
            let url = format!(
                "{}/{}/resolve/{commit}/{}",
                self.client.endpoint(),
                repo.at(commit).url(),
                escape(&file.path, false)
            );
            let answer = match self.client.get(&url, there, watch)? {
                Ok(answer) => answer,
                Err(failure) => return Ok(Err(Flaw::Broken(failure))),
            };
            match answer.head.status {
                // The whole, although a part was asked for.
                200 if there > 0 => {
                    clear(&out)?;
                    (there, hasher) = (0, Hasher::new(&file.digest, file.size));
                }
                200 => {}
                206 if answer.content_range().is_some_and(|(first, _)| first == there) => {}
                206 | 416 => {
                    clear(&out)?;
                    return Ok(Err(Flaw::Restart));
                }
                _ => {
                    let asked = Asked { repo, revision: commit, path: Some(&file.path) };
                    return self
                        .client
                        .refusal(answer, &asked, watch)
                        .map(|failure| Err(Flaw::Broken(failure)));
                }
            }
            if let Err(error) = self.check_head(repo, file, &answer, there) {
                clear(&out)?;
                return Ok(Err(Flaw::Wrong(error)));
            }
            watch.progress(&file.path, there, file.size);
            let mut start = Vec::new();
            loop {
                let data = match answer.next(watch)? {
                    Ok(Some(data)) => data,
                    Ok(None) => break,
                    Err(failure) => return Ok(Err(Flaw::Broken(failure))),
                };
                if there == 0 {
                    start.extend_from_slice(&data[..data.len().min(64)]);
                }
                if there + data.len() as u64 > file.size {
                    clear(&out)?;
                    return Ok(Err(Flaw::Wrong(self.sent(repo, file, "more".into(), ""))));
                }
                out.write_all(&data)
                    .map_err(|error| self.disk(error, "write", part, file, file.size - there))?;
                hasher.update(&data);
                there += data.len() as u64;
                watch.progress(&file.path, there, file.size);
            }
            if there < file.size {
                let message = format!("the connection was cut after {there} of {} bytes", file.size);
                let (host, again) = (answer.head.host.clone(), true);
                return Ok(Err(Flaw::Broken(Failure { message, host, again, wait: None, limited: false })));
            }
        }
        let found = hasher.finish();
        if found != file.digest {
            clear(&out)?;
            let (repo, path, expected) = (repo.to_string(), file.path.clone(), file.digest.clone());
            return Ok(Err(Flaw::Wrong(Error::Content { repo, path, expected, found })));
        }
        out.sync_all().map_err(|error| self.disk(error, "sync", part, file, file.size))?;
        Ok(Ok(()))
    }

    /// What the answer says of the file before its content comes, against the listing.
    fn check_head(&self, repo: &Repo, file: &RemoteFile, answer: &Answer, there: u64) -> Result<(), Error> {
        let head = &answer.head;
        // For a file in git the endpoint may say the hash in the ETag alone.
        let own = || {
            let speaks = head.endpoint && matches!(file.digest, Digest::GitSha1(_));
            head.headers.get("etag").filter(|_| speaks)?.to_str().ok().map(plain_etag)
        };
        let etag = head.linked_etag.clone().or_else(own);
        let contradiction = |what, expected: String, found: String| Error::Contradiction {
            repo: repo.to_string(),
            path: file.path.clone(),
            what,
            expected,
            found,
        };
        // An ETag that is no hash at all is one that a mirror made up.
        let hash = etag.filter(|etag| Digest::sha256(etag).or_else(|| Digest::git_sha1(etag)).is_some());
        if let Some(hash) = hash.filter(|hash| hash != file.digest.hex()) {
            return Err(contradiction("hash", file.digest.hex().to_owned(), hash));
        }
        if let Some(size) = head.linked_size.filter(|size| *size != file.size) {
            return Err(contradiction("size", file.size.to_string(), size.to_string()));
        }
        let whole = match head.status {
            206 => answer.content_range().and_then(|(_, whole)| whole),
            _ => answer.content_length().map(|length| length + there),
        };
        match whole.filter(|whole| *whole != file.size) {
            None => Ok(()),
            // The text that git keeps in place of a large file has this size, give or take the digits of a length.
            Some(found @ 120..150) if matches!(file.digest, Digest::Sha256(_)) => {
                let note = " (perhaps the pointer that stands for it in git)";
                Err(self.sent(repo, file, found.to_string(), note))
            }
            Some(found) => Err(self.sent(repo, file, found.to_string(), "")),
        }
    }

    fn sent(&self, repo: &Repo, file: &RemoteFile, found: String, note: &'static str) -> Error {
        Error::Size { repo: repo.to_string(), path: file.path.clone(), expected: file.size, found, note }
    }

    fn check_room(&self, file: &RemoteFile, needed: u64, part: &Path) -> Result<(), Error> {
        let dir = part.parent().unwrap_or(part);
        match fs4::available_space(dir) {
            // Some network file systems say that nothing is free when they do not know.
            Ok(free @ 1..) if free < needed => {
                let (path, dir) = (file.path.clone(), dir.to_path_buf());
                Err(Error::DiskFull { path, needed, free: Some(free), dir })
            }
            // A file system that does not say is tried.
            _ => Ok(()),
        }
    }

    /// A failed write: a full disk says what is missing.
    fn disk(
        &self,
        error: io::Error,
        action: &'static str,
        path: &Path,
        file: &RemoteFile,
        needed: u64,
    ) -> Error {
        if !matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            return Error::io(action, path)(error);
        }
        let dir = path.parent().unwrap_or(path).to_path_buf();
        Error::DiskFull { path: file.path.clone(), needed, free: fs4::available_space(&dir).ok(), dir }
    }
}

fn interrupted_or(error: io::Error, action: &'static str, path: &Path) -> Error {
    match error.kind() {
        io::ErrorKind::Interrupted => Error::Interrupted,
        _ => Error::io(action, path)(error),
    }
}
