//! Whether a GPU encodes and decodes as the CPU does.

use std::path::Path;

use resect_device::{DeviceError, SINGLE_TOLERANCE, compare};
use resect_geometry::Size;
use resect_prompts::job::Job;
use resect_sam::{Cpu, DecoderBackend};

use crate::PredictError;
use crate::model::{Model, ModelPrompt, numbers, on_slices, open};

/// Encodes an image and decodes one of its prompts on the CPU, too. In words, the largest differences, as shares of the largest
/// magnitudes. Both devices decode the CPU's embedding, so that what differs then is the decoder's.
pub(crate) fn agree<B: DecoderBackend>(
    model: &mut Model<B>,
    job: &Job,
    image: &Path,
    (pixels, size): (&[u8], Size),
    prompt: &ModelPrompt,
) -> Result<String, PredictError> {
    let mut cpu =
        Model::<Cpu>::load(open(&job.base)?, job.tuned.as_deref(), 1, &Default::default(), on_slices)?;
    let embedding = cpu.encode(pixels, size)?;
    let expected = numbers(embedding.clone());
    let found = numbers(model.encode(pixels, size)?);
    let image = image.display();
    let of_embedding = same(&format!("the embedding of {image}"), &found, &expected)?;

    let prompt = std::slice::from_ref(prompt);
    let found = model.decode(&model.embedding(expected), prompt, job.multimask)?;
    let expected = cpu.decode(&embedding, prompt, job.multimask)?;
    let mut of_logits = 0f32;
    for (found, expected) in found.iter().zip(&expected) {
        let what = format!("what the first prompt of {image} gives");
        of_logits = of_logits.max(same(&what, &found.logits, &expected.logits)?);
    }
    Ok(format!(
        "agrees with the CPU on the first image: the embedding to {of_embedding:.1e}, the first prompt's logits to \
         {of_logits:.1e}"
    ))
}

fn same(what: &str, found: &[f32], expected: &[f32]) -> Result<f32, DeviceError> {
    compare(what, found, expected, SINGLE_TOLERANCE).map_err(DeviceError::Disagrees)
}

#[cfg(test)]
mod tests;
