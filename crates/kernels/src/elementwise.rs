//! Sums and copies of slices, on several threads where they are long.

use crate::blocks::each_item;
use crate::vector::{each, each2, vectorised};

/// Numbers that one thread takes at a time.
const CHUNK: usize = 1 << 17;

/// `y = x`.
pub fn copy(y: &mut [f32], x: &[f32]) {
    in_chunks(y, x, |y, x| y.copy_from_slice(x));
}

/// `y += x`.
pub fn add_to(y: &mut [f32], x: &[f32]) {
    in_chunks(y, x, |y, x| {
        vectorised(
            #[inline(always)]
            || each(y, x, |y, x| *y += x),
        );
    });
}

/// `y = a + b`, where `b` may be shorter and is then repeated: one for all samples.
///
/// # Panics
/// When the length of `a` is no multiple of that of `b`, or `y` has another length.
pub fn sum_of(y: &mut [f32], a: &[f32], b: &[f32]) {
    assert!(
        y.len() == a.len() && a.len().is_multiple_of(b.len()),
        "{} + {} to {}",
        a.len(),
        b.len(),
        y.len()
    );
    let mut parts = Vec::new();
    for (y, a) in y.chunks_mut(b.len()).zip(a.chunks(b.len())) {
        parts.extend(y.chunks_mut(CHUNK).zip(a.chunks(CHUNK).zip(b.chunks(CHUNK))));
    }
    each_item(parts, |(y, (a, b))| {
        vectorised(
            #[inline(always)]
            || each2(y, a, b, |y, a, b| *y = a + b),
        );
    });
}

fn in_chunks(y: &mut [f32], x: &[f32], work: impl Fn(&mut [f32], &[f32]) + Sync + Send) {
    assert_eq!(y.len(), x.len(), "lengths of two slices");
    if y.len() <= CHUNK {
        return work(y, x);
    }
    each_item(y.chunks_mut(CHUNK).zip(x.chunks(CHUNK)).collect(), |(y, x)| work(y, x));
}

/// Adds parts of one length, one after the other, to the first of them.
pub(crate) fn sum_parts(parts: &mut [f32], length: usize) {
    let (first, rest) = parts.split_at_mut(length);
    rest.chunks_exact(length).for_each(|part| add_to(first, part));
}

#[cfg(test)]
mod tests;
