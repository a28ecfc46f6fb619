//! Growths on the mucosa: where they are and how they look.

use std::ops::Range;

use crate::camera::Camera;
use crate::draw::Draw;
use crate::grid::Grid;
use crate::maths::{add, bump, length, scale, smoothstep, sub, unit};
use crate::shape::Shape;
use crate::texture::Texture;

/// Shares of the image area that a growth covers, at the quantiles 0, 0.1, 0.25, 0.5, 0.75, 0.9 and 1.
const AREA: [(f32, f32); 7] =
    [(0.0, 0.007), (0.1, 0.025), (0.25, 0.055), (0.5, 0.11), (0.75, 0.19), (0.9, 0.29), (1.0, 0.48)];

/// Areas that a shape does not reach, and therefore far outside it.
const FAR: f32 = 1e4;

/// Width of the band of mucosa that a growth's brightness is compared with, in units.
const BAND: f32 = 12.0;

/// How much of what is behind it a growth hides, 0 to 1, at a distance to its outline in units.
pub fn hides(distance: f32) -> f32 {
    smoothstep(2.0, -8.0, distance)
}

/// One growth, before any pixel is known.
pub struct Growth {
    shape: Shape,
    texture: Texture,
    /// Contrast of the texture.
    grain: f32,
    /// Height over the mucosa as a share of the radius.
    height: f32,
    /// Mean brightness relative to the mucosa around it. Slightly below 1 on average, because the relief and the
    /// highlights, which the comparison leaves out, brighten growths more.
    tone: f32,
    /// Colour relative to the mucosa's, red, green and blue, near 1.
    tint: [f32; 3],
    /// Colour of the texture's bright parts relative to its dark parts.
    grain_tint: [f32; 3],
    /// Brightness of the contour line, mostly negative.
    rim: f32,
}

/// What growths do to the pixels.
pub struct Cover {
    /// Distance to the nearest outline in pixels, negative inside.
    pub distance: Grid,
    /// Height over the mucosa in pixels.
    pub height: Grid,
    /// What the light on each pixel is multiplied by, for red, green and blue.
    pub light: [Grid; 3],
}

/// Chooses one to three growths and places them in view.
pub fn growths(camera: &Camera, several_share: f32, draw: &mut Draw) -> Vec<Growth> {
    let count = if draw.chance(several_share) { draw.whole(2, 3) } else { 1 };
    let total = area_share(draw.unit());
    let mut found: Vec<Growth> = Vec::new();
    for _ in 0..count {
        // Several growths share the area, unequally, so that they fit beside one another.
        let share = if count == 1 { total } else { total.clamp(0.02, 0.2) * draw.range(0.3, 0.7) };
        let mut shape = Shape::new(share * camera.area(), share, draw);
        place(camera, &mut shape, &found, draw);
        found.push(Growth::new(camera, shape, draw));
    }
    found
}

fn area_share(quantile: f32) -> f32 {
    let mut share = AREA[0].1;
    for pair in AREA.windows(2) {
        let ((q0, a0), (q1, a1)) = (pair[0], pair[1]);
        if quantile >= q0 {
            share = a0 + (a1 - a0) * (quantile - q0) / (q1 - q0);
        }
    }
    share
}

/// Puts a shape where it is seen and keeps away from the others.
fn place(camera: &Camera, shape: &mut Shape, others: &[Growth], draw: &mut Draw) {
    let frame = [camera.width as f32, camera.height as f32];
    let half = shape.half_size();
    let over = (half[0] * 2.0 / frame[0]).max(half[1] * 2.0 / frame[1]);
    // About one in five is cut off by the border; the others lie inside.
    let cut = draw.chance(0.2);
    let most = if cut { 1.15 } else { 0.9 };
    if over > most {
        shape.shrink(most / over);
    }
    let half = shape.half_size();
    let mut best = ([frame[0] * 0.5, frame[1] * 0.5], f32::MIN);
    for _ in 0..16 {
        let mut at = [0.0; 2];
        for axis in 0..2 {
            let room = (frame[axis] * 0.5 - half[axis] - 4.0).max(0.0);
            // The middle of three is likelier to be near the centre, where an operator holds a finding.
            at[axis] = frame[axis] * 0.5 + room * (draw.range(-1.0, 1.0) + draw.range(-1.0, 1.0)) * 0.5;
        }
        if cut {
            let axis = draw.whole(0, 1) as usize;
            let out = frame[axis] * 0.5 - half[axis] * draw.range(0.45, 0.9);
            at[axis] = frame[axis] * 0.5 + draw.sign() * out;
        }
        let corners = [[-0.8, 0.0], [0.8, 0.0], [0.0, -0.8], [0.0, 0.8]];
        let hidden =
            corners.iter().filter(|c| camera.seen(add(at, [c[0] * half[0], c[1] * half[1]])) < 0.5).count()
                as f32;
        let gap = others
            .iter()
            .map(|other| {
                let reach = length(other.shape.half_size()) + length(half);
                length(sub(other.shape.centre(), at)) / reach.max(1.0)
            })
            .fold(1.0, f32::min);
        let score = gap - if cut { 0.0 } else { 0.3 * hidden };
        if score > best.1 {
            best = (at, score);
        }
    }
    shape.move_to(best.0);
    if seen_share(camera, shape) < 0.25 {
        shape.move_to([frame[0] * 0.5, frame[1] * 0.5]);
    }
}

/// The share of a shape that lies in the image and not behind its black border, to a few percent.
fn seen_share(camera: &Camera, shape: &Shape) -> f32 {
    let (centre, half) = (shape.centre(), shape.half_size());
    let (mut seen, mut all) = (0.0, 1e-3);
    for i in -7..=7 {
        for j in -7..=7 {
            let p = add(centre, [half[0] * i as f32 / 7.0, half[1] * j as f32 / 7.0]);
            if shape.relation(p).distance < 0.0 {
                let in_frame = camera.contains(p) && camera.seen(p) >= 0.5;
                all += 1.0;
                seen += if in_frame { 1.0 } else { 0.0 };
            }
        }
    }
    seen / all
}

impl Growth {
    fn new(camera: &Camera, shape: Shape, draw: &mut Draw) -> Self {
        // Redder or paler than the mucosa, either with the same probability.
        let redness = draw.sign() * draw.range(0.0, 0.06);
        let contrast = draw.range(0.3, 1.0);
        Self {
            shape,
            texture: Texture::new(camera.unit, draw),
            grain: draw.range(0.1, 0.17),
            height: draw.range(0.25, 0.62),
            tone: 0.95 + draw.range(-0.08, 0.08),
            tint: [1.0 + 0.25 * redness, 1.0 - redness, 1.0 - 0.8 * redness],
            grain_tint: [0.75, 1.0 + 0.3 * contrast, 1.0 + 0.2 * contrast],
            rim: if draw.chance(0.8) { draw.range(-0.24, -0.12) } else { draw.range(0.08, 0.16) },
        }
    }
}

impl Cover {
    /// Computes all growths' effect on all pixels.
    pub fn new(camera: &Camera, growths: &[Growth]) -> Self {
        let (width, height) = (camera.width, camera.height);
        let one = || Grid::new(width, height, 1.0);
        let mut cover = Self {
            distance: Grid::new(width, height, FAR),
            height: Grid::new(width, height, 0.0),
            light: [one(), one(), one()],
        };
        for growth in growths {
            cover.add(camera, growth);
        }
        cover
    }

    fn add(&mut self, camera: &Camera, growth: &Growth) {
        let pad = 24.0 * camera.unit;
        let (centre, half) = (growth.shape.centre(), growth.shape.half_size());
        let clip = |v: f32, end: usize| v.clamp(0.0, end as f32) as usize;
        let columns =
            clip(centre[0] - half[0] - pad, camera.width)..clip(centre[0] + half[0] + pad, camera.width);
        let rows =
            clip(centre[1] - half[1] - pad, camera.height)..clip(centre[1] + half[1] + pad, camera.height);
        let mut own = Grid::new(camera.width, camera.height, FAR);
        let mut dome = Grid::new(camera.width, camera.height, 0.0);
        for y in rows.clone() {
            for x in columns.clone() {
                let relation = growth.shape.relation([x as f32, y as f32]);
                *own.get_mut(x, y) = relation.distance;
                // A round profile: steepest at the outline, level over the spine.
                let q = (1.0 + relation.distance / relation.radius.max(1.0)).max(0.0);
                *dome.get_mut(x, y) = growth.height * relation.radius * (1.0 - q * q).max(0.0);
            }
        }
        // Rounds the creases where two parts of the shape meet.
        for _ in 0..2 {
            dome.blur((1.6 * camera.unit) as usize);
        }
        let gain = growth.gain(camera, &own, &dome, rows.clone(), columns.clone());
        for y in rows {
            for x in columns.clone() {
                let d = own.get(x, y);
                let inside = smoothstep(0.8, -0.8, d);
                let outside = growth.surroundings(camera, &own, x, y);
                let surface = if inside > 0.0 { growth.surface(camera, &own, &dome, x, y) } else { [1.0; 3] };
                for (light, surface) in self.light.iter_mut().zip(surface) {
                    let light = light.get_mut(x, y);
                    *light = *light * outside * (1.0 - inside) + surface * gain * inside;
                }
                let (distance, height) = (self.distance.get_mut(x, y), self.height.get_mut(x, y));
                *distance = distance.min(d);
                *height = height.max(dome.get(x, y));
            }
        }
    }
}

impl Growth {
    /// The factor that gives the growth its mean brightness relative to a band of mucosa around it. Shading, texture
    /// and the band's shadow change the means; without this, a threshold would find most growths.
    fn gain(
        &self,
        camera: &Camera,
        own: &Grid,
        dome: &Grid,
        rows: Range<usize>,
        columns: Range<usize>,
    ) -> f32 {
        let (mut inside, mut band) = ([0.0, 1e-3], [0.0, 1e-3]);
        // Every other pixel is plenty for a mean.
        for y in rows.step_by(2) {
            for x in columns.clone().step_by(2) {
                let (p, d) = ([x as f32, y as f32], own.get(x, y) / camera.unit);
                if d < 0.0 {
                    let light = camera.brightness(p, hides(d));
                    inside = [inside[0] + light * self.surface(camera, own, dome, x, y)[1], inside[1] + 1.0];
                } else if d < BAND {
                    let light = camera.brightness(p, 0.0);
                    band = [band[0] + light * self.surroundings(camera, own, x, y), band[1] + 1.0];
                }
            }
        }
        let (inside, band) = (inside[0] / inside[1], band[0] / band[1]);
        // Beside the dark lumen an equal mean would make the growth too dark to be one.
        self.tone * (band / inside.max(1e-3)).clamp(0.72, 1.3)
    }

    /// Light from the growth's own surface, red, green and blue: dome shading, texture and contour line.
    fn surface(&self, camera: &Camera, own: &Grid, dome: &Grid, x: usize, y: usize) -> [f32; 3] {
        let p = [x as f32, y as f32];
        let slope = dome.gradient(x, y);
        let light = camera.towards_light(p);
        let facing = 1.0 - 0.9 * (slope[0] * light[0] + slope[1] * light[1]);
        let shade = (facing / (1.0 + slope[0] * slope[0] + slope[1] * slope[1]).sqrt()).clamp(0.5, 1.45);
        let d = own.get(x, y) / camera.unit;
        let rim = 1.0 + self.rim * bump((d + 1.5) / 2.8);
        // The texture fades out under the contour line.
        let grain = self.grain * self.texture.at(p) * smoothstep(0.0, -3.0, d);
        let mut light = [shade * rim; 3];
        for (channel, light) in light.iter_mut().enumerate() {
            *light *= self.tint[channel] * (1.0 + grain * self.grain_tint[channel]);
        }
        light
    }

    /// Light on the mucosa beside the growth: the crevice around it and the shadow on its far side.
    fn surroundings(&self, camera: &Camera, own: &Grid, x: usize, y: usize) -> f32 {
        let d = own.get(x, y) / camera.unit;
        let p = [x as f32, y as f32];
        let towards = unit(camera.towards_light(p));
        let reach = 14.0 * self.height * camera.unit;
        let over = own.sample(add(p, scale(towards, reach))) / camera.unit;
        let shadow = 0.24 * smoothstep(3.0, -7.0, over);
        let crevice = 0.12 * bump((d - 0.5) / 4.0);
        (1.0 - shadow) * (1.0 - crevice)
    }
}
