//! What can go wrong, told to the person who meets it. Messages leave their source to the one who prints the chain.

use std::path::PathBuf;

use resect_evaluation_records::Method;

/// The tuned decoder could not be evaluated.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// What the checkpoint was tuned as does not fit the base.
    #[error(transparent)]
    Tuning(Box<resect_tuning::TuningError>),
    /// The image encoder cannot be built, or cannot take an image.
    #[error(transparent)]
    Encode(Box<resect_encoder::EncoderError>),
    /// An artifact that the checkpoint needs.
    #[error(
        "internal error: a model that is tuned from {place} on needs the artifact `{artifact}`, which it was not given"
    )]
    NoInput {
        /// Where the tuned part of the model begins.
        place: resect_numeric::Place,
        /// Its kind.
        artifact: &'static str,
    },
    /// A folder for encodings.
    #[error("cannot create {}", path.display())]
    Work {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// An encoding is not finite.
    #[error("the {method} encoder gives NaN or infinite numbers for image {id}: its weights are of no use")]
    Encoding {
        /// The image.
        id: String,
        /// Whose encoder.
        method: Method,
    },
    /// The device cannot be used, or computes something else than the CPU.
    #[error(transparent)]
    Device(#[from] resect_device::DeviceError),
    /// An artifact cannot be read or written.
    #[error(transparent)]
    Data(#[from] resect_data::DataError),
    /// The base checkpoint cannot be read.
    #[error("the base checkpoint cannot be used")]
    Base(#[source] Box<resect_checkpoint::Error>),
    /// The decoders cannot be loaded, or cannot decode.
    #[error(transparent)]
    Segment(#[from] resect_segment::SegmentError),
    /// The targets have no test part.
    #[error("none of the {targets} targets is in the test split\nhint: set split.test, or split.test_share")]
    NoTest {
        /// Targets of all splits.
        targets: usize,
    },
    /// Test targets that another input knows nothing of.
    #[error("{} of the test split {}: {}", counted(targets.len(), "target"), lack(what, targets.len()), listed(targets))]
    Lacking {
        /// "image" or "embedding".
        what: &'static str,
        /// Ids of the targets.
        targets: Vec<String>,
    },
    /// Inputs made for different models.
    #[error(
        "{what} is {found}, the base checkpoint has {expected}\nhint: run the stages before with this checkpoint"
    )]
    Unfit {
        /// What differs.
        what: &'static str,
        /// What the input states.
        found: String,
        /// What the base checkpoint asks for.
        expected: String,
    },
    /// A target's sizes are not its image's.
    #[error("target {id} states a resized image of {stated}, the images artifact has {found}")]
    ImageSize {
        /// The target.
        id: String,
        /// Its size of the resized image.
        stated: resect_geometry::Size,
        /// The image's.
        found: resect_geometry::Size,
    },
    /// A prompt that does not fit the target's image.
    #[error(
        "the prompt of target {id} does not fit its image\nhint: the targets are damaged; run `ingest` again"
    )]
    Prompt {
        /// The target.
        id: String,
        /// What does not fit.
        source: resect_prompt::PromptError,
    },
    /// Something that cannot happen: an error in this program.
    #[error("internal error: {0}; please report it")]
    Internal(String),
    /// A decoder gave NaN or infinity.
    #[error(
        "the {method} decoder's output for target {id} is not finite\nhint: its weights are too large for single precision, or \
         the embedding of the target's image is damaged"
    )]
    NotFinite {
        /// The target.
        id: String,
        /// Whose logits.
        method: Method,
    },
    /// A mask that was kept cannot be read again.
    #[error("a predicted mask cannot be drawn")]
    Mask(#[source] resect_geometry::RleError),
    /// An overlay cannot be written.
    #[error("cannot write {}", path.display())]
    Overlay {
        /// The image, or their folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Names listed before the rest is only counted.
const LISTED: usize = 8;

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn lack(what: &str, count: usize) -> String {
    format!("{} no {what}", if count == 1 { "has" } else { "have" })
}

fn listed(names: &[String]) -> String {
    let mut list = names.iter().take(LISTED).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > LISTED {
        list += &format!(" and {} more", names.len() - LISTED);
    }
    list
}

impl From<resect_tuning::TuningError> for EvaluateError {
    fn from(error: resect_tuning::TuningError) -> Self {
        Self::Tuning(error.into())
    }
}

impl From<resect_encoder::EncoderError> for EvaluateError {
    fn from(error: resect_encoder::EncoderError) -> Self {
        Self::Encode(error.into())
    }
}
