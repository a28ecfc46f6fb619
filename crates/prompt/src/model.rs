use resect_geometry::{Mask, Size, box_to_model, point_to_model};

use crate::{Label, MaskPrompt, Prompt, PromptError};

/// The logit of foreground in a mask prompt that was given as pixels; background has its negative. Its sigmoid is 0.999.
pub const CERTAIN: f32 = 6.906_755;

/// A point in pixels of the model input; coordinates may be fractional.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ModelPoint {
    /// Distance from the left edge.
    pub x: f32,
    /// Distance from the top edge.
    pub y: f32,
    /// What the point says.
    pub label: Label,
}

/// A prompt in the model's frame: a box, points and a mask, or any of these. Without any, the model predicts what it finds most
/// likely.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelPrompt {
    /// `[x0, y0, x1, y1]` in pixels of the model input; the maxima are those of the last pixel inside.
    pub bounds: Option<[f32; 4]>,
    /// Points in pixels of the model input.
    pub points: Vec<ModelPoint>,
    /// Mask logits on the low-res grid `[4g, 4g]`, row by row; the object is where they are positive.
    pub mask: Option<Vec<f32>>,
}

/// Which parts a prompt has. Prompts of one form have equally many tokens, so they can pass the model together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Form {
    /// Whether there is a box.
    pub bounds: bool,
    /// How many points there are.
    pub points: usize,
    /// Whether there is a mask.
    pub mask: bool,
}

impl ModelPrompt {
    /// A box and nothing else.
    pub fn of_box(bounds: [f32; 4]) -> Self {
        Self { bounds: Some(bounds), ..Self::default() }
    }

    /// Points and nothing else.
    pub fn of_points(points: impl Into<Vec<ModelPoint>>) -> Self {
        Self { points: points.into(), ..Self::default() }
    }

    /// Which parts there are.
    pub fn form(&self) -> Form {
        Form { bounds: self.bounds.is_some(), points: self.points.len(), mask: self.mask.is_some() }
    }
}

impl Prompt {
    /// The prompt in the model's frame, for an image of size `original` that was resized to `resized`. `low_res` is the side of
    /// the low-res grid.
    ///
    /// Coordinates are scaled as `transformers` scales them ([`point_to_model`], [`box_to_model`]). A mask in pixels is reduced
    /// to the low-res grid ([`mask_logits`]); logits stay as they are.
    ///
    /// # Errors
    /// A part that does not fit the image ([`Prompt::check`]), or logits that do not cover the grid.
    pub fn to_model(&self, original: Size, resized: Size, low_res: u32) -> Result<ModelPrompt, PromptError> {
        self.check(original)?;
        let points = self.points.iter().map(|point| {
            let [x, y] = point_to_model([point.x, point.y], original, resized);
            ModelPoint { x, y, label: point.label }
        });
        let mask = self.mask.as_ref().map(|mask| match mask {
            MaskPrompt::Pixels(mask) if mask.size() == original => Ok(mask_logits(mask, low_res)),
            MaskPrompt::Pixels(mask) => Err(PromptError::MaskSize { mask: mask.size(), image: original }),
            MaskPrompt::Logits(logits) if logits.len() == Size::square(low_res).pixels() => {
                Ok(logits.clone())
            }
            MaskPrompt::Logits(logits) => Err(PromptError::LogitCount { found: logits.len(), low_res }),
        });
        Ok(ModelPrompt {
            bounds: self.bounds.map(|bounds| box_to_model(bounds.into(), original, resized)),
            points: points.collect(),
            mask: mask.transpose()?,
        })
    }
}

/// The mask prompt that a mask over the original image makes: reduced to the low-res grid of side `low_res` by the nearest pixel,
/// padded like the image, [`CERTAIN`] inside and its negative outside.
pub fn mask_logits(mask: &Mask, low_res: u32) -> Vec<f32> {
    let grid = mask.to_low_res(low_res);
    grid.pixels().iter().map(|&inside| if inside { CERTAIN } else { -CERTAIN }).collect()
}

#[cfg(test)]
mod tests;
