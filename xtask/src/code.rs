//! Which code makes what: the identities that enter keys.

use crate::plan::Step;
use crate::{program, workspace};
use resect_identity::Workspace;
use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Identities of code, each found out when it is first needed and then kept: however long a run takes, all its steps are judged
/// by the code that was there when it began. A program that was built later from other code refuses its job.
pub struct Codes {
    bin_dir: Option<PathBuf>,
    workspace: OnceCell<Workspace>,
    known: RefCell<BTreeMap<String, String>>,
}

impl Codes {
    /// Of the stage programs in a folder, built elsewhere, or else of the checkout.
    pub fn new(bin_dir: Option<&Path>) -> anyhow::Result<Self> {
        let bin_dir = bin_dir.map(std::path::absolute).transpose()?;
        Ok(Self { bin_dir, workspace: OnceCell::new(), known: RefCell::default() })
    }

    pub fn bin_dir(&self) -> Option<&Path> {
        self.bin_dir.as_deref()
    }

    /// The identity of a stage's code.
    pub fn of_stage(&self, step: Step) -> anyhow::Result<String> {
        let dir = format!("stages/{}", step.name());
        match &self.bin_dir {
            Some(bin_dir) => self.once(&dir, || program::identity(bin_dir, step)),
            None => self.of_crate(&dir),
        }
    }

    /// The identity of a crate's code, given its folder below the workspace's.
    pub fn of_crate(&self, dir: &str) -> anyhow::Result<String> {
        let root = workspace::root();
        self.once(dir, || {
            Ok(self.workspace(&root)?.identity(&root.join(dir), &workspace::stage_build())?.hash)
        })
    }

    fn once(&self, dir: &str, find: impl FnOnce() -> anyhow::Result<String>) -> anyhow::Result<String> {
        if let Some(code) = self.known.borrow().get(dir) {
            return Ok(code.clone());
        }
        let code = find()?;
        self.known.borrow_mut().insert(dir.to_owned(), code.clone());
        Ok(code)
    }

    fn workspace(&self, root: &Path) -> anyhow::Result<&Workspace> {
        if let Some(workspace) = self.workspace.get() {
            return Ok(workspace);
        }
        let workspace = Workspace::read(root)?;
        Ok(self.workspace.get_or_init(|| workspace))
    }
}
