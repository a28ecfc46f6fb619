//! Work on blocks of rows, on several threads when there are several blocks; and work that needs memory of its own.
//!
//! Where a block begins depends on the number of rows alone, so the number of threads changes no bit.

use rayon::prelude::*;
use std::ops::Range;

/// Rows of a block: a few of them keep a core's cache busy, and what is smaller than one is not worth a second thread.
const BLOCK: usize = 512;

/// Calls `work` with each block's rows and its part of every buffer. A buffer has a whole number of values a row, or none.
pub fn by_rows<const N: usize>(
    rows: usize,
    buffers: [&mut [f32]; N],
    work: impl Fn(Range<usize>, [&mut [f32]; N]) + Sync,
) {
    split(0..rows, buffers, &work);
}

fn split<const N: usize>(
    rows: Range<usize>,
    buffers: [&mut [f32]; N],
    work: &(impl Fn(Range<usize>, [&mut [f32]; N]) + Sync),
) {
    if rows.len() <= BLOCK {
        return work(rows, buffers);
    }
    let middle = rows.len().div_ceil(BLOCK) / 2 * BLOCK;
    let mut below: [&mut [f32]; N] = std::array::from_fn(|_| Default::default());
    let mut below_parts = below.iter_mut();
    let above = buffers.map(|buffer| {
        let (a, b) = buffer.split_at_mut(buffer.len() / rows.len() * middle);
        if let Some(part) = below_parts.next() {
            *part = b;
        }
        a
    });
    let place = rows.start + middle;
    rayon::join(|| split(rows.start..place, above, work), || split(place..rows.end, below, work));
}

/// Does some work on each item, at most `together` at a time, on any thread; what comes of it in the items' order. Each that is under
/// way has a lane, whose memory serves later items and calls: of a chunk of so many items, the i-th has the i-th lane.
pub fn on_lanes<L: Default + Send, T: Sync, R: Send>(
    lanes: &mut Vec<L>,
    together: usize,
    items: &[T],
    work: impl Fn(&mut L, &T) -> R + Sync,
) -> Vec<R> {
    let together = together.min(items.len()).max(1);
    lanes.resize_with(together.max(lanes.len()), L::default);
    let mut done = Vec::with_capacity(items.len());
    for items in items.chunks(together) {
        let under_way = lanes.par_iter_mut().zip(items).with_max_len(1);
        done.par_extend(under_way.map(|(lane, item)| work(lane, item)));
    }
    done
}

#[cfg(test)]
mod tests;
