use serde::{Deserialize, Serialize};

/// The number format of tensors on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// IEEE half precision: 2.1 MB for an image embedding of the published models.
    F16,
    /// Single precision: 4.2 MB for an image embedding of the published models.
    F32,
}

impl Dtype {
    /// Bytes of one number.
    pub const fn bytes(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 => 4,
        }
    }
}
