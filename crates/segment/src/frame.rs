use resect_checkpoint::SamConfig;
use resect_geometry::{Mask, Size, upscale_logits};
use resect_prompt::{ModelPrompt, Prompt, PromptError};

use crate::SegmentError;

/// How an image lies in the model: what its prompts and masks are converted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    original: Size,
    resized: Size,
    input: u32,
    low_res: u32,
}

impl Frame {
    /// The frame of an image of size `original`, resized so that its longest side is the model input's.
    pub fn new(config: &SamConfig, original: Size) -> Self {
        let input = config.image_size() as u32;
        let resized = original.with_longest_side(input);
        Self { original, resized, input, low_res: config.low_res() as u32 }
    }

    /// The frame of an image that was resized before, to `resized`.
    ///
    /// # Errors
    /// A resized image that is larger than the model input.
    pub fn of_resized(config: &SamConfig, original: Size, resized: Size) -> Result<Self, SegmentError> {
        let frame = Self { resized, ..Self::new(config, original) };
        match resized.height.max(resized.width) <= frame.input {
            true => Ok(frame),
            false => Err(SegmentError::Resized { resized, input: frame.input }),
        }
    }

    /// Size of the original image.
    pub fn original(&self) -> Size {
        self.original
    }

    /// Size of the resized image, which lies in the top left corner of the model input.
    pub fn resized(&self) -> Size {
        self.resized
    }

    /// Side of the model input in pixels.
    pub fn input(&self) -> u32 {
        self.input
    }

    /// Side of the low-res grid, which logits cover.
    pub fn low_res(&self) -> u32 {
        self.low_res
    }

    /// A prompt on the image as the model takes it.
    ///
    /// # Errors
    /// A part that does not fit the image.
    pub fn prompt(&self, prompt: &Prompt) -> Result<ModelPrompt, PromptError> {
        prompt.to_model(self.original, self.resized, self.low_res)
    }

    /// Logits on the low-res grid `[4g, 4g]` at the original size, `[height, width]`, upscaled as SAM does it
    /// ([`upscale_logits`]). (`postprocess_masks`)
    ///
    /// # Errors
    /// Logits that do not cover the grid.
    pub fn upscaled(&self, logits: &[f32]) -> Result<Vec<f32>, SegmentError> {
        if logits.len() != Size::square(self.low_res).pixels() {
            return Err(SegmentError::LogitCount { found: logits.len(), low_res: self.low_res });
        }
        Ok(upscale_logits(logits, self.low_res, self.input, self.resized, self.original))
    }

    /// The mask that logits on the low-res grid stand for, at the original size: where the upscaled logits are above 0
    /// (`mask_threshold`).
    ///
    /// # Errors
    /// As [`Frame::upscaled`].
    pub fn mask(&self, logits: &[f32]) -> Result<Mask, SegmentError> {
        let pixels = self.upscaled(logits)?.into_iter().map(|logit| logit > 0.0).collect();
        Ok(Mask::new(self.original, pixels))
    }
}
