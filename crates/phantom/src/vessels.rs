//! Vessels under the mucosa: trees of thin branches.

use crate::camera::Camera;
use crate::draw::Draw;
use crate::grid::Grid;
use crate::maths::{Point, add, bump, direction, scale};

/// One branch still to be drawn.
struct Branch {
    at: Point,
    /// Heading in turns.
    heading: f32,
    /// Width in units.
    width: f32,
    generation: u32,
}

/// How much blood lies over each pixel, 0 to 1.
pub fn vessels(camera: &Camera, draw: &mut Draw) -> Grid {
    let mut blood = Grid::new(camera.width, camera.height, 0.0);
    let strength = draw.range(0.45, 1.0);
    for _ in 0..draw.whole(3, 8) {
        let at = [draw.unit() * camera.width as f32, draw.unit() * camera.height as f32];
        let mut queue = vec![Branch { at, heading: draw.unit(), width: draw.range(0.9, 1.7), generation: 0 }];
        while let Some(branch) = queue.pop() {
            grow(branch, camera.unit, strength, draw, &mut blood, &mut queue);
        }
    }
    blood
}

fn grow(
    branch: Branch,
    unit: f32,
    strength: f32,
    draw: &mut Draw,
    blood: &mut Grid,
    queue: &mut Vec<Branch>,
) {
    let Branch { mut at, mut heading, mut width, generation } = branch;
    let mut bend = 0.0;
    for _ in 0..draw.whole(24, 72) {
        // The bend follows the last one, so that a vessel meanders instead of trembling.
        bend = 0.8 * bend + draw.range(-0.008, 0.008);
        heading += bend;
        at = add(at, scale(direction(heading), 0.8 * unit));
        width *= 0.9925;
        let reach = width * unit + 0.8;
        blood.visit_disc(at, reach, |value, d| {
            *value = value.max(strength * (0.35 + 0.35 * width).min(1.0) * bump(d / reach));
        });
        if generation < 3 && width > 0.5 && draw.chance(0.035) {
            let side = draw.sign() * draw.range(0.06, 0.16);
            queue.push(Branch {
                at,
                heading: heading + side,
                width: width * 0.72,
                generation: generation + 1,
            });
            heading -= side * 0.4;
        }
    }
}
