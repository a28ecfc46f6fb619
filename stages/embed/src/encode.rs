//! Images through the encoder, and what may not come out of it.

use burn::tensor::{Tensor, TensorData};
use resect_checkpoint::Checkpoint;
use resect_numeric::{Dtype, Precision};
use resect_sam::{CpuEncoder, EncoderBackend, ImageEncoder, normalise};

use crate::EmbedError;
use crate::rows::Row;

/// From here on a number rounds to infinity in half precision: half a step above its largest, 65504.
const BEYOND_HALF: f32 = 65520.0;

/// What turns normalised pixels `[b, 3, S, S]` into embeddings `[b, C, g, g]`, on some device.
pub type Model = Box<dyn Fn(Vec<f32>) -> Pending>;

/// Embeddings on their way, which waiting for gives. A GPU computes them meanwhile.
pub type Pending = Box<dyn FnOnce() -> Vec<f32>>;

/// Loads a checkpoint's image encoder, and nothing else of it, for some device.
pub type Load<'a> = &'a dyn Fn(&Checkpoint, Precision) -> Result<Model, resect_sam::Error>;

/// The CPU's own encoder.
///
/// # Errors
/// Tensors that cannot be read.
pub fn on_cpu(checkpoint: &Checkpoint, precision: Precision) -> Result<Model, resect_sam::Error> {
    let encoder = CpuEncoder::load(checkpoint, precision)?;
    Ok(Box::new(move |pixels| {
        let embeddings = encoder.forward(&pixels);
        Box::new(|| embeddings)
    }))
}

/// The encoder on a backend's tensors.
///
/// # Errors
/// Tensors that cannot be read.
pub fn on_tensors<B: EncoderBackend>(
    device: &B::Device,
    checkpoint: &Checkpoint,
    precision: Precision,
) -> Result<Model, resect_sam::Error> {
    let encoder = ImageEncoder::<B>::load(checkpoint, device)?.with_precision(precision);
    let (device, side) = (device.clone(), checkpoint.config().image_size());
    Ok(Box::new(move |pixels| {
        let shape = [pixels.len() / (3 * side * side), 3, side, side];
        let embeddings = encoder.forward(Tensor::from_data(TensorData::new(pixels, shape), &device));
        Box::new(|| embeddings.into_data().convert::<f32>().iter().collect())
    }))
}

/// The image encoder of a checkpoint.
pub(crate) struct Encoder {
    model: Model,
    /// What the embeddings must fit into.
    dtype: Dtype,
    precision: Precision,
}

impl Encoder {
    pub(crate) fn load(
        load: Load<'_>,
        checkpoint: &Checkpoint,
        dtype: Dtype,
        precision: Precision,
    ) -> Result<Self, EmbedError> {
        let model = load(checkpoint, precision).map_err(|e| EmbedError::Model(e.into()))?;
        Ok(Self { model, dtype, precision })
    }

    /// What the embeddings must fit into.
    pub(crate) fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// What the operands of products are rounded to.
    pub(crate) fn precision(&self) -> Precision {
        self.precision
    }

    /// Hands the [`pixels`] of some rows to the device.
    pub(crate) fn begin(&self, pixels: Vec<f32>) -> Pending {
        (self.model)(pixels)
    }

    /// The embeddings of some rows, one after the other, from their [`pixels`].
    pub(crate) fn encode(&self, rows: &[Row<'_>], pixels: Vec<f32>) -> Result<Vec<f32>, EmbedError> {
        finished(rows, self.begin(pixels), self.dtype, self.precision)
    }
}

/// The embeddings of some rows, one after the other, when the device has them.
pub(crate) fn finished(
    rows: &[Row<'_>],
    pending: Pending,
    dtype: Dtype,
    precision: Precision,
) -> Result<Vec<f32>, EmbedError> {
    let embeddings = pending();
    for (row, embedding) in rows.iter().zip(embeddings.chunks(embeddings.len() / rows.len().max(1))) {
        check(row.image.id, embedding, dtype, precision)?;
    }
    Ok(embeddings)
}

/// What the encoder takes of some rows, `[rows, 3, side, side]`.
pub(crate) fn pixels(rows: &[Row<'_>], side: usize) -> Result<Vec<f32>, EmbedError> {
    let mut pixels = Vec::with_capacity(rows.len() * 3 * side * side);
    for row in rows {
        let (height, width) = (row.size().height as usize, row.size().width as usize);
        let normalised = normalise(&row.pixels(), height, width, side)
            .map_err(|e| EmbedError::Image { id: row.image.id.into(), source: e.into() })?;
        pixels.extend(normalised);
    }
    Ok(pixels)
}

/// An embedding that is stored must be finite, also after it was rounded to the format on disk.
fn check(id: &str, embedding: &[f32], dtype: Dtype, precision: Precision) -> Result<(), EmbedError> {
    if !embedding.iter().all(|value| value.is_finite()) {
        return Err(EmbedError::NotFinite { id: id.into(), precision });
    }
    let largest = embedding.iter().copied().max_by(|a, b| a.abs().total_cmp(&b.abs()));
    match largest.filter(|value| dtype == Dtype::F16 && value.abs() >= BEYOND_HALF) {
        Some(value) => Err(EmbedError::BeyondHalf { id: id.into(), value }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
