//! What can go wrong, told to the person who meets it. Messages leave their source to the one who prints the chain.

use std::path::PathBuf;

use resect_device::DeviceError;
use resect_encoder::EncoderError;
use resect_geometry::Size;
use resect_prompt::PromptError;

/// Masks could not be predicted.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// The device computes something else than the CPU.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The image encoder cannot be used.
    #[error(transparent)]
    Encode(#[from] EncoderError),
    /// The prompt encoder or the mask decoder of the base checkpoint cannot be built.
    #[error("the base checkpoint's model cannot be built")]
    Model(#[source] Box<resect_sam::Error>),
    /// The tuned checkpoint has no weights.
    #[error(
        "the checkpoint has no {}\nhint: `train` did not finish, or its artifact was damaged; run `train` again",
        path.display()
    )]
    NoWeights {
        /// Where the weights should be.
        path: PathBuf,
    },
    /// The tuned weights cannot be read.
    #[error("the tuned weights cannot be read")]
    Tuned(#[source] Box<resect_checkpoint::Error>),
    /// A file of the tuned checkpoint cannot be read.
    #[error(transparent)]
    Data(#[from] resect_data::DataError),
    /// The tuned weights are not those of the base checkpoint's model.
    #[error("{} does not fit the base checkpoint; run `train` again with this one", path.display())]
    TunedModel {
        /// The tuned weights.
        path: PathBuf,
        /// What does not fit.
        source: Box<resect_tuning::TuningError>,
    },
    /// Pixels that the image encoder does not take.
    #[error("the image cannot be encoded")]
    Image(#[source] Box<EncoderError>),
    /// A resized image that does not lie in the model input.
    #[error(
        "the image was resized to {resized}, the model input has {input} x {input} pixels\n\
         hint: resize it for this checkpoint; in the pipeline, `ingest` does that"
    )]
    Resized {
        /// Size of the resized image.
        resized: Size,
        /// Side of the model input.
        input: u32,
    },
    /// A stored embedding of another model.
    #[error(
        "the stored embedding has {found} numbers, the base checkpoint's have {expected}\n\
         hint: `embed` must run again with this checkpoint"
    )]
    EmbeddingLength {
        /// How many numbers it has.
        found: usize,
        /// How many an embedding of the model has.
        expected: usize,
    },
    /// A prompt that does not fit its image.
    #[error("prompt {index} does not fit the image")]
    Prompt {
        /// Its place among the prompts, from 0.
        index: usize,
        /// What does not fit.
        source: PromptError,
    },
    /// Prompts that the prompt encoder does not take.
    #[error("the prompts cannot be given to the model")]
    Prompts(#[source] Box<resect_sam::Error>),
    /// A decoder gave NaN or infinity.
    #[error(
        "the model's output for prompt {index} is not finite\nhint: the decoder's weights are damaged or too large for single \
         precision, or the image's embedding is damaged"
    )]
    NotFinite {
        /// The prompt's place, from 0.
        index: usize,
        /// The decoder's place, from 0.
        decoder: usize,
    },
    /// Logits that do not cover the low-res grid of a frame.
    #[error("{found} logits were given for a low-res grid of {low_res} x {low_res}")]
    LogitCount {
        /// How many logits there are.
        found: usize,
        /// Side of the grid.
        low_res: u32,
    },
    /// The model gave fewer masks than were asked for: an error in this program.
    #[error("internal error: the decoders gave {found} predictions for {expected} prompts; please report it")]
    Incomplete {
        /// How many predictions there are.
        found: usize,
        /// How many there should be.
        expected: usize,
    },
}
