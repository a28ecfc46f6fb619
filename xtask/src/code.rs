//! Which code makes what: the identities that enter keys.

use crate::plan::Step;
use crate::{program, workspace};
use resect_identity::Workspace;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Identities of code, each found out when it is first needed and then kept: however long a run takes, all its steps are judged
/// by the code that was there when it began. A program that was built later from other code refuses its job.
pub struct Codes {
    bin_dir: Option<PathBuf>,
    found: Mutex<Found>,
}

/// What was found out so far.
#[derive(Default)]
struct Found {
    workspace: Option<Workspace>,
    codes: BTreeMap<String, String>,
}

impl Codes {
    /// Of the stage programs in a folder, built elsewhere, or else of the checkout.
    pub fn new(bin_dir: Option<&Path>) -> anyhow::Result<Self> {
        let bin_dir = bin_dir.map(std::path::absolute).transpose()?;
        Ok(Self { bin_dir, found: Mutex::default() })
    }

    pub fn bin_dir(&self) -> Option<&Path> {
        self.bin_dir.as_deref()
    }

    /// The identity of a stage's code.
    pub fn of_stage(&self, step: Step) -> anyhow::Result<String> {
        let dir = format!("stages/{}", step.name());
        match &self.bin_dir {
            Some(bin_dir) => self.once(&dir, |_| program::identity(bin_dir, step)),
            None => self.of_crate(&dir),
        }
    }

    /// The identity of a crate's code, given its folder below the workspace's.
    fn of_crate(&self, dir: &str) -> anyhow::Result<String> {
        let root = workspace::root();
        self.once(dir, |found| {
            let workspace = match &mut found.workspace {
                Some(workspace) => workspace,
                none => none.insert(Workspace::read(&root)?),
            };
            Ok(workspace.identity(&root.join(dir), &workspace::stage_build())?.hash)
        })
    }

    fn once(
        &self,
        dir: &str,
        find: impl FnOnce(&mut Found) -> anyhow::Result<String>,
    ) -> anyhow::Result<String> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(code) = found.codes.get(dir) {
            return Ok(code.clone());
        }
        let code = find(&mut found)?;
        found.codes.insert(dir.to_owned(), code.clone());
        Ok(code)
    }
}
