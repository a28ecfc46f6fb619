use crate::View;
use serde::{Deserialize, Serialize};

/// A set of views: augmentation whose every outcome has an embedding that is computed once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Views {
    /// The image as it is.
    None,
    /// Also flipped either way, and both ways.
    Flips,
    /// All flips and quarter turns.
    All,
}

impl Views {
    /// The views, the identity first.
    pub fn views(self) -> &'static [View] {
        match self {
            Self::None => &[View::Identity],
            Self::Flips => &View::FLIPS,
            Self::All => &View::ALL,
        }
    }

    /// Whether the image as it is is the only one.
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }
}
