//! The agreement between `cargo xtask predict` and its program `resect-predict`: the runner writes a [`Job`] as one line of JSON
//! on the program's standard input and keeps it open; the program answers with [`Line`]s of JSON on standard output. It ends
//! when its standard input closes.

use std::path::PathBuf;

use resect_device::Device;
use serde::{Deserialize, Serialize};

use crate::WrittenPrompt;

/// Format of a [`Job`].
pub const FORMAT: &str = "resect-predict-job/2.1";

/// Prompts of one image that pass the decoder together, where nobody says otherwise.
pub const DECODE_BATCH: usize = 8;

/// What pictures are read, images and masks alike; others are refused before they are decoded. The same as `ingest` has by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Most pixels.
    pub max_pixels: u64,
    /// Most bytes of a file.
    pub max_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_pixels: 100_000_000, max_bytes: 400_000_000 }
    }
}

/// What to predict, with what, and what to write.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// [`FORMAT`].
    pub format: String,
    /// Where to compute.
    pub device: Device,
    /// Prompts of one image that pass the decoder together; at least one. It bounds memory, and on the CPU changes no byte.
    pub decode_batch: usize,
    /// What pictures are read. (since 2.1)
    #[serde(default)]
    pub limits: Limits,
    /// The checkpoint folder of the whole model.
    pub base: PathBuf,
    /// The folder of a `checkpoint` artifact whose decoder takes the place of the base's.
    pub tuned: Option<PathBuf>,
    /// Whether the IoU scores and the masks 1 to 3 come from heads that belong to the decoder's other weights.
    pub heads_trained: bool,
    /// The images, each with its prompts.
    pub images: Vec<ImageJob>,
    /// Folders of `embeddings` artifacts that this model's encoder gave; the first that has an image's embedding is used.
    pub embeddings: Vec<PathBuf>,
    /// The folder to write to; created when absent.
    pub out: PathBuf,
    /// Masks 1 to 3 instead of mask 0.
    pub multimask: bool,
    /// Write logits and IoU scores.
    pub logits: bool,
    /// Draw overlays.
    pub overlays: bool,
    /// The category's name in the COCO files.
    pub category: String,
}

impl Job {
    /// A job on the CPU, with no image yet, that writes masks and overlays.
    pub fn new(base: PathBuf, out: PathBuf) -> Self {
        Self {
            format: FORMAT.into(),
            device: Device::Cpu,
            decode_batch: DECODE_BATCH,
            limits: Limits::default(),
            base,
            tuned: None,
            heads_trained: true,
            images: Vec::new(),
            embeddings: Vec::new(),
            out,
            multimask: false,
            logits: false,
            overlays: true,
            category: "object".into(),
        }
    }
}

/// One image of a [`Job`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ImageJob {
    /// The file.
    pub path: PathBuf,
    /// Its prompts; at least one.
    pub prompts: Vec<WrittenPrompt>,
}

/// What the program says, one JSON object a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// Images done, of all.
    Progress {
        /// Done, failed ones included.
        done: u64,
        /// All.
        total: u64,
    },
    /// A line worth reading.
    Note(String),
    /// An image whose files are written.
    Image(ImageReport),
    /// An image of which nothing is written.
    Failed(FailedImage),
    /// Every image was tried, and these further files are written, relative to the output folder.
    Done {
        /// `coco.json`, `coco-polygons.json`.
        files: Vec<String>,
    },
}

/// An image that could not be predicted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FailedImage {
    /// The file as the job names it.
    pub image: PathBuf,
    /// Why not, in words.
    pub reason: String,
}

/// Where an image's embedding came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmbeddingSource {
    /// It was computed now, in f32.
    Encoded,
    /// It lay in the store, in half precision.
    StoreF16,
    /// It lay in the store, in single precision.
    StoreF32,
}

/// What was predicted for one image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageReport {
    /// The file as the job names it.
    pub image: PathBuf,
    /// Width of the upright image in pixels.
    pub width: u32,
    /// Its height.
    pub height: u32,
    /// Where its embedding came from.
    pub embedding: EmbeddingSource,
    /// The prompts, in order.
    pub prompts: Vec<PromptReport>,
    /// Further files, relative to the output folder: logits and overlay.
    pub files: Vec<String>,
}

/// What was predicted for one prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PromptReport {
    /// Its number, from 0, as in the names of its files.
    pub number: usize,
    /// The prompt itself.
    pub prompt: WrittenPrompt,
    /// Predicted IoU of each mask: one, or three with `multimask`.
    pub iou_scores: Vec<f32>,
    /// Which of them is *the* mask: the one of highest predicted IoU.
    pub best: usize,
    /// Its pixels.
    pub area: u64,
    /// Its share of the image.
    pub area_fraction: f64,
    /// Its tight box, `[x0, y0, x1, y1]`, maxima inclusive; none when it is empty.
    pub mask_box: Option<[u32; 4]>,
    /// The mask's file, then those of all masks with `multimask`; relative to the output folder.
    pub files: Vec<String>,
}
