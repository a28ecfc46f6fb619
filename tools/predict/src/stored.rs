//! Embeddings that the store has already.

use std::path::PathBuf;

use resect_embeddings::{Embedding, Embeddings};

use resect_geometry::View;
use resect_numeric::Dtype;

/// Embeddings of the model's shape, searched in order.
pub(crate) struct Stored {
    artifacts: Vec<Embeddings>,
}

impl Stored {
    /// Opens those that can be read and have the shape; `note` gets a line about each other one.
    pub(crate) fn open(dirs: &[PathBuf], shape: [usize; 3], mut note: impl FnMut(String)) -> Self {
        let mut artifacts = Vec::new();
        for dir in dirs {
            match Embeddings::open(dir) {
                Ok(found) if found.shape() == shape => artifacts.push(found),
                Ok(found) => {
                    note(format!("embeddings of shape {:?} are left aside: {}", found.shape(), dir.display()))
                }
                Err(error) => note(format!("embeddings are left aside: {error}")),
            }
        }
        Self { artifacts }
    }

    /// The embedding of an image, and in which format it is kept.
    pub(crate) fn find(&self, pixel_hash: &str) -> Option<(Embedding<'_>, Dtype)> {
        self.artifacts.iter().find_map(|a| Some((a.get(pixel_hash, View::Identity)?, a.dtype())))
    }
}
