//! What a report tells of `audit.json`, which `ingest` writes. A field that is missing is an error, not an empty cell.

use serde::Deserialize;

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Audit {
    pub(crate) samples: u64,
    pub(crate) rejected: u64,
    pub(crate) unused: u64,
    pub(crate) groups_across_splits: u64,
    pub(crate) near_duplicates: u64,
    pub(crate) near_duplicates_across_test: u64,
    pub(crate) near_duplicates_across_validation: u64,
    pub(crate) near_duplicate_pairs: Vec<DuplicatePair>,
    pub(crate) masks: Masks,
    pub(crate) sizes: Sizes,
    pub(crate) area: Area,
}

/// Two images that look the same.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct DuplicatePair {
    pub(crate) ids: [String; 2],
    pub(crate) splits: [String; 2],
    pub(crate) distance: u32,
}

/// Samples by what their mask showed.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Masks {
    pub(crate) noisy: u64,
    pub(crate) with_specks: u64,
    pub(crate) with_several_components: u64,
    pub(crate) touching_border: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Sizes {
    pub(crate) smallest: Size,
    pub(crate) largest: Size,
    pub(crate) turned_by_exif: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Size {
    pub(crate) width: u64,
    pub(crate) height: u64,
}

/// Foreground as shares of images.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Area {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}
