//! The settings of the stage `embed`, with their defaults. All of them enter its key.

use resect_geometry::Views;
use resect_numeric::{Dtype, Place, Precision};
use serde::{Deserialize, Serialize};

/// How `embed` computes embeddings and stores them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmbedParams {
    /// Number format on disk.
    pub dtype: Dtype,
    /// Number format of what the encoder multiplies.
    pub precision: Precision,
    /// The views that each image is embedded under. No setting of the pipeline file: the runner takes it from
    /// `train.augment`, so that the two cannot disagree. It is not written where it is the default, so that
    /// without augmentation it is not in a key either.
    #[serde(skip_serializing_if = "Views::is_none")]
    pub views: Views,
    /// The place in the encoder where features are taken. No setting of the pipeline file: the runner takes it from what
    /// `[train.encoder]` tunes.
    #[serde(skip_serializing_if = "Place::is_neck")]
    pub place: Place,
    /// The part of the images that is embedded; none is all. No setting of the pipeline file either.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
}

/// One of several parts of the distinct images, as equal as can be and in their order, for machines that share the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shard {
    /// Which one, from 1.
    pub index: u32,
    /// How many there are.
    pub count: u32,
}

impl Shard {
    /// What it takes of so many images.
    pub fn range(self, images: usize) -> std::ops::Range<usize> {
        let at = |index: u32| (images as u128 * u128::from(index) / u128::from(self.count.max(1))) as usize;
        at(self.index.saturating_sub(1))..at(self.index)
    }
}

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl std::str::FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match numbers {
            Some((index, count)) if (1..=count).contains(&index) => Ok(Self { index, count }),
            _ => Err(format!("a shard is I/N with I from 1 to N, such as 3/8, not \"{text}\"")),
        }
    }
}

impl Default for EmbedParams {
    fn default() -> Self {
        Self {
            dtype: Dtype::F16,
            precision: Precision::F32,
            views: Views::None,
            place: Place::Neck,
            shard: None,
        }
    }
}
