use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::http::HttpBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Place;
use object_store::prefix::PrefixStore;
use object_store::{
    ClientConfigKey, ClientOptions, ObjectStore, PutMode, PutPayload, RetryConfig, WriteMultipart,
};
use resect_artifact::{
    Action, ArtifactId, FileEntry, Hash, Key, MANIFEST, Manifest, Named, Store, StoreError, hash_file,
    is_plain,
};
use resect_remote_job::{Answer, Job, Task};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Files that travel at a time.
const AT_ONCE: usize = 8;
/// Bytes of a file that are in memory at a time; a larger file goes in parts of this size.
const PART: usize = 8 << 20;
/// Records and manifests of larger size are none of ours.
const LARGEST_RECORD: u64 = 64 << 20;

/// The shared store cannot do what it is asked for.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// A URL of no kind that is known, or one that says too little.
    #[error("{url} is no shared store: {message}")]
    Url {
        /// The URL.
        url: String,
        /// Why.
        message: String,
    },
    /// It cannot be reached, or says no.
    #[error("cannot {action} {object}: {cause}")]
    Remote {
        /// "read", "write", "list".
        action: &'static str,
        /// The object's name.
        object: String,
        /// Why, with what lies behind it.
        cause: object_store::Error,
    },
    /// What it holds is not what its name says.
    #[error("{object} in the shared store {message}")]
    Wrong {
        /// The object's name.
        object: String,
        /// What is wrong.
        message: String,
    },
    /// The local store or disk says no.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file of the local store cannot be read or written.
    #[error("cannot read or write {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What should be sent is damaged.
    #[error("{0}")]
    Damaged(String),
}

/// Does a job.
///
/// # Errors
/// A shared store that cannot be reached or holds something else than it says, and a local one that cannot be read or written. What
/// arrived until then is sound and stays.
pub fn answer(job: &Job) -> Result<Answer, RemoteError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| RemoteError::Io { path: job.store.clone(), source })?;
    let (remote, store) = (
        Remote { objects: open(&job.url, matches!(job.task, Task::Push { .. }))? },
        Store::open(&job.store)?,
    );
    runtime.block_on(async {
        match &job.task {
            // What is broken there is as good as not there, and said.
            Task::Fetch { stage, key } => match remote.fetch(&store, stage, key).await {
                Err(RemoteError::Wrong { object, message }) => {
                    Ok(Answer { wrong: Some(format!("{object} {message}")), ..Answer::default() })
                }
                answer => answer,
            },
            Task::Artifact { digits } => remote.fetch_artifacts(&store, digits).await,
            Task::Push { artifacts, actions } => remote.push(&store, artifacts, actions).await,
        }
    })
}

/// Opens what a URL names, with what the usual variables of each service say of credentials and endpoints.
fn open(url: &str, writes: bool) -> Result<Box<dyn ObjectStore>, RemoteError> {
    let refuse = |message: String| RemoteError::Url { url: url.to_owned(), message };
    let failed = |error: object_store::Error| refuse(error.to_string());
    let retry =
        RetryConfig { max_retries: 3, retry_timeout: Duration::from_secs(20), ..RetryConfig::default() };
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    // The bucket, or the container, is the first part; what follows lies within.
    let prefix =
        rest.split_once('/').map(|(_, prefix)| prefix.trim_matches('/').to_owned()).unwrap_or_default();
    let objects: Box<dyn ObjectStore> = match scheme {
        "" | "file" => {
            let root = std::path::absolute(rest).map_err(|error| refuse(error.to_string()))?;
            if writes {
                std::fs::create_dir_all(&root).map_err(|error| refuse(error.to_string()))?;
            } else if !root.is_dir() {
                return Err(refuse("there is no such folder (is it mounted?)".into()));
            }
            return Ok(Box::new(LocalFileSystem::new_with_prefix(&root).map_err(failed)?));
        }
        "s3" | "s3a" => {
            let [connect, request] =
                [ClientConfigKey::ConnectTimeout, ClientConfigKey::Timeout].map(AmazonS3ConfigKey::Client);
            let builder = AmazonS3Builder::from_env()
                .with_config(connect, CONNECT)
                .with_config(request, REQUEST)
                .with_url(url);
            Box::new(builder.with_retry(retry).build().map_err(failed)?)
        }
        "gs" => {
            let [connect, request] =
                [ClientConfigKey::ConnectTimeout, ClientConfigKey::Timeout].map(GoogleConfigKey::Client);
            let builder = GoogleCloudStorageBuilder::from_env()
                .with_config(connect, CONNECT)
                .with_config(request, REQUEST)
                .with_url(url);
            Box::new(builder.with_retry(retry).build().map_err(failed)?)
        }
        "az" | "azure" | "abfs" | "abfss" => {
            let [connect, request] =
                [ClientConfigKey::ConnectTimeout, ClientConfigKey::Timeout].map(AzureConfigKey::Client);
            let builder = MicrosoftAzureBuilder::from_env()
                .with_config(connect, CONNECT)
                .with_config(request, REQUEST)
                .with_url(url);
            Box::new(builder.with_retry(retry).build().map_err(failed)?)
        }
        "http" | "https" => {
            let options = ClientOptions::new()
                .with_connect_timeout(Duration::from_secs(5))
                .with_timeout(Duration::from_secs(180))
                .with_allow_http(true);
            let builder = HttpBuilder::new().with_url(url).with_client_options(options).with_retry(retry);
            // The prefix is part of the URL that is asked.
            return Ok(Box::new(builder.build().map_err(failed)?));
        }
        other => {
            return Err(refuse(format!(
                "{other}:// is not known; there are s3, gs, az, https, file, and folders"
            )));
        }
    };
    Ok(if prefix.is_empty() { objects } else { Box::new(PrefixStore::new(objects, prefix)) })
}

/// How long a connection may take: a shared store that is not there must not cost a run more.
const CONNECT: &str = "5 seconds";
/// How long a request may take: a part of [`PART`] bytes on a slow line.
const REQUEST: &str = "3 minutes";

struct Remote {
    objects: Box<dyn ObjectStore>,
}

fn blob(hash: &Hash) -> Place {
    Place::from(format!("blobs/{}/{hash}", &hash.as_str()[..2]))
}

fn manifest_of(kind: &str, id: &ArtifactId) -> Place {
    Place::from(format!("artifacts/{kind}/{id}.json"))
}

fn made(kind: &str, id: &ArtifactId) -> Place {
    Place::from(format!("made/{kind}/{id}.json"))
}

fn record_of(stage: &str, key: &Key) -> Place {
    Place::from(format!("actions/{stage}/{key}.json"))
}

fn wrong(object: &Place, message: impl Into<String>) -> RemoteError {
    RemoteError::Wrong { object: object.to_string(), message: message.into() }
}

fn failed(action: &'static str, object: &Place) -> impl FnOnce(object_store::Error) -> RemoteError {
    let object = object.to_string();
    move |cause| RemoteError::Remote { action, object, cause }
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> RemoteError {
    let path = path.to_owned();
    move |source| RemoteError::Io { path, source }
}

/// Whether a record is one of ours, that says what its key names, and nothing that could lead out of the store. One that was only accepted
/// is a matter of the machine it was accepted on.
fn is_record(action: &Action) -> bool {
    action.format.starts_with("resect-action/1.")
        && action.accepted.is_none()
        && action.has_plain_names()
        && Hash::key(&action.document) == action.key
}

impl Remote {
    /// A small object; none where there is none.
    async fn small(&self, place: &Place) -> Result<Option<Bytes>, RemoteError> {
        let found = match self.objects.get(place).await {
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            found => found.map_err(failed("read", place))?,
        };
        if found.meta.size > LARGEST_RECORD {
            return Err(wrong(place, format!("has {} bytes, more than a record ever has", found.meta.size)));
        }
        found.bytes().await.map(Some).map_err(failed("read", place))
    }

    async fn is_there(&self, place: &Place) -> Result<bool, RemoteError> {
        match self.objects.head(place).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(cause) => Err(failed("read", place)(cause)),
        }
    }

    /// What a stage gave for a key: its artifacts first, then the record.
    async fn fetch(&self, store: &Store, stage: &str, key: &Key) -> Result<Answer, RemoteError> {
        let place = record_of(stage, key);
        let Some(text) = self.small(&place).await? else { return Ok(Answer::default()) };
        let action: Action =
            serde_json::from_slice(&text).map_err(|error| wrong(&place, error.to_string()))?;
        if !is_record(&action) || action.stage != stage || action.key != *key {
            return Err(wrong(&place, "is the record of another step"));
        }
        // Somebody kept an artifact at home: for this machine there is nothing.
        for (kind, id) in &action.outputs {
            if store.check(kind, id).is_err() && !self.is_there(&manifest_of(kind, id)).await? {
                return Ok(Answer::default());
            }
        }
        let mut answer = Answer { found: true, ..Answer::default() };
        for (kind, id) in &action.outputs {
            self.fetch_artifact(store, kind, id, &mut answer).await?;
        }
        // A record here that is damaged is replaced.
        if !matches!(store.action(stage, key), Ok(Some(known)) if known.outputs == action.outputs) {
            store.record(&action)?;
        }
        Ok(answer)
    }

    /// All artifacts whose ids begin so.
    async fn fetch_artifacts(&self, store: &Store, digits: &str) -> Result<Answer, RemoteError> {
        let place = Place::from("artifacts");
        let listed: Vec<_> =
            self.objects.list(Some(&place)).try_collect().await.map_err(failed("list", &place))?;
        let named = listed.iter().filter_map(|meta| {
            let mut parts = meta.location.parts().skip(1);
            let (kind, file) = (parts.next()?, parts.next()?);
            let id = file.as_ref().strip_suffix(".json").filter(|id| id.starts_with(digits))?;
            Some((kind.as_ref().to_owned(), ArtifactId::try_from(id.to_owned()).ok()?))
        });
        let named: Vec<Named> = named.collect();
        let mut answer = Answer { found: !named.is_empty(), ..Answer::default() };
        for (kind, id) in &named {
            self.fetch_artifact(store, kind, id, &mut answer).await?;
        }
        // How they were made, and what they were made from: records alone.
        let (mut asked, mut next) = (BTreeSet::new(), named);
        while let Some((kind, id)) = next.pop() {
            if !asked.insert((kind.clone(), id.clone())) {
                continue;
            }
            let place = made(&kind, &id);
            let Some(text) = self.small(&place).await? else { continue };
            let action: Action =
                serde_json::from_slice(&text).map_err(|error| wrong(&place, error.to_string()))?;
            if !is_record(&action) || action.outputs.get(&kind) != Some(&id) {
                return Err(wrong(&place, "is the record of something else"));
            }
            next.extend(action.inputs().into_iter().filter(|(kind, _)| is_plain(kind)));
            if !matches!(store.action(&action.stage, &action.key), Ok(Some(_))) {
                store.record(&action)?;
                answer.records += 1;
            }
        }
        Ok(answer)
    }

    /// An artifact, unless it is here and sound.
    async fn fetch_artifact(
        &self,
        store: &Store,
        kind: &str,
        id: &ArtifactId,
        answer: &mut Answer,
    ) -> Result<(), RemoteError> {
        if store.check(kind, id).is_ok() {
            return Ok(());
        }
        let place = manifest_of(kind, id);
        if !is_plain(kind) {
            return Err(wrong(&place, "is of a kind that cannot be"));
        }
        let text = self.small(&place).await?.ok_or_else(|| wrong(&place, "is missing"))?;
        if Hash::of(&text) != *id {
            return Err(wrong(&place, "is not the manifest of that id"));
        }
        let manifest: Manifest =
            serde_json::from_slice(&text).map_err(|error| wrong(&place, error.to_string()))?;
        let work =
            store.root().join(".resect/work").join(format!("import-{}-{}", id.short(), std::process::id()));
        let arrived = self.fetch_files(&manifest, &work).await;
        let published = match arrived {
            Ok(()) => store.publish(kind, &work).map_err(RemoteError::from),
            Err(error) => Err(error),
        };
        if work.exists() {
            std::fs::remove_dir_all(&work).map_err(io(&work))?;
        }
        if published? != *id {
            return Err(wrong(&place, "names files that are not its own"));
        }
        answer.files += manifest.files.len();
        answer.bytes += manifest.bytes();
        answer.artifacts.push((kind.to_owned(), id.clone()));
        Ok(())
    }

    async fn fetch_files(&self, manifest: &Manifest, work: &Path) -> Result<(), RemoteError> {
        std::fs::create_dir_all(work).map_err(io(work))?;
        let files = manifest.files.iter().map(|file| self.fetch_file(file, work));
        futures_util::stream::iter(files).buffer_unordered(AT_ONCE).try_collect::<()>().await
    }

    async fn fetch_file(&self, file: &FileEntry, work: &Path) -> Result<(), RemoteError> {
        let place = blob(&file.blake3);
        let is_below =
            Path::new(&file.path).components().all(|part| matches!(part, std::path::Component::Normal(_)));
        if !is_below || file.path == MANIFEST {
            return Err(wrong(
                &place,
                format!("would be written to {:?}, outside of its artifact", file.path),
            ));
        }
        let path = work.join(&file.path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(io(parent))?;
        }
        let found = self.objects.head(&place).await.map_err(failed("read", &place))?;
        if found.size != file.size {
            return Err(wrong(&place, format!("has {} bytes, not {}", found.size, file.size)));
        }
        let mut out = File::create_new(&path).map_err(io(&path))?;
        // Part by part, each a request with tries of its own.
        for start in (0..file.size).step_by(PART) {
            let end = file.size.min(start + PART as u64);
            let part = self.objects.get_range(&place, start..end).await.map_err(failed("read", &place))?;
            out.write_all(&part).map_err(io(&path))?;
        }
        drop(out);
        if hash_file(&path)? != file.blake3 {
            return Err(wrong(&place, "has other content than its name says"));
        }
        Ok(())
    }

    /// Sends what is not there yet: files, then manifests, then records.
    async fn push(
        &self,
        store: &Store,
        artifacts: &[Named],
        actions: &[Action],
    ) -> Result<Answer, RemoteError> {
        let mut answer = Answer { found: true, ..Answer::default() };
        for (kind, id) in artifacts {
            // A damaged file would never arrive anywhere: its name is its hash.
            let manifest = store.verify(kind, id).map_err(RemoteError::Damaged)?;
            let place = manifest_of(kind, id);
            if self.is_there(&place).await? {
                answer.known += manifest.files.len();
                continue;
            }
            let dir = store.path(kind, id);
            let files = manifest.files.iter().map(|file| self.push_file(file, &dir));
            let sent: Vec<bool> = futures_util::stream::iter(files).buffered(AT_ONCE).try_collect().await?;
            for (file, sent) in manifest.files.iter().zip(sent) {
                if sent {
                    answer.files += 1;
                    answer.bytes += file.size;
                } else {
                    answer.known += 1;
                }
            }
            self.put(&place, manifest.to_json()?.into_bytes(), PutMode::Overwrite).await?;
            answer.artifacts.push((kind.clone(), id.clone()));
        }
        for action in actions.iter().filter(|action| is_record(action)) {
            let place = record_of(&action.stage, &action.key);
            let text = serde_json::to_vec_pretty(action).map_err(|error| wrong(&place, error.to_string()))?;
            for (kind, id) in &action.outputs {
                self.put(&made(kind, id), text.clone(), PutMode::Create).await?;
            }
            answer.records += usize::from(self.put(&place, text, PutMode::Create).await?);
        }
        Ok(answer)
    }

    /// Sends a file unless it is there; whether it was sent.
    async fn push_file(&self, file: &FileEntry, dir: &Path) -> Result<bool, RemoteError> {
        let (place, path) = (blob(&file.blake3), dir.join(&file.path));
        if self.is_there(&place).await? {
            return Ok(false);
        }
        let mut content = File::open(&path).map_err(io(&path))?;
        if file.size as usize <= PART {
            let mut whole = Vec::new();
            content.read_to_end(&mut whole).map_err(io(&path))?;
            self.put(&place, whole, PutMode::Overwrite).await?;
            return Ok(true);
        }
        let upload = self.objects.put_multipart(&place).await.map_err(failed("write", &place))?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART);
        let mut part = vec![0; PART];
        loop {
            let count = content.read(&mut part).map_err(io(&path))?;
            if count == 0 {
                break;
            }
            // No more than these are on their way at a time.
            upload.wait_for_capacity(AT_ONCE / 2).await.map_err(failed("write", &place))?;
            upload.write(&part[..count]);
        }
        upload.finish().await.map_err(failed("write", &place))?;
        Ok(true)
    }

    /// Writes an object; whether it was written: with [`PutMode::Create`] one that is there stays.
    async fn put(&self, place: &Place, content: Vec<u8>, mode: PutMode) -> Result<bool, RemoteError> {
        match self.objects.put_opts(place, PutPayload::from(content.clone()), mode.clone().into()).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            // Where nobody can write under a condition, looking first has to do: two who write at once then write the same key.
            Err(object_store::Error::NotImplemented | object_store::Error::NotSupported { .. })
                if mode == PutMode::Create =>
            {
                if self.is_there(place).await? {
                    return Ok(false);
                }
                self.objects
                    .put(place, PutPayload::from(content))
                    .await
                    .map_err(failed("write", place))
                    .map(|_| true)
            }
            Err(cause) => Err(failed("write", place)(cause)),
        }
    }
}
