use crate::{ArtifactId, Hash, StoreError};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Name of the manifest within an artifact; no file of a stage may bear it.
pub const MANIFEST: &str = "manifest.json";
const FORMAT: &str = "resect-manifest/1.0";

/// Every file of an artifact, sorted by path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    format: String,
    /// The files.
    pub files: Vec<FileEntry>,
}

/// One file of an artifact.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileEntry {
    /// Path below the artifact's folder, `/` between its parts.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// BLAKE3 of the content.
    pub blake3: Hash,
}

impl Manifest {
    /// A manifest of these files.
    pub fn new(mut files: Vec<FileEntry>) -> Self {
        files.sort();
        Self { format: FORMAT.into(), files }
    }

    /// Hashes every file below `dir`.
    ///
    /// # Errors
    /// When a file cannot be read, or cannot be part of an artifact: a link, a device, a name that is not UTF-8.
    pub fn of_dir(dir: &Path) -> Result<Self, StoreError> {
        Self::of_files(dir, files_below(dir)?)
    }

    /// The same of a folder in which the manifest lies already.
    ///
    /// # Errors
    /// As there.
    pub fn of_dir_but_manifest(dir: &Path) -> Result<Self, StoreError> {
        let mut files = files_below(dir)?;
        files.retain(|path| *path != dir.join(MANIFEST));
        Self::of_files(dir, files)
    }

    fn of_files(dir: &Path, paths: Vec<PathBuf>) -> Result<Self, StoreError> {
        let mut files = Vec::new();
        for path in paths {
            let unpublishable = |message| StoreError::Unpublishable { path: path.clone(), message };
            let relative =
                path.strip_prefix(dir).map_err(|_| unpublishable("it lies outside the artifact's folder"))?;
            let name = relative.to_str().ok_or_else(|| unpublishable("its name is not valid UTF-8"))?;
            if name == MANIFEST {
                return Err(unpublishable("the name is the manifest's own"));
            }
            files.push(FileEntry {
                path: name.replace('\\', "/"),
                size: path.metadata().map_err(StoreError::io("read", &path))?.len(),
                blake3: hash_file(&path)?,
            });
        }
        Ok(Self::new(files))
    }

    /// The exact bytes of `manifest.json`; their BLAKE3 is the id.
    ///
    /// # Errors
    /// When it cannot be encoded, which is a fault of the program: it holds strings and numbers alone.
    pub fn to_json(&self) -> Result<String, StoreError> {
        let text = serde_json::to_string_pretty(self);
        let mut text = text.map_err(|source| StoreError::Encode { what: MANIFEST, source })?;
        text.push('\n');
        Ok(text)
    }

    /// Bytes of all files together, the manifest's own aside.
    pub fn bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.size))
    }

    /// The artifact's id.
    ///
    /// # Errors
    /// As [`Manifest::to_json`].
    pub fn id(&self) -> Result<ArtifactId, StoreError> {
        Ok(Hash::of(self.to_json()?.as_bytes()))
    }
}

/// BLAKE3 of a file, mapped and on all cores when it is large.
///
/// # Errors
/// When it cannot be read.
pub fn hash_file(path: &Path) -> Result<Hash, StoreError> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_mmap_rayon(path).map_err(StoreError::io("read", path))?;
    Ok(Hash(hasher.finalize().to_hex().to_string()))
}

/// Every regular file below a folder, sorted.
pub(crate) fn files_below(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut files = Vec::new();
    let mut pending = vec![dir.to_path_buf()];
    while let Some(dir) = pending.pop() {
        for entry in std::fs::read_dir(&dir).map_err(StoreError::io("read", &dir))? {
            let entry = entry.map_err(StoreError::io("read", &dir))?;
            let path = entry.path();
            let kind = entry.file_type().map_err(StoreError::io("read", &path))?;
            if kind.is_dir() {
                pending.push(path);
            } else if kind.is_file() {
                files.push(path);
            } else {
                return Err(StoreError::Unpublishable { path, message: "it is neither file nor folder" });
            }
        }
    }
    files.sort();
    Ok(files)
}
