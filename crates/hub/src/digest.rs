//! The two hashes by which the Hub names content.

use serde::{Deserialize, Serialize};
use sha1::{Digest as _, Sha1};
use sha2::Sha256;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The hash of a file's content, in lower hex digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Digest {
    /// SHA-256 of the content: files in LFS or Xet storage.
    Sha256(String),
    /// SHA-1 of `"blob <length>\0"` and the content, as git names it: files in the repository itself.
    GitSha1(String),
}

const SHA256: &str = "sha256:";
const GIT_SHA1: &str = "git-sha1:";

impl Digest {
    /// From 64 hex digits.
    pub fn sha256(hex: &str) -> Option<Self> {
        is_hex(hex, 64).then(|| Self::Sha256(hex.to_owned()))
    }

    /// From 40 hex digits.
    pub fn git_sha1(hex: &str) -> Option<Self> {
        is_hex(hex, 40).then(|| Self::GitSha1(hex.to_owned()))
    }

    /// The digits: the ETag on the Hub, and the name of the blob in the cache.
    pub fn hex(&self) -> &str {
        match self {
            Self::Sha256(hex) | Self::GitSha1(hex) => hex,
        }
    }

    /// The hash, of the kind this one is, of a file.
    ///
    /// # Errors
    /// When it cannot be read, or [`io::ErrorKind::Interrupted`] when `interrupted` says so.
    pub(crate) fn same_kind_of(&self, path: &Path, interrupted: impl Fn() -> bool) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        let mut hasher = Hasher::new(self, size);
        hasher.read(&mut file, interrupted)?;
        Ok(hasher.finish())
    }
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(hex) => write!(f, "{SHA256}{hex}"),
            Self::GitSha1(hex) => write!(f, "{GIT_SHA1}{hex}"),
        }
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let sha256 = text.strip_prefix(SHA256).and_then(Self::sha256);
        let digest = sha256.or_else(|| text.strip_prefix(GIT_SHA1).and_then(Self::git_sha1));
        digest
            .ok_or_else(|| format!("\"{text}\" is neither sha256: with 64 nor git-sha1: with 40 hex digits"))
    }
}

/// A digest in the making.
pub(crate) enum Hasher {
    Sha256(Sha256),
    GitSha1(Sha1),
}

impl Hasher {
    /// Of the same kind as `like`, for content of `size` bytes.
    pub fn new(like: &Digest, size: u64) -> Self {
        match like {
            Digest::Sha256(_) => Self::Sha256(Sha256::new()),
            Digest::GitSha1(_) => Self::GitSha1(Sha1::new_with_prefix(format!("blob {size}\0"))),
        }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::GitSha1(hasher) => hasher.update(bytes),
        }
    }

    /// Takes in the rest of a file; says how much that was.
    pub fn read(&mut self, file: &mut File, interrupted: impl Fn() -> bool) -> io::Result<u64> {
        let mut buffer = vec![0; 1 << 18];
        let mut total = 0;
        loop {
            if interrupted() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            match file.read(&mut buffer)? {
                0 => return Ok(total),
                n => {
                    self.update(&buffer[..n]);
                    total += n as u64;
                }
            }
        }
    }

    pub fn finish(self) -> Digest {
        match self {
            Self::Sha256(hasher) => Digest::Sha256(hex(&hasher.finalize())),
            Self::GitSha1(hasher) => Digest::GitSha1(hex(&hasher.finalize())),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
