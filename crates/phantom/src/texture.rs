//! The surface of a growth: pits, granules or ridges, of another scale than anything in the mucosa.

use crate::draw::Draw;
use crate::maths::{Point, add, dot, scale, smoothstep};
use crate::noise::{Cells, Noise};

/// A pattern over the plane.
pub struct Texture {
    pattern: Pattern,
    /// Distance between two details in pixels.
    spacing: f32,
    along: Point,
    /// How much longer details are along `along` than across.
    stretch: f32,
    warp: Noise,
    depth: Noise,
}

enum Pattern {
    /// Dark openings of glands on bright ground.
    Pits(Cells),
    /// Bright grains with dark gaps.
    Granules(Cells),
    /// Winding bright ridges, as on a brain.
    Ridges(Noise),
}

impl Texture {
    /// A pattern for a camera with `unit` pixels per length unit.
    pub fn new(unit: f32, draw: &mut Draw) -> Self {
        // The pattern must survive scaling to a longest side of 256 pixels, where one unit is one pixel.
        let spacing = draw.range(5.4, 8.0) * unit;
        let seed = draw.word();
        let pattern = match draw.weighted(&[0.35, 0.3, 0.35]) {
            0 => Pattern::Pits(Cells(seed)),
            1 => Pattern::Granules(Cells(seed)),
            _ => Pattern::Ridges(Noise(seed)),
        };
        Self {
            pattern,
            spacing,
            along: draw.heading(),
            stretch: draw.range(1.0, 1.7),
            warp: Noise(draw.word()),
            depth: Noise(draw.word()),
        }
    }

    /// The pattern at `p`, about -1 to 1.
    pub fn at(&self, p: Point) -> f32 {
        let across = [-self.along[1], self.along[0]];
        let q = scale([dot(p, self.along) / self.stretch, dot(p, across)], 1.0 / self.spacing);
        let q = add(q, scale([self.warp.at(scale(q, 0.3)), self.warp.at(scale(q, -0.3))], 0.5));
        // Patterns are clearer in some places than in others.
        let depth = 0.85 + 0.45 * self.depth.at(scale(q, 0.22)).clamp(-1.0, 1.0);
        depth
            * match self.pattern {
                Pattern::Pits(cells) => {
                    let (d, which) = cells.nearest(q);
                    smoothstep(0.02, 0.16 + 0.08 * which, d) * 1.5 - 1.0
                }
                Pattern::Granules(cells) => {
                    let (d, which) = cells.nearest(q);
                    0.75 + 0.35 * which - 4.2 * d.min(0.45)
                }
                Pattern::Ridges(noise) => {
                    let n = noise.at(scale(q, 0.8)).abs();
                    1.0 - 2.0 * smoothstep(0.0, 0.45, n)
                }
            }
    }
}
