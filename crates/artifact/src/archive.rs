//! Artifacts with all behind them as one file: to hand an embedding cache to a colleague.
//!
//! ```text
//! resect-archive.json          [`Contents`]: what is in it
//! actions/<stage>/<key>.json   how each artifact was made
//! <kind>/<id>/manifest.json    of each artifact, then its files
//! ```
//!
//! A plain tar file (POSIX ustar, with GNU's long names), which any `tar` opens. Entries are sorted and have no times and no owners: the
//! same artifacts and records give the same bytes.

use crate::action::is_plain;
use crate::manifest::{FileEntry, MANIFEST};
use crate::{Action, Ancestry, ArtifactId, Hash, Manifest, Named, Store, StoreError};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Component, Path, PathBuf};
use tar::{Archive, Builder, EntryType, Header};

/// The first entry.
const CONTENTS: &str = "resect-archive.json";
/// Records and lists of larger size are none of ours.
const LARGEST_RECORD: u64 = 64 << 20;

/// What an archive holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contents {
    /// [`Contents::FORMAT`].
    pub format: String,
    /// The artifacts it was made for.
    pub wanted: Vec<Named>,
    /// All artifacts in it, sorted, with their bytes.
    pub artifacts: Vec<(String, ArtifactId, u64)>,
    /// Artifacts that were left out, or were not there: what is in it was made from them, too.
    pub left_out: Vec<Named>,
}

impl Contents {
    /// Format of the list, and of the archive.
    pub const FORMAT: &str = "resect-archive/1.0";

    /// Bytes of all artifacts.
    pub fn bytes(&self) -> u64 {
        self.artifacts.iter().fold(0, |sum, (_, _, bytes)| sum.saturating_add(*bytes))
    }
}

/// What came of an import.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Imported {
    /// The artifacts that it was made for.
    pub wanted: Vec<Named>,
    /// Artifacts that are new here.
    pub new: Vec<Named>,
    /// Artifacts that were here.
    pub known: Vec<Named>,
    /// Records that are new here.
    pub records: usize,
}

/// An archive cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The store or the file system said no.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An artifact that should go into it is missing or damaged.
    #[error("{0}")]
    Damaged(String),
    /// The file is no archive, or not a whole one.
    #[error("{} is no archive that can be imported: {message}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
}

impl Store {
    /// Writes artifacts with all behind them, but for those of the kinds `without`, to a file, which appears whole or not at all.
    ///
    /// # Errors
    /// A wanted artifact that is missing or damaged, or a file that cannot be written. One behind it that is missing is left out.
    pub fn export(
        &self,
        wanted: &[Named],
        ancestry: &Ancestry,
        without: &[String],
        out: &Path,
    ) -> Result<Contents, ArchiveError> {
        let mut contents = Contents {
            format: Contents::FORMAT.into(),
            wanted: wanted.to_vec(),
            artifacts: Vec::new(),
            left_out: Vec::new(),
        };
        let mut manifests = BTreeMap::new();
        for (kind, id) in &ancestry.artifacts {
            let named = (kind.clone(), id.clone());
            let is_wanted = wanted.contains(&named);
            if !is_wanted && without.contains(kind) {
                contents.left_out.push(named);
                continue;
            }
            // What is damaged would only be found where it arrives.
            match self.verify(kind, id) {
                Ok(manifest) => {
                    contents.artifacts.push((kind.clone(), id.clone(), manifest.bytes()));
                    manifests.insert(named, manifest);
                }
                Err(damage) if is_wanted => return Err(ArchiveError::Damaged(damage)),
                Err(_) => contents.left_out.push(named),
            }
        }
        let aside = out.with_file_name(format!(
            ".{}.resect-export",
            out.file_name().unwrap_or_default().to_string_lossy()
        ));
        let written = self.write_archive(&contents, ancestry, &manifests, &aside);
        let put = written.and_then(|()| fs::rename(&aside, out).map_err(StoreError::io("write", out)));
        if put.is_err() {
            let _ = fs::remove_file(&aside);
        }
        put?;
        Ok(contents)
    }

    fn write_archive(
        &self,
        contents: &Contents,
        ancestry: &Ancestry,
        manifests: &BTreeMap<Named, Manifest>,
        path: &Path,
    ) -> Result<(), StoreError> {
        let failed = || StoreError::io("write", path);
        let file = File::create(path).map_err(failed())?;
        let mut tar = Builder::new(BufWriter::new(file));
        add(&mut tar, CONTENTS, &json(contents, path)?).map_err(failed())?;
        let mut actions: Vec<&Action> = ancestry.actions.iter().collect();
        actions.sort_by(|a, b| (&a.stage, &a.key).cmp(&(&b.stage, &b.key)));
        for action in actions {
            let name = format!("actions/{}/{}.json", action.stage, action.key);
            add(&mut tar, &name, &json(action, path)?).map_err(failed())?;
        }
        for ((kind, id), manifest) in manifests {
            let dir = self.path(kind, id);
            // First, so that who reads the archive knows what must follow.
            add(&mut tar, &format!("{kind}/{id}/{MANIFEST}"), manifest.to_json()?.as_bytes())
                .map_err(failed())?;
            for file in &manifest.files {
                let from = dir.join(&file.path);
                let content = File::open(&from).map_err(StoreError::io("read", &from))?;
                let mut header = header(file.size);
                let name = format!("{kind}/{id}/{}", file.path);
                tar.append_data(&mut header, name, content.take(file.size)).map_err(failed())?;
            }
        }
        let file = tar.into_inner().and_then(|buffer| buffer.into_inner().map_err(|e| e.into_error()));
        file.and_then(|file| file.sync_all()).map_err(failed())
    }

    /// Takes everything that an archive holds into the store. Each file is checked against its manifest and each manifest against its
    /// id before anything appears; records are written last, and only where there is none.
    ///
    /// # Errors
    /// A file that is no archive, not a whole one, or that does not hold what it says; nothing of it is in the store then.
    pub fn import(&self, path: &Path) -> Result<Imported, ArchiveError> {
        let work = self.private("work").join(format!("import-{}", std::process::id()));
        if work.exists() {
            fs::remove_dir_all(&work).map_err(StoreError::io("remove", &work))?;
        }
        let imported = self.import_by(path, &work);
        if work.exists() {
            fs::remove_dir_all(&work).map_err(StoreError::io("remove", &work))?;
        }
        imported
    }

    fn import_by(&self, path: &Path, work: &Path) -> Result<Imported, ArchiveError> {
        let Unpacked { contents, actions } = unpack(path, work)?;
        let wrong = |message: String| ArchiveError::Wrong { path: path.into(), message };
        let mut imported = Imported { wanted: contents.wanted, ..Imported::default() };
        for (kind, id, _) in &contents.artifacts {
            let found = Manifest::of_dir_but_manifest(&work.join(kind).join(id.as_str()))?;
            if found.id()? != *id {
                return Err(wrong(format!(
                    "the files of {kind} {} are not those of its manifest",
                    id.short()
                )));
            }
        }
        for (kind, id, _) in contents.artifacts {
            if self.verify(&kind, &id).is_ok() {
                imported.known.push((kind, id));
                continue;
            }
            let dir = work.join(&kind).join(id.as_str());
            let manifest = dir.join(MANIFEST);
            fs::remove_file(&manifest).map_err(StoreError::io("remove", &manifest))?;
            self.publish(&kind, &dir)?;
            imported.new.push((kind, id));
        }
        for action in actions {
            // A record of our own says more about this store, unless it is damaged or what it names is gone.
            let sound = |known: &Action| known.outputs.iter().all(|(kind, id)| self.check(kind, id).is_ok());
            if !matches!(self.action(&action.stage, &action.key), Ok(Some(known)) if sound(&known)) {
                self.record(&action)?;
                imported.records += 1;
            }
        }
        Ok(imported)
    }
}

fn json(value: &impl Serialize, path: &Path) -> Result<Vec<u8>, StoreError> {
    let text = serde_json::to_vec_pretty(value);
    text.map_err(|error| StoreError::Io { action: "encode", path: path.into(), source: error.into() })
}

fn header(size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn add(tar: &mut Builder<impl Write>, name: &str, content: &[u8]) -> io::Result<()> {
    tar.append_data(&mut header(content.len() as u64), name, content)
}

/// What an archive holds, its files in a work folder.
struct Unpacked {
    contents: Contents,
    actions: Vec<Action>,
}

/// Reads an archive from its beginning to its end, and believes nothing.
fn unpack(path: &Path, work: &Path) -> Result<Unpacked, ArchiveError> {
    let wrong = |message: String| ArchiveError::Wrong { path: path.into(), message };
    let unreadable = |error: io::Error| wrong(format!("it cannot be read: {error}"));
    let file = File::open(path).map_err(StoreError::io("read", path))?;
    let mut archive = Archive::new(BufReader::new(file));
    let mut entries = archive.entries().map_err(unreadable)?;
    let first = entries.next().ok_or_else(|| wrong("it is empty".into()))?.map_err(unreadable)?;
    if first.path_bytes().as_ref() != CONTENTS.as_bytes() {
        return Err(wrong(format!(
            "it does not begin with {CONTENTS}; `cargo xtask export --artifact` writes archives"
        )));
    }
    let text = read_small(first).map_err(|message| wrong(format!("{CONTENTS}: {message}")))?;
    let contents: Contents =
        serde_json::from_slice(&text).map_err(|error| wrong(format!("{CONTENTS}: {error}")))?;
    let major = |format: &str| format.split('.').next().map(str::to_owned);
    if major(&contents.format) != major(Contents::FORMAT) {
        return Err(wrong(format!(
            "it has format {}, this program reads {}",
            contents.format,
            Contents::FORMAT
        )));
    }
    let listed: BTreeSet<Named> =
        contents.artifacts.iter().map(|(kind, id, _)| (kind.clone(), id.clone())).collect();
    if let Some((kind, _)) = listed.iter().find(|(kind, _)| !is_plain(kind)) {
        return Err(wrong(format!("it lists an artifact of a kind that cannot be: {kind:?}")));
    }
    let mut actions = Vec::new();
    let mut missing: BTreeMap<Named, BTreeMap<String, FileEntry>> = BTreeMap::new();
    for entry in entries {
        let entry = entry.map_err(unreadable)?;
        let name = String::from_utf8(entry.path_bytes().into_owned())
            .map_err(|_| wrong("it holds a name that is not UTF-8".into()))?;
        let refuse = |message: &str| wrong(format!("{name:?} {message}"));
        if entry.header().entry_type() != EntryType::Regular {
            return Err(refuse("is no regular file"));
        }
        let parts: Vec<&str> = name.splitn(3, '/').collect();
        let [kind, id, rest] = parts.as_slice() else {
            return Err(refuse("does not belong into an archive"));
        };
        if *kind == "actions" {
            actions.push(read_action(entry, id, rest).map_err(|message| refuse(&message))?);
            continue;
        }
        let hash = Hash::try_from((*id).to_owned()).map_err(|_| refuse("is of no artifact"))?;
        let named = ((*kind).to_owned(), hash);
        if !listed.contains(&named) {
            return Err(refuse("is of an artifact that the archive does not list"));
        }
        let dir = work.join(kind).join(id);
        if *rest == MANIFEST {
            let text = read_small(entry).map_err(|message| refuse(&message))?;
            if Hash::of(&text) != named.1 {
                return Err(refuse("is not the manifest of that id"));
            }
            let manifest: Manifest =
                serde_json::from_slice(&text).map_err(|error| refuse(&error.to_string()))?;
            if let Some(file) = manifest.files.iter().find(|file| !is_below(&file.path)) {
                return Err(refuse(&format!("names a file outside of its artifact: {:?}", file.path)));
            }
            put(&dir, MANIFEST, text.as_slice(), text.len() as u64)?;
            missing.insert(named, manifest.files.into_iter().map(|file| (file.path.clone(), file)).collect());
            continue;
        }
        let files = missing.get_mut(&named).ok_or_else(|| refuse("comes before its manifest"))?;
        let file = files.remove(*rest).ok_or_else(|| refuse("is in no manifest, or twice in the archive"))?;
        if entry.size() != file.size {
            return Err(refuse(&format!("has {} bytes, its manifest says {}", entry.size(), file.size)));
        }
        let size = file.size;
        put(&dir, rest, entry, size).map_err(|error| match error {
            StoreError::Io { source, .. } if source.kind() == io::ErrorKind::UnexpectedEof => {
                refuse("is cut off: the archive is not whole")
            }
            other => other.into(),
        })?;
    }
    for named in &listed {
        let files = missing.get(named);
        let (kind, id) = (&named.0, named.1.short());
        match files {
            None => return Err(wrong(format!("it lists {kind} {id} and does not hold it: it is not whole"))),
            Some(files) => {
                if let Some(file) = files.keys().next() {
                    return Err(wrong(format!("{file} of {kind} {id} is missing: the archive is not whole")));
                }
            }
        }
    }
    Ok(Unpacked { contents, actions })
}

fn read_small(mut entry: impl Read + HasSize) -> Result<Vec<u8>, String> {
    if entry.size() > LARGEST_RECORD {
        return Err(format!("has {} bytes, more than a record ever has", entry.size()));
    }
    let mut text = Vec::new();
    entry.read_to_end(&mut text).map_err(|error| format!("cannot be read: {error}"))?;
    Ok(text)
}

/// What says how much is to come.
trait HasSize {
    fn size(&self) -> u64;
}

impl<R: Read> HasSize for tar::Entry<'_, R> {
    fn size(&self) -> u64 {
        tar::Entry::size(self)
    }
}

fn read_action(entry: impl Read + HasSize, stage: &str, file: &str) -> Result<Action, String> {
    let text = read_small(entry)?;
    let action: Action = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    let is_named =
        action.stage == stage && format!("{}.json", action.key) == file && action.has_plain_names();
    if !is_named || action.document["stage"] != stage {
        return Err("is the record of another step".into());
    }
    // An accepted one has the key of what it was accepted for, like any other.
    if Hash::key(&action.document) != action.key {
        return Err("has a key that is not that of its document".into());
    }
    Ok(action)
}

fn is_below(path: &str) -> bool {
    !path.is_empty() && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}

/// Writes so many bytes to a new file.
fn put(dir: &Path, name: &str, content: impl Read, size: u64) -> Result<(), StoreError> {
    let path = dir.join(name);
    let failed = || StoreError::io("write", &path);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed())?;
    }
    let mut file = File::options().write(true).create_new(true).open(&path).map_err(failed())?;
    let written = io::copy(&mut content.take(size), &mut file).map_err(failed())?;
    if written < size {
        return Err(failed()(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(())
}
