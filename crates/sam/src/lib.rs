//! The prompt encoder and the mask decoder of the Segment Anything Model (Kirillov et al., 2023).
//!
//! The files are those of `segment-anything`, so that a reader of one finds the way in the other; names of fields and numerics
//! follow `transformers` (`models/sam/modeling_sam.py`), whose checkpoints are read:
//!
//! ```text
//! image [b, 3, S, S] ──▶ image_encoder ──▶ embedding [b, C, g, g] ──┐      (crate resect-encoder)
//! points, boxes, masks ──▶ prompt_encoder ──▶ sparse [n, t, C] ─────┼──▶ mask_decoder ──▶ logits [n, m, 4g, 4g]
//!                                        └──▶ dense [n, C, g, g] ───┘    (transformer)    IoU scores [n, m]
//! ```
//!
//! `S` is the side of the square input in pixels, `g = S / patch` the grid, `C` the embedding's channels, `b` images, `n`
//! prompts, `t` prompt tokens, `m` masks. A prompt makes one set of masks; several prompts on one image repeat its embedding
//! ([`repeat_per_prompt`]).
//!
//! Both are wired once, on the layers of `resect-layers`, and compute on any backend. The mask decoder computes in single precision,
//! or with the operands of its products rounded to a narrower format ([`MaskDecoder::with_precision`]); the prompt encoder is in
//! single precision always.
//!
//! The crate computes. It does not read images, know files other than checkpoints, or train: losses and optimisers are elsewhere.

mod error;
mod load;
mod mask_decoder;
pub mod memory;
mod prompt_encoder;
mod transformer;

use burn::tensor::{Tensor, backend::Backend};

pub use error::Error;
pub use mask_decoder::{MaskDecoder, MaskOutput, is_idle, is_operand};
pub use prompt_encoder::{PromptEmbeddings, PromptEncoder};

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
