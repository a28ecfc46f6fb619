use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;

/// A place in the image encoder where an image's features are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// Before the encoder: the normalised and padded pixels, `[3, S, S]`.
    Pixels,
    /// The tokens that enter a block, counted from 0, `[g, g, hidden]`.
    Block(usize),
    /// After the encoder: the embedding, `[C, g, g]`.
    #[default]
    Neck,
}

impl Place {
    /// Whether it is the end of the encoder.
    pub fn is_neck(&self) -> bool {
        *self == Self::Neck
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pixels => f.write_str("pixels"),
            Self::Block(block) => write!(f, "block:{block}"),
            Self::Neck => f.write_str("neck"),
        }
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "pixels" => Ok(Self::Pixels),
            "neck" => Ok(Self::Neck),
            _ => text
                .strip_prefix("block:")
                .and_then(|block| block.parse().ok())
                .map(Self::Block)
                .ok_or_else(|| format!("a place is \"pixels\", \"neck\" or \"block:N\", not \"{text}\"")),
        }
    }
}

impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A linear layer of a block of the image encoder, or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockLayer {
    /// The projection to queries, keys and values, as one layer.
    Qkv,
    /// The part of it that projects to queries.
    Q,
    /// The part of it that projects to keys.
    K,
    /// The part of it that projects to values.
    V,
    /// The projection of what was attended to.
    Proj,
    /// The first layer of the MLP.
    Lin1,
    /// The second layer of the MLP.
    Lin2,
}
