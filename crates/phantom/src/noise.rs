//! Random fields over the plane: smooth noise and scattered points.

use crate::maths::{Point, floor, mix};

/// Mixes a seed and a lattice point into 32 well-spread bits.
pub fn hash(seed: u32, x: i32, y: i32) -> u32 {
    let mut h = seed ^ (x as u32).wrapping_mul(0x9e37_79b1) ^ (y as u32).wrapping_mul(0x85eb_ca77);
    h = (h ^ (h >> 15)).wrapping_mul(0x2c1b_3c6d);
    h = (h ^ (h >> 12)).wrapping_mul(0x297a_2d39);
    h ^ (h >> 15)
}

/// The lowest 16 bits of a hash as a number in `[0, 1)`.
fn fraction(bits: u32) -> f32 {
    (bits & 0xffff) as f32 / 65_536.0
}

/// Eight directions of length 1.4. A table, because a branch on random bits is slow.
const SLOPES: [Point; 8] =
    [[1.4, 0.0], [-1.4, 0.0], [0.0, 1.4], [0.0, -1.4], [1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]];

/// Smooth noise of mean 0, mostly within ±1, with about one hill in each unit square.
#[derive(Clone, Copy)]
pub struct Noise(pub u32);

impl Noise {
    pub fn at(self, p: Point) -> f32 {
        let (ix, iy) = (floor(p[0]), floor(p[1]));
        let (x, y) = (p[0] - ix as f32, p[1] - iy as f32);
        let corner = |dx: i32, dy: i32| {
            let (x, y) = (x - dx as f32, y - dy as f32);
            let slope = SLOPES[(hash(self.0, ix + dx, iy + dy) >> 29) as usize];
            slope[0] * x + slope[1] * y
        };
        let fade = |t: f32| t * t * t * (t * (t * 6.0 - 15.0) + 10.0);
        let (u, v) = (fade(x), fade(y));
        1.3 * mix(mix(corner(0, 0), corner(1, 0), u), mix(corner(0, 1), corner(1, 1), u), v)
    }

    /// Two octaves: hills with smaller hills on them.
    pub fn rough(self, p: Point) -> f32 {
        let finer = Noise(self.0 ^ 0x5bd1_e995);
        (self.at(p) + 0.5 * finer.at([p[0] * 2.03 + 17.3, p[1] * 2.03 - 9.1])) / 1.3
    }
}

/// One point in each unit square, at a random place in it.
#[derive(Clone, Copy)]
pub struct Cells(pub u32);

impl Cells {
    /// The squared distance to the nearest point, and a random number in `[0, 1)` that belongs to that point.
    pub fn nearest(self, p: Point) -> (f32, f32) {
        let (ix, iy) = (floor(p[0]), floor(p[1]));
        let (x, y) = (p[0] - ix as f32, p[1] - iy as f32);
        let mut best = (f32::MAX, 0.0);
        for dy in -1..=1 {
            for dx in -1..=1 {
                let h = hash(self.0, ix + dx, iy + dy);
                // Points keep off the edges of their squares, so that cells have similar sizes.
                let px = dx as f32 + 0.15 + 0.7 * fraction(h) - x;
                let py = dy as f32 + 0.15 + 0.7 * fraction(h >> 16) - y;
                let d = px * px + py * py;
                if d < best.0 {
                    best = (d, fraction(h.wrapping_mul(0x9e37_79b1) >> 8));
                }
            }
        }
        best
    }
}
