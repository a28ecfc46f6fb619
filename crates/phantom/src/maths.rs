//! Small functions in place of the platform's: the same bits on every machine.

use std::f32::consts::TAU;

/// A point or a vector in pixels, `y` downwards.
pub type Point = [f32; 2];

pub fn add(a: Point, b: Point) -> Point {
    [a[0] + b[0], a[1] + b[1]]
}

pub fn sub(a: Point, b: Point) -> Point {
    [a[0] - b[0], a[1] - b[1]]
}

pub fn scale(a: Point, by: f32) -> Point {
    [a[0] * by, a[1] * by]
}

pub fn dot(a: Point, b: Point) -> f32 {
    a[0] * b[0] + a[1] * b[1]
}

pub fn length(a: Point) -> f32 {
    dot(a, a).sqrt()
}

/// The vector of length 1 in the direction of `a`; zero for zero.
pub fn unit(a: Point) -> Point {
    scale(a, 1.0 / length(a).max(1e-6))
}

pub fn mix(a: f32, b: f32, t: f32) -> f32 {
    a + (b - a) * t
}

/// 0 at `from`, 1 at `to`, smooth between; `from > to` falls instead of rising.
pub fn smoothstep(from: f32, to: f32, x: f32) -> f32 {
    let t = ((x - from) / (to - from)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// A smooth bump: 1 at 0, falling to 0 at ±1.
pub fn bump(x: f32) -> f32 {
    let t = (1.0 - x * x).max(0.0);
    t * t
}

/// The largest whole number not above `x`. `f32::floor` is a call into the system's library on plain x86-64.
pub fn floor(x: f32) -> i32 {
    let whole = x as i32;
    whole - i32::from(whole as f32 > x)
}

/// The sine of an angle in turns, to about 4e-6.
pub fn sin_turns(turns: f32) -> f32 {
    let mut x = turns - floor(turns + 0.5) as f32;
    if x > 0.25 {
        x = 0.5 - x;
    } else if x < -0.25 {
        x = -0.5 - x;
    }
    let a = x * TAU;
    let b = a * a;
    a * (1.0 + b * (-1.0 / 6.0 + b * (1.0 / 120.0 + b * (-1.0 / 5040.0 + b / 362_880.0))))
}

/// The unit vector at an angle in turns, from `x` towards `y`.
pub fn direction(turns: f32) -> Point {
    [sin_turns(turns + 0.25), sin_turns(turns)]
}

/// The smaller of two distances, with the crease between them rounded over `width`.
pub fn smooth_min(a: f32, b: f32, width: f32) -> f32 {
    let h = (width - (a - b).abs()).max(0.0) / width;
    a.min(b) - h * h * width * 0.25
}

#[cfg(test)]
mod tests;
