//! What a repository holds at a commit, as the Hub lists it.

use crate::{Digest, check_path};
use serde::Deserialize;

/// A commit and its files.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The commit, 40 hex digits.
    pub commit: String,
    /// Every file, by path.
    pub files: Vec<RemoteFile>,
}

/// A file of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteFile {
    /// Path in the repository, `/` between its parts.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Hash of the content.
    pub digest: Digest,
}

/// `/api/{models,datasets}/<repo>/revision/<revision>?blobs=true`.
#[derive(Deserialize)]
struct Info {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

/// For these files `blobId` is the hash of the pointer that lies in git, not of the content.
#[derive(Deserialize)]
struct Lfs {
    #[serde(alias = "oid")]
    sha256: String,
    size: u64,
}

impl Listing {
    /// Reads the Hub's answer.
    ///
    /// # Errors
    /// What is wrong with it: something that is no file name below a folder, a file without size and hash.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let info: Info =
            serde_json::from_slice(json).map_err(|error| format!("not the expected JSON: {error}"))?;
        if Digest::git_sha1(&info.sha).is_none() {
            return Err(format!("\"{}\" is no commit", info.sha));
        }
        let files = info.siblings.into_iter().map(|sibling| {
            let path = sibling.rfilename;
            check_path(&path)?;
            let (size, digest) = match sibling.lfs {
                Some(lfs) => (Some(lfs.size), Digest::sha256(&lfs.sha256)),
                None => (sibling.size, sibling.blob_id.as_deref().and_then(Digest::git_sha1)),
            };
            match (size, digest) {
                (Some(size), Some(digest)) => Ok(RemoteFile { path, size, digest }),
                _ => Err(format!("{path} has no size and hash")),
            }
        });
        let mut files = files.collect::<Result<Vec<_>, String>>()?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Self { commit: info.sha, files })
    }
}

#[cfg(test)]
mod tests;
