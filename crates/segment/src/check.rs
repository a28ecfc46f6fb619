//! Whether a device predicts what the CPU does.

use resect_device::{DeviceError, SINGLE_TOLERANCE};
use resect_embeddings::Embedding;
use resect_encoder::compare_with_cpu;
use resect_geometry::Size;
use resect_layers::{Cpu, Layers};
use resect_numeric::Place;
use resect_prompt::Prompt;

use crate::{PredictedMask, Prediction, Predictor, SegmentError};

/// The largest differences between a device and the CPU, as shares of the largest magnitudes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Agreement {
    /// Of the image's embedding.
    pub embedding: f32,
    /// Of the logits and the predicted IoU of a prompt.
    pub prediction: f32,
}

/// Compares a prediction with the CPU's: the logits and the predicted IoU, whose magnitudes differ, each by its own. `what` names the
/// prompt in messages. The larger difference, as a share of the largest magnitude.
///
/// # Errors
/// Differences that single precision does not explain.
pub fn compare(what: &str, found: &Prediction, expected: &Prediction) -> Result<f32, DeviceError> {
    let logits = |prediction: &Prediction| -> Vec<f32> {
        prediction.masks().iter().flat_map(|PredictedMask { logits, .. }| logits).copied().collect()
    };
    let differ = |part: &str, found: &[f32], expected: &[f32]| {
        resect_device::compare(&format!("{part} {what}"), found, expected, SINGLE_TOLERANCE)
            .map_err(DeviceError::Disagrees)
    };
    let of_logits = differ("the mask of", &logits(found), &logits(expected))?;
    let of_scores = differ("the predicted IoU of", &found.iou_scores(), &expected.iou_scores())?;
    Ok(of_logits.max(of_scores))
}

impl<B: Layers> Predictor<B> {
    /// Encodes an image and decodes a prompt on it on the CPU, too, with `reference`, and compares. `image` names the image in
    /// messages; `pixels` are as for [`Predictor::set_image`]. Both devices decode the CPU's embedding, so that what differs then is
    /// the decoder's.
    ///
    /// # Errors
    /// Differences that single precision does not explain; whatever [`Predictor::set_image`] and [`crate::Session::predict`] refuse.
    pub fn compare_with_cpu(
        &self,
        reference: &Predictor<Cpu>,
        image: &str,
        (pixels, original): (&[u8], Size),
        prompt: &Prompt,
        multimask: bool,
    ) -> Result<Agreement, SegmentError> {
        let pixels = self.normalised(pixels, &crate::Frame::new(self.config(), original))?;
        let what = format!("the embedding of {image}");
        let encoded = compare_with_cpu(self.encoder()?, reference.encoder()?, Place::Neck, &what, pixels)?;
        let expected = Embedding::F32(&encoded.expected);
        let prompts = std::slice::from_ref(prompt);
        let found = self.set_embedding(expected, original)?.predict(prompts, multimask)?;
        let expected = reference.set_embedding(expected, original)?.predict(prompts, multimask)?;
        let mut prediction = 0f32;
        for (found, expected) in found.iter().zip(&expected) {
            prediction = prediction.max(compare(&format!("the first prompt of {image}"), found, expected)?);
        }
        Ok(Agreement { embedding: encoded.difference, prediction })
    }
}

#[cfg(test)]
mod tests;
