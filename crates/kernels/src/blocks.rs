//! Work on blocks of rows or on items, on several threads where there are several of them.
//!
//! Where a block begins depends on sizes alone, so the number of threads changes no bit.

use rayon::prelude::*;
use std::ops::Range;

/// Rows of a block: products with so many rows are fast, and smaller blocks are not worth a second thread.
const BLOCK: usize = 512;

/// Calls `work` with the rows of each block and the block's part of every buffer. A buffer has a whole number of values for each
/// row, or none at all. No block has rows of two samples, each of which has `sample` rows.
///
/// So the result for a sample does not depend on the samples beside it, where `work` treats blocks independently.
pub fn by_rows<const N: usize>(
    rows: usize,
    sample: usize,
    buffers: [&mut [f32]; N],
    work: impl Fn(Range<usize>, [&mut [f32]; N]) + Sync,
) {
    if rows <= BLOCK.min(sample) {
        if rows > 0 {
            work(0..rows, buffers);
        }
        return;
    }
    let mut rest = buffers.map(|buffer| (buffer.len() / rows, buffer));
    let mut blocks = Vec::with_capacity(rows.div_ceil(BLOCK.min(sample)));
    let mut start = 0;
    while start < rows {
        let end_of_sample = (start / sample + 1) * sample;
        let end = (start + BLOCK).min(end_of_sample).min(rows);
        let parts = rest.each_mut().map(|(width, buffer)| {
            let (part, after) = std::mem::take(buffer).split_at_mut(*width * (end - start));
            *buffer = after;
            part
        });
        blocks.push((start..end, parts));
        start = end;
    }
    each_item(blocks, |(range, parts)| work(range, parts));
}

/// Calls `work` with each item, on any thread.
pub fn each_item<T: Send>(items: Vec<T>, work: impl Fn(T) + Sync + Send) {
    if items.len() == 1 {
        items.into_iter().for_each(work);
    } else {
        items.into_par_iter().with_max_len(1).for_each(work);
    }
}

/// [`each_item`] with memory that serves several items, one after the other.
pub fn each_item_with<S: Default, T: Send>(items: Vec<T>, work: impl Fn(&mut S, T) + Sync + Send) {
    items.into_par_iter().with_max_len(1).for_each_init(S::default, |memory, item| work(memory, item));
}

#[cfg(test)]
mod tests;
