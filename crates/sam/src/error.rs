//! What can be wrong with a model's inputs.

use resect_prompt::Form;

/// A model could not be loaded, or was given what it cannot take.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A tensor of the checkpoint could not be read, or is of no use.
    #[error(transparent)]
    Load(#[from] resect_layers::LoadError),
    /// The configuration describes no model that can be built.
    #[error(transparent)]
    Config(#[from] resect_checkpoint::ConfigError),
    /// Tensors handed over in memory do not fit the model.
    #[error(transparent)]
    Mismatch(#[from] resect_checkpoint::Mismatch),
    /// There is nothing to embed.
    #[error("there is no prompt to embed")]
    NoPrompt,
    /// Prompts that pass together differ in their parts.
    #[error(
        "prompt {index} has {}, the first one has {}; pass prompts of one form together, the others apart",
        described(*found), described(*expected)
    )]
    Form {
        /// The prompt that differs.
        index: usize,
        /// Its parts.
        found: Form,
        /// The parts of the first one.
        expected: Form,
    },
    /// A mask prompt does not cover the low-res grid.
    #[error("the mask of prompt {index} has {found} logits; the model takes {side} x {side}")]
    MaskSize {
        /// The prompt.
        index: usize,
        /// How many logits there are.
        found: usize,
        /// Side of the low-res grid.
        side: usize,
    },
    /// A logit of a mask prompt is NaN or infinite.
    #[error("the mask of prompt {index} holds the logit {value}; logits must be finite")]
    MaskLogit {
        /// The prompt.
        index: usize,
        /// The logit.
        value: f32,
    },
    /// A coordinate is NaN or infinite.
    #[error("prompt {index} has the coordinate {value}; coordinates are pixels of the model input")]
    Coordinate {
        /// The prompt.
        index: usize,
        /// The coordinate.
        value: f32,
    },
}

/// A form in words: "a box, 2 points, no mask".
fn described(form: Form) -> String {
    let given = |given: bool| if given { "a" } else { "no" };
    let points = if form.points == 1 { "point" } else { "points" };
    format!("{} box, {} {points}, {} mask", given(form.bounds), form.points, given(form.mask))
}
