/// A choice that does not fit the model, or tensors that do not fit the choice.
#[derive(Debug, thiserror::Error)]
pub enum TuningError {
    /// A setting that the model cannot have.
    #[error("{setting} {message}")]
    Setting {
        /// Full name, such as `train.encoder.blocks`.
        setting: &'static str,
        /// What is expected of it and what it is instead.
        message: String,
    },
    /// A tensor of the base or of what was tuned.
    #[error(transparent)]
    Checkpoint(#[from] resect_checkpoint::Error),
    /// An adapter in peft's format.
    #[error("{} {message}", path.display())]
    Adapter {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// Nothing of the encoder was tuned by LoRA.
    #[error(
        "an adapter in peft's format has LoRA; this checkpoint was tuned with train.encoder.tune = \"none\" or \"full\""
    )]
    NoAdapter,
    /// Tuned tensors that are missing or misshapen, or that the model has no place for.
    #[error(transparent)]
    Mismatch(#[from] resect_checkpoint::Mismatch),
}
