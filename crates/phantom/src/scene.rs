//! One scene: image and exact mask.

use image::{GrayImage, Luma, Rgb, RgbImage};

use crate::camera::Camera;
use crate::draw::Draw;
use crate::finish::{Glints, Litter, Sensor};
use crate::growth::{Cover, growths, hides};
use crate::maths::{mix, smoothstep};
use crate::mucosa::Mucosa;
use crate::params::PhantomParams;
use crate::vessels::vessels;

/// An image and the growths on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scene {
    /// The image as a camera would give it.
    pub image: RgbImage,
    /// 255 on growths, 0 elsewhere, of the image's size. Never empty.
    pub mask: GrayImage,
}

/// Makes scene `index` of the dataset; the same arguments give the same bytes.
///
/// `params.images` is not looked at: scene 500 exists however many are written. Fields outside their range are
/// moved into it; [`PhantomParams::validate`] tells which.
pub fn scene(params: &PhantomParams, index: usize) -> Scene {
    let draw = &mut Draw::new(params.seed, index);
    let camera = Camera::new(params, draw);
    let mucosa = Mucosa::new(&camera, draw);
    let blood = vessels(&camera, draw);
    let growths = growths(&camera, params.several_share as f32, draw);
    let cover = Cover::new(&camera, &growths);
    let glints = Glints::new(&camera, draw);
    let litter = Litter::new(&camera, draw);
    let sensor = Sensor::new(draw);

    let (width, height) = (camera.width as u32, camera.height as u32);
    let mut image = RgbImage::new(width, height);
    let mut mask = GrayImage::new(width, height);
    for y in 0..camera.height {
        for x in 0..camera.width {
            let p = [x as f32, y as f32];
            let seen = camera.seen(p);
            let distance = cover.distance.get(x, y);
            let mut colour = [0.0; 3];
            if seen > 0.0 {
                // Growths hide the vessels and smooth the folds below them, but not all at once at the outline.
                let under = hides(distance / camera.unit);
                let blood = blood.get(x, y) * smoothstep(-3.0, 1.0, distance / camera.unit);
                let light = camera.brightness(p, under) * mix(mucosa.relief(&camera, p), 1.0, 0.8 * under);
                let glint = glints.at(&camera, p, cover.height.gradient(x, y));
                let (debris, bubble) = (litter.debris.get(x, y), litter.bubbles.get(x, y));
                let tissue = mucosa.tissue(p, blood);
                for channel in 0..3 {
                    let lit = mix(
                        tissue[channel] * cover.light[channel].get(x, y),
                        litter.debris_colour[channel],
                        debris,
                    );
                    colour[channel] = mix(lit * light, 1.3, glint) + bubble;
                }
            }
            let (px, py) = (x as u32, y as u32);
            image.put_pixel(px, py, Rgb(sensor.expose(colour, seen, x, y)));
            if distance < 0.0 && seen >= 0.5 {
                mask.put_pixel(px, py, Luma([255]));
            }
        }
    }
    Scene { image, mask }
}
