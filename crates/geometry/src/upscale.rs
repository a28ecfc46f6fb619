use crate::Size;

/// Low-res mask logits at the original size of the image: bilinear (corners not aligned, no antialias) to the
/// model input, the padding cropped away, bilinear to the original size
/// (`transformers`, `SamImageProcessor._post_process_masks_pt`). Threshold the result at 0 for a mask.
///
/// `logits` is the `low_res x low_res` grid in row order, `input` the side of the model input, `resized` the image's
/// size within it, `original` its size before resizing.
///
/// # Panics
/// When `logits` does not hold `low_res * low_res` values or `resized` exceeds the input: mistakes of the caller.
pub fn upscale_logits(logits: &[f32], low_res: u32, input: u32, resized: Size, original: Size) -> Vec<f32> {
    assert_eq!(logits.len(), Size::square(low_res).pixels(), "logits cover the low-res grid");
    assert!(resized.height <= input && resized.width <= input, "the image lies within the model input");
    // Only the part that survives the crop is computed.
    let cropped = bilinear(logits, Size::square(low_res), Size::square(input), resized);
    bilinear(&cropped, resized, original, original)
}

/// For each of the first `keep` output positions of a resize `from -> to`: the two source indices and the weight
/// of the second, as PyTorch computes them in f32 (`UpSample.h`, `area_pixel_compute_source_index`).
fn taps(from: u32, to: u32, keep: u32) -> Vec<(usize, usize, f32)> {
    let scale = from as f32 / to as f32;
    let last = from as usize - 1;
    (0..keep)
        .map(|i| {
            let at = (scale * (i as f32 + 0.5) - 0.5).max(0.0);
            let low = (at as usize).min(last);
            (low, (low + 1).min(last), (at - low as f32).clamp(0.0, 1.0))
        })
        .collect()
}

/// Bilinear resize of `image` from `from` to `to`, of which only the top left `keep` is computed.
fn bilinear(image: &[f32], from: Size, to: Size, keep: Size) -> Vec<f32> {
    let columns = taps(from.width, to.width, keep.width);
    let width = from.width as usize;
    let mut out = Vec::with_capacity(keep.pixels());
    let mut row = vec![0.0f32; width];
    for (top, bottom, weight) in taps(from.height, to.height, keep.height) {
        let (a, b) = (&image[top * width..][..width], &image[bottom * width..][..width]);
        for (r, (a, b)) in row.iter_mut().zip(a.iter().zip(b)) {
            *r = (1.0 - weight) * a + weight * b;
        }
        out.extend(columns.iter().map(|&(l, r, w)| (1.0 - w) * row[l] + w * row[r]));
    }
    out
}

#[cfg(test)]
mod tests;
