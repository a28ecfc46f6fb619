//! Where the camera is: image size, scale, lumen, light and the window it looks through.

use crate::draw::Draw;
use crate::maths::{Point, length, smoothstep, sub};
use crate::params::PhantomParams;

/// One view down the tube.
pub struct Camera {
    pub width: usize,
    pub height: usize,
    /// Pixels per length unit. The longest side is 256 units, so a detail of a given size in units keeps its size
    /// when images are scaled to the same longest side, whatever their own.
    pub unit: f32,
    /// The point of the image nearest to the light.
    pub light: Point,
    /// Where the tube vanishes; outside the image when the camera looks at a wall.
    pub lumen: Point,
    /// Radius of the dark at the lumen in pixels.
    pub dark: f32,
    /// How fast the light falls off towards the corners.
    falloff: f32,
    window: Window,
}

/// The part of the frame that shows tissue.
enum Window {
    Whole,
    /// A rectangle without its corners: margins in pixels, and how much of each corner goes.
    Octagon {
        margin: Point,
        corner: f32,
    },
    Rounded {
        margin: Point,
        radius: f32,
    },
}

impl Camera {
    pub fn new(params: &PhantomParams, draw: &mut Draw) -> Self {
        let (low, high) = params.widths();
        let width = draw.whole(low, high) as f32;
        // Mostly landscape, as video frames are, sometimes nearly square, rarely upright.
        let aspect = match draw.weighted(&[0.5, 0.38, 0.12]) {
            0 => draw.range(1.15, 1.3),
            1 => draw.range(1.3, 1.6),
            _ => draw.range(0.92, 1.12),
        };
        let height = (width / aspect).floor();
        let unit = width.max(height) / 256.0;
        let centre = [width * 0.5, height * 0.5];
        let shortest = width.min(height);

        let light_from = draw.heading();
        let light_off = draw.range(0.1, 0.3) * shortest;
        let lumen_from = draw.heading();
        // Half of the views show the lumen; the others look at a wall, and folds cross the image as wide arcs.
        let lumen_off = match draw.chance(0.55) {
            true => draw.range(0.12, 0.5),
            false => draw.range(0.75, 1.3),
        } * shortest;
        let margin = [draw.range(0.0, 0.05) * width, draw.range(0.0, 0.04) * height];
        let window = match draw.weighted(&[0.5, 0.3, 0.2]) {
            0 => Window::Whole,
            1 => Window::Octagon { margin, corner: draw.range(0.1, 0.24) * shortest },
            _ => Window::Rounded { margin, radius: draw.range(0.12, 0.42) * shortest },
        };
        Self {
            width: width as usize,
            height: height as usize,
            unit,
            light: [centre[0] + light_from[0] * light_off, centre[1] + light_from[1] * light_off],
            lumen: [centre[0] + lumen_from[0] * lumen_off, centre[1] + lumen_from[1] * lumen_off],
            dark: draw.range(0.08, 0.2) * shortest,
            falloff: draw.range(0.3, 0.8),
            window,
        }
    }

    pub fn shortest(&self) -> f32 {
        self.width.min(self.height) as f32
    }

    pub fn area(&self) -> f32 {
        (self.width * self.height) as f32
    }

    /// Whether `p` is in the image.
    pub fn contains(&self, p: Point) -> bool {
        (0.0..self.width as f32).contains(&p[0]) && (0.0..self.height as f32).contains(&p[1])
    }

    /// 1 where tissue is seen, 0 on the black border, smooth over two pixels.
    pub fn seen(&self, p: Point) -> f32 {
        let half = [self.width as f32 * 0.5, self.height as f32 * 0.5];
        let d = [(p[0] + 0.5 - half[0]).abs(), (p[1] + 0.5 - half[1]).abs()];
        let outside = match self.window {
            Window::Whole => return 1.0,
            Window::Octagon { margin, corner } => {
                let over = [d[0] - half[0] + margin[0], d[1] - half[1] + margin[1]];
                over[0].max(over[1]).max((over[0] + over[1] + corner) * 0.707)
            }
            Window::Rounded { margin, radius } => {
                let over = [d[0] - half[0] + margin[0] + radius, d[1] - half[1] + margin[1] + radius];
                length([over[0].max(0.0), over[1].max(0.0)]) - radius + over[0].max(over[1]).min(0.0)
            }
        };
        smoothstep(1.0, -1.0, outside)
    }

    /// Light that reaches the wall at `p`: less towards the corners, little in the lumen.
    /// A growth stands before the lumen by `cover`, 0 to 1, and is nearly as bright as the wall.
    pub fn brightness(&self, p: Point, cover: f32) -> f32 {
        let away = length(sub(p, self.light)) / self.shortest();
        let depth = length(sub(p, self.lumen)) / self.dark;
        let lumen = 0.84 / (1.0 + depth * depth);
        (1.0 - lumen * (1.0 - 0.7 * cover)) * 1.08 / (1.0 + self.falloff * away * away)
    }

    /// The direction in the image plane from `p` to the light, shorter near it, at most about 1 long.
    pub fn towards_light(&self, p: Point) -> Point {
        let to = sub(self.light, p);
        let scale = 1.0 / (length(to) + 0.22 * self.shortest());
        [to[0] * scale, to[1] * scale]
    }
}
