//! What of the store was hashed by this command, so that nothing is hashed twice.

use resect_artifact::{ArtifactId, Store};
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// Artifacts whose every byte is known to be what it was.
#[derive(Default)]
pub struct Sound {
    /// Whether what is reused is hashed, too, and not only looked at.
    thorough: bool,
    hashed: Mutex<HashSet<ArtifactId>>,
}

/// An artifact is not what its id says.
#[derive(Debug, thiserror::Error)]
#[error("{damage}")]
pub struct Damaged {
    pub kind: &'static str,
    pub id: ArtifactId,
    pub damage: String,
}

impl Sound {
    pub fn new(thorough: bool) -> Self {
        Self { thorough, ..Self::default() }
    }

    /// The check before an artifact is reused: files and sizes, or their content where that is asked for.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn reusable(&self, store: &Store, kind: &str, id: &ArtifactId) -> Result<(), String> {
        if self.thorough { self.whole(store, kind, id) } else { store.check(kind, id).map(drop) }
    }

    /// The check before a stage computes with an artifact: every byte, unless that was done. What it would make of other bytes could
    /// not be told from what it should have made.
    ///
    /// # Errors
    /// What is wrong.
    pub fn readable(&self, store: &Store, kind: &'static str, id: &ArtifactId) -> Result<(), Damaged> {
        self.whole(store, kind, id).map_err(|damage| Damaged { kind, id: id.clone(), damage })
    }

    fn whole(&self, store: &Store, kind: &str, id: &ArtifactId) -> Result<(), String> {
        if self.hashed().contains(id) {
            return store.check(kind, id).map(drop);
        }
        store.verify(kind, id)?;
        self.is_made(id);
        Ok(())
    }

    /// An artifact was hashed when this command made it.
    pub fn is_made(&self, id: &ArtifactId) {
        self.hashed().insert(id.clone());
    }

    fn hashed(&self) -> std::sync::MutexGuard<'_, HashSet<ArtifactId>> {
        self.hashed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
