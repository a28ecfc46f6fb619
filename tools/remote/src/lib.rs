//! A store that machines share.
//!
//! ```text
//! <url>/
//!   blobs/<2 digits>/<blake3>       a file, once, however many artifacts hold it
//!   artifacts/<kind>/<id>.json      an artifact's manifest, written after its files
//!   made/<kind>/<id>.json           the record of what made an artifact
//!   actions/<stage>/<key>.json      what a stage gave for a key, written last, and only if there is none
//! ```
//!
//! So whoever finds a record finds all that it names, and nobody ever sees half an artifact. Nothing there is believed: a file is
//! hashed against its name, a manifest against its id and a record against its key before they appear in the local store.
//!
//! A workspace of its own: its clients and their TLS are many packages, which nothing else needs, and cargo resolves all packages of a
//! workspace each time it starts, the runner's times included. It is built when a remote is first used.

#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod remote;

pub use remote::{RemoteError, answer};
