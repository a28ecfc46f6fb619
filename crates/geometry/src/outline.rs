//! Outlines of a mask along the edges of its pixels.

use crate::{Mask, Size};

impl Mask {
    /// The mask with its holes filled: background that no path leads out of, diagonal steps included.
    pub fn filled(&self) -> Mask {
        filled(self)
    }

    /// Its outlines, as `[x0, y0, x1, y1, ...]`, corners alone: clockwise around each part connected by sides, counter-clockwise
    /// around each of their holes. Pixel (x, y) covers the square from (x, y) to (x + 1, y + 1), so the areas enclosed, holes
    /// taken away, add up to the mask's.
    pub fn outlines(&self) -> Vec<Vec<u32>> {
        outlines(self)
    }
}

fn filled(mask: &Mask) -> Mask {
    let Size { height, width } = mask.size();
    let (w, h) = (i64::from(width), i64::from(height));
    let index = |x: i64, y: i64| (y * w + x) as usize;
    let mut outside = vec![false; mask.size().pixels()];
    let border = (0..w).flat_map(|x| [(x, 0), (x, h - 1)]).chain((0..h).flat_map(|y| [(0, y), (w - 1, y)]));
    let mut pending: Vec<(i64, i64)> = border.collect();
    while let Some((x, y)) = pending.pop() {
        let on_image = (0..w).contains(&x) && (0..h).contains(&y);
        if !on_image || outside[index(x, y)] || mask.get(x as u32, y as u32) {
            continue;
        }
        outside[index(x, y)] = true;
        pending.extend((-1..=1).flat_map(|dy| (-1..=1).map(move |dx| (x + dx, y + dy))));
    }
    Mask::from_fn(mask.size(), |x, y| !outside[index(x.into(), y.into())])
}

/// Steps along the edges: right, down, left, up, as (x, y).
const STEPS: [(i64, i64); 4] = [(1, 0), (0, 1), (-1, 0), (0, -1)];

fn outlines(mask: &Mask) -> Vec<Vec<u32>> {
    let Size { height, width } = mask.size();
    let (w, h) = (i64::from(width), i64::from(height));
    let inside = |x: i64, y: i64| (0..w).contains(&x) && (0..h).contains(&y) && mask.get(x as u32, y as u32);
    let corner = |x: i64, y: i64| (y * (w + 1) + x) as usize;
    // For each corner, the edges that begin there with foreground on their right: a bit for each step.
    let mut edges = vec![0u8; ((w + 1) * (h + 1)) as usize];
    for (x, y) in (0..h).flat_map(|y| (0..w).map(move |x| (x, y))).filter(|&(x, y)| inside(x, y)) {
        let beginnings = [(x, y), (x + 1, y), (x + 1, y + 1), (x, y + 1)];
        let beyond = [(x, y - 1), (x + 1, y), (x, y + 1), (x - 1, y)];
        for (step, (begin, beyond)) in beginnings.into_iter().zip(beyond).enumerate() {
            if !inside(beyond.0, beyond.1) {
                edges[corner(begin.0, begin.1)] |= 1 << step;
            }
        }
    }
    let mut outlines = Vec::new();
    for (x, y) in (0..=h).flat_map(|y| (0..=w).map(move |x| (x, y))) {
        // The first edge of an outline that a scan meets is a top edge.
        while edges[corner(x, y)] & 1 != 0 {
            outlines.push(follow(&mut edges, (x, y), corner));
        }
    }
    outlines
}

/// Follows an outline from a top edge back to its beginning and takes its edges away.
fn follow(edges: &mut [u8], start: (i64, i64), corner: impl Fn(i64, i64) -> usize) -> Vec<u32> {
    let (mut at, mut step) = (start, 0);
    let mut corners = Vec::new();
    loop {
        edges[corner(at.0, at.1)] &= !(1 << step);
        at = (at.0 + STEPS[step].0, at.1 + STEPS[step].1);
        // Turning right where two pixels touch at a corner stays on the same pixel.
        let turns = [1, 0, 3].map(|turn| (step + turn) % 4);
        let next = turns.into_iter().find(|next| edges[corner(at.0, at.1)] & (1 << next) != 0);
        // Back at the start, whose edge is gone: a corner, since the outline began with a top edge.
        if next != Some(step) {
            corners.extend([at.0 as u32, at.1 as u32]);
        }
        match next {
            Some(next) if at != start => step = next,
            _ => return corners,
        }
    }
}

#[cfg(test)]
mod tests;
