//! What can go wrong, told to the person who meets it. Messages leave their source to the one who prints the chain.

use resect_embed_params::Shard;
use resect_numeric::{Place, Precision};
use std::path::PathBuf;

/// The images could not be embedded.
#[derive(Debug, thiserror::Error)]
pub enum EmbedError {
    /// The device cannot be used.
    #[error(transparent)]
    Device(#[from] resect_device::DeviceError),
    /// An artifact cannot be read or written.
    #[error(transparent)]
    Data(#[from] resect_data::DataError),
    /// The base checkpoint cannot be read.
    #[error("the base checkpoint cannot be used")]
    Checkpoint(#[source] Box<resect_checkpoint::Error>),
    /// The encoder cannot be built, or computes something else than on the CPU.
    #[error(transparent)]
    Encode(#[from] resect_encoder::EncoderError),
    /// There is nothing to embed.
    #[error("the images artifact holds no image")]
    NoImages,
    /// There are fewer images than shards.
    #[error(
        "shard {shard} holds no image: there are {images} distinct images\nhint: use at most {images} shards"
    )]
    EmptyShard {
        /// Which one.
        shard: Shard,
        /// Distinct images in all.
        images: usize,
    },
    /// The encoder has no features to store at this place.
    #[error("there are no features to store at {place}: the encoder has the blocks 0 to {}", blocks - 1)]
    Place {
        /// The place.
        place: Place,
        /// How many blocks the encoder has.
        blocks: usize,
    },
    /// The images were resized for another model.
    #[error(
        "the images were resized to {found} pixels on their longest side, the base checkpoint takes {expected}\n\
         hint: `ingest` must run again with this checkpoint"
    )]
    Side {
        /// Longest side of the images.
        found: u32,
        /// Side of the model input.
        expected: usize,
    },
    /// An image is not what the artifact says of it.
    #[error("image {id} cannot be embedded")]
    Image {
        /// Name of the sample.
        id: String,
        /// What is wrong with it.
        source: Box<resect_encoder::EncoderError>,
    },
    /// The encoder gave NaN or infinity.
    #[error("the embedding of image {id}, computed in {precision}, is not finite\nhint: {}", remedy(*precision))]
    NotFinite {
        /// Name of the sample.
        id: String,
        /// What operands were rounded to.
        precision: Precision,
    },
    /// The encoder gave a number that half precision cannot hold.
    #[error(
        "the embedding of image {id} holds {value}, which f16 cannot (at most 65504)\n\
         hint: set embed.dtype = \"f32\""
    )]
    BeyondHalf {
        /// Name of the sample.
        id: String,
        /// The number farthest from zero.
        value: f32,
    },
    /// A shard got more or fewer embeddings than it has rows to encode: a fault of the program.
    #[error(
        "internal error: the encoder gave another number of embeddings than a shard of {rows} rows needs"
    )]
    Misaligned {
        /// Rows of the shard.
        rows: usize,
    },
    /// What a killed start left cannot be removed.
    #[error("cannot clear {} of what an earlier start left", path.display())]
    Leftover {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
}

/// What to do about an embedding that is not finite.
fn remedy(precision: Precision) -> &'static str {
    match precision {
        Precision::F16 => {
            "f16 holds 65504 at most: set embed.precision = \"bf16\" or \"f32\"; if it fails then, too, the base \
             checkpoint's encoder weights are damaged"
        }
        _ => "the base checkpoint's encoder weights are damaged, or too large for single precision",
    }
}
