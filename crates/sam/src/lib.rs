//! The Segment Anything Model (Kirillov et al., 2023) on burn.
//!
//! The files are those of `segment-anything`, so that a reader of one finds the way in the other; names of fields and numerics
//! follow `transformers` (`models/sam/modeling_sam.py`), whose checkpoints are read:
//!
//! ```text
//! image [b, 3, S, S] ──▶ image_encoder ──▶ embedding [b, C, g, g] ──┐
//! points, boxes, masks ──▶ prompt_encoder ──▶ sparse [n, t, C] ─────┼──▶ mask_decoder ──▶ logits [n, m, 4g, 4g]
//!                                        └──▶ dense [n, C, g, g] ───┘    (transformer)    IoU scores [n, m]
//! ```
//!
//! `S` is the side of the square input in pixels, `g = S / patch` the grid, `C` the embedding's channels, `b` images, `n`
//! prompts, `t` prompt tokens, `m` masks. A prompt makes one set of masks; several prompts on one image repeat its embedding
//! ([`repeat_per_prompt`]).
//!
//! Image encoder and mask decoder compute in single precision, or with the operands of their products rounded to a narrower
//! format ([`Precision`], `with_precision`); the prompt encoder is in single precision always.
//!
//! The crate computes. It does not read images, know files other than checkpoints, or train: losses and optimisers are elsewhere.

mod cpu_encoder;
#[cfg(feature = "cube")]
pub mod cube;
#[cfg(feature = "cuda")]
mod cuda;
mod decoder_backend;
mod encoder_backend;
mod error;
mod image_encoder;
mod layers;
mod load;
mod mask_decoder;
pub mod memory;
mod preprocess;
mod prompt_encoder;
mod resident;
mod tape_decoder;
mod tape_heads;
mod transformer;

use burn::module::Module;
use burn::tensor::{Tensor, backend::Backend};
pub use resect_checkpoint::{Checkpoint, NamedTensor, SamConfig};
pub use resect_params::Precision;

pub use cpu_encoder::CpuEncoder;
#[cfg(feature = "cuda")]
pub use cuda::{Cuda, CudaDevice, open as open_cuda};
pub use decoder_backend::DecoderBackend;
pub use encoder_backend::{EncoderBackend, Squares};
pub use error::Error;
pub use image_encoder::ImageEncoder;
pub use layers::narrow;
pub use mask_decoder::{MaskDecoder, MaskOutput, is_idle, is_operand};
pub use preprocess::{IMAGE_MEAN, IMAGE_STD, normalise};
pub use prompt_encoder::{PromptEmbeddings, PromptEncoder};
pub use resect_prompt::{Label, ModelPoint, ModelPrompt};
pub use resident::{Resident, room};
pub use tape_decoder::{Run, TapeDecoder};
pub use tape_heads::Heads;

/// The CPU backend. Code outside this crate names it only through this alias.
pub type Cpu = burn_flex::Flex;

/// A whole SAM. (`SamModel`)
#[derive(Module, Debug)]
pub struct Sam<B: Backend> {
    /// Pixels to embeddings.
    pub vision_encoder: ImageEncoder<B>,
    /// Prompts to tokens.
    pub prompt_encoder: PromptEncoder<B>,
    /// Embeddings and tokens to masks.
    pub mask_decoder: MaskDecoder<B>,
}

impl<B: EncoderBackend + DecoderBackend> Sam<B> {
    /// Predicts masks for `b` images with `p` prompts each, the prompts of one image next to one another.
    ///
    /// `pixels` is `[b, 3, S, S]`, normalised and padded ([`normalise`]); `prompts` holds `b * p` prompts of one form. With `multimask` the
    /// output has the masks 1 to 3, without it mask 0.
    ///
    /// # Errors
    /// A number of prompts that is no positive multiple of the number of images; prompts that cannot pass together
    /// ([`PromptEncoder::forward`]).
    pub fn forward(
        &self,
        pixels: Tensor<B, 4>,
        prompts: &[ModelPrompt],
        multimask: bool,
    ) -> Result<MaskOutput<B>, Error> {
        let images = pixels.dims()[0];
        if images == 0 || prompts.is_empty() || !prompts.len().is_multiple_of(images) {
            return Err(Error::PromptsPerImage { prompts: prompts.len(), images });
        }
        let embeddings = repeat_per_prompt(self.vision_encoder.forward(pixels), prompts.len() / images);
        let position = self.prompt_encoder.image_positional_encoding();
        let prompts = self.prompt_encoder.forward(prompts)?;
        Ok(self.mask_decoder.forward(embeddings, position, &prompts, multimask))
    }
}

/// Repeats each image's embedding for each of its prompts: `[b, C, g, g]` to `[b * p, C, g, g]`, in the order
/// image 0, image 0, ..., image 1, image 1, ...
pub fn repeat_per_prompt<B: Backend>(embeddings: Tensor<B, 4>, prompts_per_image: usize) -> Tensor<B, 4> {
    if prompts_per_image == 1 {
        return embeddings;
    }
    let [b, c, h, w] = embeddings.dims();
    embeddings.reshape([b, 1, c, h, w]).expand([b, prompts_per_image, c, h, w]).reshape([
        b * prompts_per_image,
        c,
        h,
        w,
    ])
}
