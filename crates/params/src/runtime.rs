use crate::Problems;
use serde::{Deserialize, Serialize};

/// How the work is done. Nothing here changes a byte of any artifact, so nothing here enters a key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Runtime {
    /// Worker threads of all stages that run. 0: one for each core.
    pub threads: usize,
    /// Stages that run at a time, where they do not wait for each other. 0: one for each core.
    pub jobs: usize,
    /// GB that stages which run at a time may take together. 0: three quarters of what is free.
    pub memory: f64,
    /// Images that pass the encoder together in `embed`.
    pub embed_batch: usize,
    /// Prompts that pass the decoder together in `evaluate` and in validation.
    pub decode_batch: usize,
    /// Epochs of `train` after which its state is saved for a restart.
    pub save_epochs: u32,
    /// Optimiser steps of `train` after which its state is saved within an epoch, too. 0: only at the ends of epochs.
    ///
    /// A save of ViT-B's decoder writes 49 MB (weights and AdamW's moments), 16 MB more where the kept epoch is another one since
    /// the last save, and 16 MB more with `train.ema`. Training waits until they are written, not until they are on the disk, unless
    /// the save before is still on its way there.
    pub save_steps: u32,
}

impl Default for Runtime {
    fn default() -> Self {
        Self {
            threads: 0,
            jobs: 0,
            memory: 0.0,
            embed_batch: 2,
            decode_batch: 8,
            save_epochs: 1,
            save_steps: 0,
        }
    }
}

impl Runtime {
    /// Checks the values.
    pub fn check(&self, problems: &mut Problems) {
        problems.expect(self.memory.is_finite() && self.memory >= 0.0, "runtime.memory", || {
            format!("must be GB, 0 or more, is {}", self.memory)
        });
        for (name, value) in [("embed_batch", self.embed_batch), ("decode_batch", self.decode_batch)] {
            problems.expect(value >= 1, &format!("runtime.{name}"), || "must be at least 1".into());
        }
        problems.expect(self.save_epochs >= 1, "runtime.save_epochs", || "must be at least 1".into());
    }
}
