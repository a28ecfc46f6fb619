//! What the camera adds: glints of wet surfaces, bubbles, debris, colour cast, noise and the border.

use crate::camera::Camera;
use crate::draw::Draw;
use crate::grid::{Grid, Slow};
use crate::maths::{Point, add, bump, dot, length, mix, scale, smoothstep, sub};
use crate::noise::{Noise, hash};

/// Highlights where the wet surface mirrors the light.
pub struct Glints {
    film: Noise,
    /// How wet each place is, 0 to 1.
    wet: Slow,
    strength: f32,
}

impl Glints {
    pub fn new(camera: &Camera, draw: &mut Draw) -> Self {
        let (noise, amount) = (Noise(draw.word()), draw.range(-0.7, -0.05));
        Self {
            film: Noise(draw.word()),
            wet: Slow::new(camera.width, camera.height, |p| {
                smoothstep(-0.1, 0.3, noise.at(scale(p, 1.0 / (48.0 * camera.unit))) + amount)
            }),
            strength: draw.range(0.7, 1.0),
        }
    }

    /// How much of the pixel is white, 0 to 1; `slope` is that of the growth under it.
    pub fn at(&self, camera: &Camera, p: Point, slope: Point) -> f32 {
        let wet = self.wet.at(p);
        if wet == 0.0 {
            return 0.0;
        }
        let film = |p: Point| self.film.at(scale(p, 1.0 / (15.0 * camera.unit)));
        let here = film(p);
        let tilt = [
            film(add(p, [camera.unit, 0.0])) - here + 0.5 * slope[0],
            film(add(p, [0.0, camera.unit])) - here + 0.5 * slope[1],
        ];
        // The surface mirrors where its tilt turns the ray back into the lens, which is beside the light.
        let off = add(tilt, scale(camera.towards_light(p), 0.28));
        let close = dot(off, off);
        self.strength * wet * smoothstep(0.0042, 0.0012, close) * smoothstep(-0.1, 0.25, here)
    }
}

/// A round thing in front of the tissue.
struct Spot {
    at: Point,
    radius: f32,
    bubble: bool,
    noise: Noise,
}

/// Bubbles and debris.
pub struct Litter {
    /// How much of the pixel each covers, 0 to 1, and the brightness bubbles add, -1 to 1.
    pub debris: Grid,
    pub bubbles: Grid,
    pub debris_colour: [f32; 3],
}

impl Litter {
    pub fn new(camera: &Camera, draw: &mut Draw) -> Self {
        let mut spots = Vec::new();
        let anywhere =
            |draw: &mut Draw| [draw.unit() * camera.width as f32, draw.unit() * camera.height as f32];
        if draw.chance(0.45) {
            let cluster = anywhere(draw);
            for _ in 0..draw.whole(2, 14) {
                let far = draw.unit() * draw.unit() * 45.0 * camera.unit;
                let at = add(cluster, scale(draw.heading(), far));
                let radius = draw.range(1.6, 5.0) * camera.unit;
                spots.push(Spot { at, radius, bubble: true, noise: Noise(0) });
            }
        }
        if draw.chance(0.4) {
            for _ in 0..draw.whole(1, 7) {
                let (at, radius) = (anywhere(draw), draw.range(1.5, 6.0) * camera.unit);
                spots.push(Spot { at, radius, bubble: false, noise: Noise(draw.word()) });
            }
        }
        let mut litter = Self {
            debris: Grid::new(camera.width, camera.height, 0.0),
            bubbles: Grid::new(camera.width, camera.height, 0.0),
            debris_colour: [draw.range(0.6, 0.85), draw.range(0.45, 0.62), draw.range(0.15, 0.3)],
        };
        for spot in &spots {
            litter.add(camera, spot);
        }
        litter
    }

    fn add(&mut self, camera: &Camera, spot: &Spot) {
        let r = spot.radius;
        if spot.bubble {
            // A dark outline, a bright one inside it on the far side, and a glint on the near side.
            self.bubbles.visit_disc(spot.at, r + 1.0, |value, d| {
                *value -= 0.13 * bump((d - r) / (0.28 * r + 0.7));
                *value += 0.1 * bump((d - 0.75 * r) / (0.3 * r + 0.5));
            });
            let glint = add(spot.at, scale(camera.towards_light(spot.at), 0.55 * r));
            self.bubbles.visit_disc(glint, 0.3 * r + 0.8, |value, d| {
                *value += 0.6 * bump(d / (0.3 * r + 0.8));
            });
            return;
        }
        let reach = (1.6 * r).ceil();
        let clip = |v: f32, end: usize| v.clamp(0.0, end as f32) as usize;
        for y in clip(spot.at[1] - reach, camera.height)..clip(spot.at[1] + reach, camera.height) {
            for x in clip(spot.at[0] - reach, camera.width)..clip(spot.at[0] + reach, camera.width) {
                let from = sub([x as f32, y as f32], spot.at);
                let rough = spot.noise.rough(scale(from, 0.9 / r));
                let cover = smoothstep(1.05, 0.75, length(from) / r + 0.45 * rough);
                let value = self.debris.get_mut(x, y);
                *value = value.max(0.75 * cover * (0.85 + 0.15 * rough));
            }
        }
    }
}

/// Colour cast, exposure, sensor noise and border of one image.
pub struct Sensor {
    gain: [f32; 3],
    noise: f32,
    seed: u32,
    /// Level of the black border.
    black: f32,
}

impl Sensor {
    pub fn new(draw: &mut Draw) -> Self {
        let exposure = draw.range(0.9, 1.1);
        let (warm, green) = (draw.range(-0.07, 0.07), draw.range(-0.04, 0.04));
        Self {
            gain: [exposure * (1.0 + warm), exposure * (1.0 + green), exposure * (1.0 - warm)],
            noise: draw.range(0.6, 1.4),
            seed: draw.word(),
            black: draw.range(0.0, 5.0),
        }
    }

    /// The pixel's bytes for a colour in 0 to 1.
    pub fn expose(&self, colour: [f32; 3], seen: f32, x: usize, y: usize) -> [u8; 3] {
        let bits = hash(self.seed, x as i32, y as i32);
        // The sum of two bytes is nearly enough a bell curve. Most of the noise is in all channels alike, and
        // there is none on the border.
        let bell =
            |shift: u32| (((bits >> shift) & 0xf) as f32 + ((bits >> (shift + 4)) & 0xf) as f32 - 15.0) / 6.5;
        let common = 0.75 * bell(0);
        let mut bytes = [0; 3];
        for (channel, byte) in bytes.iter_mut().enumerate() {
            let light = (colour[channel] * self.gain[channel]).max(0.0);
            // A soft shoulder: highlights approach white instead of being cut off.
            let level =
                if light > 0.75 { 0.75 + 0.25 * (light - 0.75) / (light - 0.75 + 0.25) } else { light };
            let noise = self.noise * (common + 0.6 * bell(8 + 8 * channel as u32));
            *byte = (mix(self.black, 255.0 * level + noise, seen) + 0.5).clamp(0.0, 255.0) as u8;
        }
        bytes
    }
}
