use std::path::PathBuf;

use crate::{BoxPrompt, PointPrompt, Prompt, WrittenPrompt};

/// Boxes, points and a mask that cannot be told apart into prompts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArrangeError {
    /// There is nothing.
    #[error("there is no prompt")]
    Nothing,
    /// Points that may belong to any of several boxes.
    #[error("there are points beside {0} boxes, and it is not said which belongs to which")]
    Points(usize),
    /// A mask that may belong to any of several boxes.
    #[error("there is a mask beside {0} boxes, and it is not said to which it belongs")]
    Mask(usize),
}

/// Makes prompts of what was given for one image: each box is a prompt; points belong to the one box, or are one prompt together
/// where there is none; and so does a mask. Boxes come with where they were written, and so does what is no box (`from`).
///
/// # Errors
/// Nothing at all, or points or a mask beside several boxes.
pub fn arrange(
    boxes: Vec<(BoxPrompt, String)>,
    points: Vec<PointPrompt>,
    mask: Option<PathBuf>,
    from: String,
) -> Result<Vec<WrittenPrompt>, ArrangeError> {
    let written = |bounds, points, mask, from| {
        let prompt = Prompt { bounds, points, mask };
        WrittenPrompt { prompt, from }
    };
    match boxes.len() {
        0 if points.is_empty() && mask.is_none() => Err(ArrangeError::Nothing),
        0 => Ok(vec![written(None, points, mask, from)]),
        1 => Ok(boxes
            .into_iter()
            .map(|(bounds, from)| written(Some(bounds), points.clone(), mask.clone(), from))
            .collect()),
        several if !points.is_empty() => Err(ArrangeError::Points(several)),
        several if mask.is_some() => Err(ArrangeError::Mask(several)),
        _ => {
            let boxes = boxes.into_iter();
            Ok(boxes.map(|(bounds, from)| written(Some(bounds), Vec::new(), None, from)).collect())
        }
    }
}

#[cfg(test)]
mod tests;
