//! What can be wrong with the parameters of a module.

/// A module could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A tensor could not be read.
    #[error(transparent)]
    Checkpoint(#[from] resect_checkpoint::Error),
    /// The module has a parameter that its table of tensors lacks, or in another shape: an error in this program.
    #[error("parameter `{name}`: {message}")]
    Parameter {
        /// The parameter's Hugging Face name.
        name: String,
        /// What is wrong with it.
        message: String,
    },
}
