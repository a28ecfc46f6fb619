//! The agreement between the runner and a stage program.
//!
//! The runner writes a [`Job`] as JSON, starts `resect-<stage> --job FILE --watch-stdin` and reads [`Message`]s, one JSON
//! object a line, from its standard output. Logs and errors go to standard error. The program exits with 0 when
//! its output folders are complete, with 1 after it has printed an error.
//!
//! A stage reads its inputs and its parameters, nothing else, and writes only below the work folder it is given:
//!
//! ```text
//! work/<stage>-<key>/
//!   job.json      what to do
//!   stage.lock    held by the program while it runs, so that a successor waits for a killed runner's orphan
//!   out/<kind>/   one folder for each artifact, published by the runner when the stage is done
//!   state/        what the next start resumes from, never published
//! ```

mod panics;
mod program;
mod report;

pub use panics::guarded;
pub use program::{lock_work, main};
pub use report::{Message, Plain, Progress, Reporter, Row};

use anyhow::Context;
use resect_device::Device;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The version of this agreement; a program refuses a job of another major version.
pub const JOB_FORMAT: &str = "resect-job/1.2";

/// One run of one stage.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job<P, R> {
    /// [`JOB_FORMAT`].
    pub format: String,
    /// Name of the stage.
    pub stage: String,
    /// Code identity the runner expects of the program.
    pub code: String,
    /// Input name to artifact folder.
    pub inputs: BTreeMap<String, PathBuf>,
    /// Sound artifacts of the kind the stage makes, made by the same code with the same settings on the same kind of
    /// arithmetic: what they hold already need not be computed again. They change no byte and enter no key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<PathBuf>,
    /// The work folder.
    pub work: PathBuf,
    /// Where to compute.
    #[serde(default)]
    pub device: Device,
    /// Settings that shape the output.
    pub params: P,
    /// Settings that do not.
    pub runtime: R,
}

impl<P, R> Job<P, R> {
    /// The folder of an input artifact.
    ///
    /// # Errors
    /// When the runner did not name that input.
    pub fn input(&self, name: &str) -> anyhow::Result<&Path> {
        match self.inputs.get(name) {
            Some(path) => Ok(path),
            None => anyhow::bail!("the job names no input \"{name}\""),
        }
    }

    /// The folder of an input artifact that the stage has with some settings only.
    pub fn optional_input(&self, name: &str) -> Option<&Path> {
        self.inputs.get(name).map(PathBuf::as_path)
    }

    /// The folder for an output artifact of a kind, empty: what a killed start left there, finished or not, would become part of it.
    ///
    /// # Errors
    /// When it cannot be cleared or created.
    pub fn output(&self, kind: &str) -> anyhow::Result<PathBuf> {
        let path = self.work.join("out").join(kind);
        if path.exists() {
            std::fs::remove_dir_all(&path).with_context(|| format!("cannot clear {}", path.display()))?;
        }
        create(path)
    }

    /// The same with what an earlier start left there, for a stage that goes on from it.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn output_so_far(&self, kind: &str) -> anyhow::Result<PathBuf> {
        create(self.work.join("out").join(kind))
    }

    /// The folder for what a restarted stage resumes from; created when absent.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn state(&self) -> anyhow::Result<PathBuf> {
        create(self.work.join("state"))
    }
}

fn create(path: PathBuf) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
    Ok(path)
}
