//! What can be wrong with a model's inputs.

/// A model could not be loaded, or was given what it cannot take.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The checkpoint could not be read.
    #[error(transparent)]
    Checkpoint(#[from] resect_checkpoint::Error),
    /// The configuration describes no model that can be built.
    #[error(transparent)]
    Config(#[from] resect_checkpoint::ConfigError),
    /// Tensors handed over in memory do not fit the model.
    #[error(transparent)]
    Mismatch(#[from] resect_checkpoint::Mismatch),
    /// The model has a parameter that its table of tensors lacks, or in another shape: an error in this program.
    #[error("parameter `{name}`: {message}")]
    Parameter {
        /// The parameter's Hugging Face name.
        name: String,
        /// What is wrong with it.
        message: String,
    },
    /// Prompts of one batch differ in how many points they have.
    #[error(
        "prompt {index} has {found} points, the first one has {expected}; pad the shorter with `PointLabel::Padding`"
    )]
    PointCount {
        /// The prompt that differs.
        index: usize,
        /// How many points it has.
        found: usize,
        /// How many the first one has.
        expected: usize,
    },
    /// Points, boxes and masks of one batch differ in number.
    #[error("{found} {what} were given for {expected} prompts")]
    PromptCount {
        /// "point lists", "boxes" or "masks".
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many prompts there are.
        expected: usize,
    },
    /// A coordinate is not a number or infinite.
    #[error("prompt {index} has the coordinate {value}; coordinates are pixels of the model input")]
    Coordinate {
        /// The prompt.
        index: usize,
        /// The coordinate.
        value: f32,
    },
    /// Prompts cannot be divided evenly among the images.
    #[error("{prompts} prompts cannot be divided evenly among {images} images")]
    PromptsPerImage {
        /// How many prompts there are.
        prompts: usize,
        /// How many images there are.
        images: usize,
    },
    /// An image does not have the size it claims, or is too large for the model.
    #[error("image of {height} x {width} pixels and {bytes} bytes: {message}")]
    Image {
        /// Its height in pixels.
        height: usize,
        /// Its width in pixels.
        width: usize,
        /// Its length in bytes.
        bytes: usize,
        /// What is wrong with it.
        message: String,
    },
}
