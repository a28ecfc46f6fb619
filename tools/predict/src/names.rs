//! What files are called.

/// The mask of prompt `number` of an image.
pub(crate) fn mask(stem: &str, number: usize) -> String {
    format!("{}.png", numbered(stem, number))
}

/// Mask `mask` (from 1) of prompt `number` of an image.
pub(crate) fn one_of_masks(stem: &str, number: usize, mask: usize) -> String {
    format!("{}.mask-{mask}.png", numbered(stem, number))
}

/// The logits of an image's prompts.
pub(crate) fn logits(stem: &str) -> String {
    format!("{stem}.safetensors")
}

/// The overlay of an image.
pub(crate) fn overlay(stem: &str) -> String {
    format!("overlays/{stem}.png")
}

/// The masks as run lengths.
pub(crate) const COCO: &str = "coco.json";
/// The masks as polygons.
pub(crate) const COCO_POLYGONS: &str = "coco-polygons.json";

fn numbered(stem: &str, number: usize) -> String {
    match number {
        0 => stem.to_owned(),
        number => format!("{stem}-{number}"),
    }
}
