//! The wall of the tube: folds, colour and what lies under it.

use crate::camera::Camera;
use crate::draw::Draw;
use crate::grid::Slow;
use crate::maths::{Point, add, floor, length, scale, smoothstep, sub};

use crate::noise::Noise;

/// Healthy tissue as seen by one camera.
pub struct Mucosa {
    /// Colour under full light, red, green and blue in 0 to 1.
    pub colour: [f32; 3],
    /// Redder and paler areas.
    patches: Slow,
    /// Shading by low hills, 1 on level ground.
    hills: Slow,
    warp: Noise,
    ring: Noise,
    /// Folds between the lumen and the camera.
    folds: f32,
    fold_depth: f32,
}

impl Mucosa {
    pub fn new(camera: &Camera, draw: &mut Draw) -> Self {
        let pale = draw.unit();
        let noise = Noise(draw.word());
        let patches = Slow::new(camera.width, camera.height, |p| {
            0.08 * noise.rough(scale(p, 1.0 / (60.0 * camera.unit)))
        });
        let (noise, depth) = (Noise(draw.word()), draw.range(0.14, 0.32));
        let towards = scale(draw.heading(), 5.0 * camera.unit);
        let hills = Slow::new(camera.width, camera.height, |p| {
            let height = |p: Point| noise.rough(scale(p, 1.0 / (44.0 * camera.unit)));
            1.0 + depth * (height(add(p, towards)) - height(sub(p, towards)))
        });
        Self {
            colour: [
                draw.range(0.74, 0.88),
                draw.range(0.40, 0.48) + 0.1 * pale,
                draw.range(0.30, 0.38) + 0.11 * pale,
            ],
            patches,
            hills,
            warp: Noise(draw.word()),
            ring: Noise(draw.word()),
            folds: draw.range(2.6, 6.0),
            fold_depth: draw.range(0.12, 0.34),
        }
    }

    /// Shading by the wall's own relief, about 1 on average.
    pub fn relief(&self, camera: &Camera, p: Point) -> f32 {
        self.hills.at(p) * (1.0 + self.fold(camera, p))
    }

    /// Folds are rings around the lumen, evenly spaced in depth and so in the inverse of the distance from it. Each
    /// is bright up to its crest, and the wall behind the crest, nearer to the lumen, lies in its shadow.
    fn fold(&self, camera: &Camera, p: Point) -> f32 {
        let from = sub(p, camera.lumen);
        let r = length(from);
        let size = camera.shortest();
        let near = 0.3 * size;
        let around = scale(from, 1.0 / r.max(1.0));
        let depth = self.folds * near / (r + near) * 1.6
            + 0.45 * self.warp.at(scale(around, 1.6))
            + 0.13 * self.warp.at(scale(p, 2.6 / size));
        let number = floor(depth) as f32;
        let phase = depth - number;
        // Folds do not go all the way round.
        let present =
            smoothstep(-0.3, 0.5, self.ring.at([around[0] * 1.1 + number * 7.31, around[1] * 1.1 + 3.7]));
        // The crest is a step; its width is about six pixels at any distance.
        let crest = (11.0 * self.folds * near / ((r + near) * (r + near))).clamp(0.01, 0.3);
        let profile = phase * phase * 1.5 - 0.5;
        let step = smoothstep(1.0, 1.0 - crest, phase);
        self.fold_depth * present * (profile * step + (1.0 - step) * -0.5)
    }

    /// Tissue colour with slow patches of redder and paler areas.
    pub fn tissue(&self, p: Point, blood: f32) -> [f32; 3] {
        let patch = self.patches.at(p);
        [
            self.colour[0] * (1.0 - 0.3 * patch) * (1.0 - 0.14 * blood),
            self.colour[1] * (1.0 + patch) * (1.0 - 0.42 * blood),
            self.colour[2] * (1.0 + 0.9 * patch) * (1.0 - 0.34 * blood),
        ]
    }
}
