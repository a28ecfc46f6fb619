//! What can go wrong, told to the person who meets it. Messages leave their source to the one who prints the chain.

use std::path::PathBuf;

/// Nothing, or not everything, could be predicted.
#[derive(Debug, thiserror::Error)]
pub enum PredictError {
    /// The device cannot be used.
    #[error(transparent)]
    Device(#[from] resect_device::DeviceError),
    /// The checkpoint cannot be read.
    #[error("the checkpoint cannot be used")]
    Checkpoint(#[source] Box<resect_checkpoint::Error>),
    /// The model cannot be loaded, or cannot predict.
    #[error(transparent)]
    Segment(#[from] resect_segment::SegmentError),
    /// Prompts do not fit their images, or an image has none.
    #[error("{}", listed("prompts cannot be used", .0))]
    Prompts(Vec<String>),
    /// Files would be written twice, or over what is read.
    #[error("{}", listed("files cannot be written", .0))]
    Names(Vec<String>),
    /// A file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// Somebody wanted it to end.
    #[error("interrupted")]
    Stopped,
    /// Something that cannot happen: an error in this program.
    #[error("internal error: {0}; please report it")]
    Internal(String),
    /// Logits cannot be written.
    #[error("the logits cannot be written")]
    Logits(#[source] Box<resect_checkpoint::Error>),
}

/// One problem as it is; several under a heading.
fn listed(what: &str, problems: &[String]) -> String {
    match problems {
        [only] => only.clone(),
        several => format!("{} {what}:\n  {}", several.len(), several.join("\n  ")),
    }
}
