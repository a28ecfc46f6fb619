//! Files of a Hugging Face Hub repository, verified, in the cache that every Hugging Face tool shares.
//!
//! [`Hub::resolve`] turns a branch or tag into a commit and the list of its files, each with its size and hash.
//! [`Hub::copy`] and [`Hub::read`] hand out such a file; what they hand out has the hash that was listed, or there is an
//! [`Error`] that says what to do. In between lies the cache, laid out as `huggingface_hub` in Python lays it out, so that
//! either finds what the other fetched:
//!
//! ```text
//! <cache>/
//!   models--facebook--sam-vit-base/
//!     blobs/<etag>               the content, named by its SHA-256 (LFS, Xet) or by its git blob SHA-1
//!     blobs/<etag>.incomplete    a download at work, or what an interrupted one left to resume from
//!     refs/main                  the commit that a branch was last seen at
//!     snapshots/<commit>/<path>  a link to the blob
//!   .locks/models--facebook--sam-vit-base/<etag>.lock   held while a blob is being fetched
//! ```
//!
//! A blob appears under its name only when size and hash are right and it is synced. Naming and layout come from the
//! crate `hf-hub`. Its download does not serve here: it renames into the cache before anything is verified, gives up on
//! another process's lock after five seconds, waits for a stalled server for ever, and loses the code by which the Hub
//! says whether it is the repository, the revision or the file that is missing, or that access has to be asked for. Its
//! next major version does better in part, and brings 280 crates with it.
//!
//! The crate knows nothing of pipelines, stores or models.

#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod cache;
mod digest;
mod error;
mod fetch;
mod http;
mod listing;
mod repo;
mod settings;

pub use digest::Digest;
pub use error::Error;
pub use fetch::Hub;
#[doc(hidden)]
pub use http::read_header;
pub use listing::{Listing, RemoteFile};
pub use repo::{Kind, Repo, check_path, check_repository, check_revision};
pub use settings::Settings;

/// Who is told what happens, and who may end it.
pub trait Watch {
    /// Asked several times a second; a download ends where it is, and its part is kept.
    fn interrupted(&self) -> bool;
    /// So many bytes of a file are there.
    fn progress(&mut self, path: &str, done: u64, total: u64);
    /// Something a person may want to know: a wait, another attempt.
    fn note(&mut self, line: &str);
}
