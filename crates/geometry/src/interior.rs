//! The point of a mask that is farthest from its edge.

use crate::{Mask, Nearest};

impl Mask {
    /// The pixel `[x, y]` farthest from the mask's edge; `None` when the mask is empty.
    ///
    /// The distance is the Euclidean one to the nearest pixel that is not in the mask, those outside the image included, so
    /// that a mask at the border has its edge there; it is exact, as squares of whole numbers. Of equal pixels the first in
    /// row order. (The first point of SAM's own evaluation, Kirillov et al., 2023, section 7.1 and appendix D.1.)
    pub fn most_interior(&self) -> Option<[u32; 2]> {
        let (width, height) = (self.size().width, self.size().height);
        // The image with a frame of one pixel around it, which is in no mask.
        let framed = (0..height + 2).flat_map(|y| (0..width + 2).map(move |x| (x, y)));
        let outside = framed.map(|(x, y)| {
            let within = (1..=width).contains(&x) && (1..=height).contains(&y);
            !(within && self.get(x - 1, y - 1))
        });
        let outside = Nearest::of(width as usize + 2, outside);
        let mut best = (0, None);
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            let squared = outside.squared(x as usize + 1, y as usize + 1, best.0);
            if squared > best.0 {
                best = (squared, Some([x, y]));
            }
        }
        best.1
    }
}

#[cfg(test)]
mod tests;
