//! A plane of numbers, one per pixel.

use crate::maths::{Point, mix};

/// Row-major values over an image.
pub struct Grid {
    pub width: usize,
    pub height: usize,
    values: Vec<f32>,
}

impl Grid {
    pub fn new(width: usize, height: usize, value: f32) -> Self {
        Self { width, height, values: vec![value; width * height] }
    }

    pub fn get(&self, x: usize, y: usize) -> f32 {
        self.values[y * self.width + x]
    }

    pub fn get_mut(&mut self, x: usize, y: usize) -> &mut f32 {
        &mut self.values[y * self.width + x]
    }

    /// The value between pixels; outside the image, the one at its border.
    pub fn sample(&self, p: Point) -> f32 {
        let x = p[0].clamp(0.0, self.width as f32 - 1.0);
        let y = p[1].clamp(0.0, self.height as f32 - 1.0);
        let (x0, y0) = (x as usize, y as usize);
        let (x1, y1) = ((x0 + 1).min(self.width - 1), (y0 + 1).min(self.height - 1));
        let (u, v) = (x - x0 as f32, y - y0 as f32);
        mix(mix(self.get(x0, y0), self.get(x1, y0), u), mix(self.get(x0, y1), self.get(x1, y1), u), v)
    }

    /// The slope at a pixel.
    pub fn gradient(&self, x: usize, y: usize) -> Point {
        let (x0, x1) = (x.saturating_sub(1), (x + 1).min(self.width - 1));
        let (y0, y1) = (y.saturating_sub(1), (y + 1).min(self.height - 1));
        [
            (self.get(x1, y) - self.get(x0, y)) / (x1 - x0).max(1) as f32,
            (self.get(x, y1) - self.get(x, y0)) / (y1 - y0).max(1) as f32,
        ]
    }

    /// Replaces each value by the mean of the square reaching `radius` pixels in each direction.
    pub fn blur(&mut self, radius: usize) {
        let (width, height) = (self.width, self.height);
        let mut line = Vec::new();
        for y in 0..height {
            blur_line(&mut self.values, y * width, 1, width, radius, &mut line);
        }
        for x in 0..width {
            blur_line(&mut self.values, x, width, height, radius, &mut line);
        }
    }

    /// Calls `visit` with every pixel whose centre is within `reach` of `p`, and its distance from `p`.
    pub fn visit_disc(&mut self, p: Point, reach: f32, mut visit: impl FnMut(&mut f32, f32)) {
        let clip = |v: f32, end: usize| v.clamp(0.0, end as f32) as usize;
        for y in clip(p[1] - reach, self.height)..clip(p[1] + reach + 1.0, self.height) {
            for x in clip(p[0] - reach, self.width)..clip(p[0] + reach + 1.0, self.width) {
                let (dx, dy) = (x as f32 - p[0], y as f32 - p[1]);
                let d = (dx * dx + dy * dy).sqrt();
                if d <= reach {
                    visit(&mut self.values[y * self.width + x], d);
                }
            }
        }
    }
}

/// A function that changes slowly over the image, computed at every fourth pixel in each direction.
pub struct Slow(Grid);

const SLOW_STEP: usize = 4;

impl Slow {
    pub fn new(width: usize, height: usize, value: impl Fn(Point) -> f32) -> Self {
        let mut grid = Grid::new(width / SLOW_STEP + 2, height / SLOW_STEP + 2, 0.0);
        for y in 0..grid.height {
            for x in 0..grid.width {
                *grid.get_mut(x, y) = value([(x * SLOW_STEP) as f32, (y * SLOW_STEP) as f32]);
            }
        }
        Self(grid)
    }

    pub fn at(&self, p: Point) -> f32 {
        self.0.sample([p[0] / SLOW_STEP as f32, p[1] / SLOW_STEP as f32])
    }
}

/// Running mean over `count` values that are `step` apart; beyond the ends, the last value goes on.
fn blur_line(
    values: &mut [f32],
    start: usize,
    step: usize,
    count: usize,
    radius: usize,
    line: &mut Vec<f32>,
) {
    line.clear();
    line.extend((0..count).map(|i| values[start + i * step]));
    let at = |i: usize| line[i.saturating_sub(radius).min(count - 1)];
    // `at(i)` is the value `radius` before position i, so the window around 0 is at(0) to at(2 * radius).
    let mut sum: f32 = (0..=2 * radius).map(at).sum();
    for i in 0..count {
        values[start + i * step] = sum / (2 * radius + 1) as f32;
        sum += at(i + 2 * radius + 1) - at(i);
    }
}
