//! Outlines of growths: smooth closed curves of natural forms.

use crate::draw::Draw;
use crate::maths::{Point, add, direction, dot, length, mix, scale, smooth_min, smoothstep, sub};
use crate::noise::Noise;

/// A disc on the spine of a shape; neighbours are joined by a tapering bar.
#[derive(Clone, Copy)]
struct Knot {
    at: Point,
    radius: f32,
}

/// The form of a growth. Few growths fill their box: they lie oblique, bend along a fold or consist of lobes.
#[derive(Clone, Copy)]
enum Form {
    /// A sessile dome, nearly round.
    Dome,
    /// A long ridge, mostly oblique.
    Long,
    /// A bent growth, as one that lies along a fold.
    Bent,
    /// Lobes in a winding row.
    Lobed,
    /// A head on a stalk.
    Stalked,
    /// A flat lesion with an irregular outline.
    Flat,
}

/// A shape in the image: an implicit outline, negative inside.
pub struct Shape {
    knots: Vec<Knot>,
    centre: Point,
    /// The middle of the box in shape coordinates, which lies at `centre` in the image.
    middle: Point,
    size: f32,
    /// Half the width and height of the box in shape coordinates.
    half: Point,
    /// How far joints between neighbours are rounded, in shape coordinates.
    joint: f32,
    wobble: Noise,
    wobble_depth: f32,
}

/// Where a pixel lies relative to an outline.
#[derive(Clone, Copy)]
pub struct Relation {
    /// Distance to the outline in pixels, negative inside.
    pub distance: f32,
    /// Radius of the nearest part in pixels.
    pub radius: f32,
}

/// Side of the square grid on which shapes are measured.
const MEASURE: usize = 72;
/// The square of shape coordinates that every shape fits in, from minus to plus this.
const EXTENT: f32 = 2.4;

impl Shape {
    /// A shape of about `area` square pixels, around the origin. `share` is the area's share of the image.
    pub fn new(area: f32, share: f32, draw: &mut Draw) -> Self {
        // Narrow forms of a large area would leave the image.
        let weights = match share {
            s if s > 0.3 => [0.2, 0.15, 0.35, 0.1, 0.0, 0.2],
            s if s > 0.16 => [0.14, 0.2, 0.26, 0.16, 0.1, 0.14],
            _ => [0.17, 0.23, 0.2, 0.15, 0.14, 0.11],
        };
        let form = match draw.weighted(&weights) {
            0 => Form::Dome,
            1 => Form::Long,
            2 => Form::Bent,
            3 => Form::Lobed,
            4 => Form::Stalked,
            _ => Form::Flat,
        };
        let (knots, joint) = spine(form, draw);
        let wobble_depth = match form {
            Form::Flat => draw.range(0.16, 0.24),
            Form::Dome => draw.range(0.1, 0.18),
            _ => draw.range(0.07, 0.14),
        };
        let mut shape = Self {
            knots,
            centre: [0.0; 2],
            middle: [0.0; 2],
            size: 1.0,
            half: [0.0; 2],
            joint,
            wobble: Noise(draw.word()),
            wobble_depth,
        };
        let (inside, low, high) = shape.measure();
        shape.size = (area / inside.max(1e-3)).sqrt();
        shape.middle = scale(add(low, high), 0.5);
        shape.half = scale(sub(high, low), 0.5);
        shape
    }

    /// Half the width and height of the shape in pixels.
    pub fn half_size(&self) -> Point {
        scale(self.half, self.size)
    }

    pub fn move_to(&mut self, centre: Point) {
        self.centre = centre;
    }

    pub fn shrink(&mut self, by: f32) {
        self.size *= by;
    }

    pub fn centre(&self) -> Point {
        self.centre
    }

    /// Where the pixel at `p` lies.
    pub fn relation(&self, p: Point) -> Relation {
        let mut relation = self.unit_relation(add(self.middle, scale(sub(p, self.centre), 1.0 / self.size)));
        relation.distance *= self.size;
        relation.radius *= self.size;
        relation
    }

    fn unit_relation(&self, p: Point) -> Relation {
        let waves = [self.wobble.at(scale(p, 1.15)), self.wobble.at([p[1] * 1.15 + 40.0, p[0] * 1.15])];
        let p = add(p, scale(waves, self.wobble_depth));
        let mut distance = f32::MAX;
        let mut radius = 1.0;
        for pair in self.knots.windows(2) {
            let along = sub(pair[1].at, pair[0].at);
            let t = (dot(sub(p, pair[0].at), along) / dot(along, along).max(1e-6)).clamp(0.0, 1.0);
            let r = mix(pair[0].radius, pair[1].radius, t);
            let d = length(sub(p, add(pair[0].at, scale(along, t)))) - r;
            if distance == f32::MAX {
                (distance, radius) = (d, r);
                continue;
            }
            // The nearer part counts; where two are about as near, radii blend as the distances do.
            radius = mix(radius, r, smoothstep(-self.joint, self.joint, distance - d));
            distance = smooth_min(distance, d, self.joint);
        }
        Relation { distance, radius }
    }

    /// Area and corners of the box in shape coordinates.
    fn measure(&self) -> (f32, Point, Point) {
        let step = 2.0 * EXTENT / MEASURE as f32;
        let (mut count, mut low, mut high) = (0, [EXTENT; 2], [-EXTENT; 2]);
        for y in 0..MEASURE {
            for x in 0..MEASURE {
                let p = [(x as f32 + 0.5) * step - EXTENT, (y as f32 + 0.5) * step - EXTENT];
                if self.unit_relation(p).distance < 0.0 {
                    count += 1;
                    for axis in 0..2 {
                        low[axis] = low[axis].min(p[axis] - 0.5 * step);
                        high[axis] = high[axis].max(p[axis] + 0.5 * step);
                    }
                }
            }
        }
        (count as f32 * step * step, low, high)
    }
}

/// Knots of a form in shape coordinates, and how far their joints are rounded.
fn spine(form: Form, draw: &mut Draw) -> (Vec<Knot>, f32) {
    // Near a diagonal, with a spread that still includes upright and level ones.
    let oblique = 0.125 + 0.25 * draw.whole(0, 1) as f32 + draw.range(-0.06, 0.06) + draw.range(-0.04, 0.04);
    match form {
        Form::Dome => {
            let half = draw.range(0.1, 0.45);
            (arc(draw.unit(), 0.0, half, 3, |_| 0.9), 0.3)
        }
        Form::Long => {
            let (half, thin) = (draw.range(1.1, 1.45), draw.range(0.38, 0.58));
            let (bend, taper) = (draw.range(-0.16, 0.16), draw.range(-0.3, 0.3));
            (arc(oblique, bend, half, 8, |t| thin * (1.0 + taper * (t - 0.5)) * belly(t, 0.3)), 0.12)
        }
        Form::Bent => {
            let (half, thin) = (draw.range(1.15, 1.5), draw.range(0.4, 0.58));
            let (bend, taper) = (draw.sign() * draw.range(0.3, 0.56), draw.range(-0.4, 0.4));
            let start = draw.unit();
            (arc(start, bend, half, 12, |t| thin * (1.0 + taper * (t - 0.5)) * belly(t, 0.25)), 0.12)
        }
        Form::Lobed => {
            let lobes = draw.whole(3, 4);
            let mut knots: Vec<Knot> = Vec::new();
            let (mut at, mut heading) = ([0.0; 2], oblique);
            for _ in 0..lobes {
                let radius = draw.range(0.4, 0.68);
                if let Some(last) = knots.last() {
                    heading += draw.range(-0.13, 0.13);
                    at = add(last.at, scale(direction(heading), 0.8 * (last.radius + radius)));
                    // A waist between two lobes.
                    let waist = 0.62 * last.radius.min(radius);
                    let middle = scale(add(last.at, at), 0.5);
                    knots.push(Knot { at: middle, radius: waist });
                }
                knots.push(Knot { at, radius });
            }
            (centred(knots), 0.3)
        }
        Form::Stalked => {
            let head = draw.range(0.6, 0.75);
            let stalk = draw.range(0.24, 0.34);
            let mut knots = arc(oblique, draw.range(-0.18, 0.18), draw.range(0.75, 1.05), 7, |_| stalk);
            // The head is at one end, wider than long.
            let across = direction(oblique + draw.range(0.17, 0.33));
            let end = knots[knots.len() - 1].at;
            let spread = draw.range(0.15, 0.4);
            knots.push(Knot { at: add(end, scale(across, spread)), radius: head });
            knots.push(Knot { at: sub(end, scale(across, spread)), radius: head * draw.range(0.8, 1.0) });
            (centred(knots), 0.25)
        }
        Form::Flat => {
            let (half, thin) = (draw.range(0.6, 1.0), draw.range(0.55, 0.75));
            (arc(oblique, draw.range(-0.3, 0.3), half, 6, |t| thin * belly(t, 0.2)), 0.25)
        }
    }
}

/// Thinner towards both ends by the share `by`.
fn belly(t: f32, by: f32) -> f32 {
    let s = 2.0 * t - 1.0;
    1.0 - by * s * s
}

/// Knots along an arc of length `2 * half` that turns by `bend` turns, facing `heading` in its middle.
fn arc(heading: f32, bend: f32, half: f32, count: usize, radius: impl Fn(f32) -> f32) -> Vec<Knot> {
    let step = 2.0 * half / (count - 1) as f32;
    let mut at = [0.0; 2];
    let knots = (0..count).map(|i| {
        let t = i as f32 / (count - 1) as f32;
        let knot = Knot { at, radius: radius(t) };
        at = add(at, scale(direction(heading + bend * (t - 0.5)), step));
        knot
    });
    centred(knots.collect())
}

/// The same knots with the middle of their box at the origin.
fn centred(mut knots: Vec<Knot>) -> Vec<Knot> {
    let (mut low, mut high) = ([f32::MAX; 2], [f32::MIN; 2]);
    for knot in &knots {
        for axis in 0..2 {
            low[axis] = low[axis].min(knot.at[axis] - knot.radius);
            high[axis] = high[axis].max(knot.at[axis] + knot.radius);
        }
    }
    let middle = scale(add(low, high), 0.5);
    for knot in &mut knots {
        knot.at = sub(knot.at, middle);
    }
    knots
}
