//! The settings of the stage `evaluate`, with their defaults and limits. All of them enter its key.

use resect_params::Problems;
use serde::{Deserialize, Serialize};

/// What `evaluate` reports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluateParams {
    /// Overlay images to draw, the worst samples first. 0: none.
    pub overlays: u32,
    /// Bounds of the size classes, as fractions of the image's area, ascending: `[0.05, 0.2]` makes small (below
    /// 0.05), medium and large (0.2 and above).
    pub size_bounds: [f64; 2],
    /// Distance up to which a border counts as met by the other one (normalised surface Dice), in pixels of the original image,
    /// or in cells where the low-res grid is reported.
    pub surface_tolerance: f64,
    /// Draws of groups behind each bootstrap interval.
    pub resamples: u32,
    /// Seed of these draws and of the sweep's boxes.
    pub seed: u64,
    /// Whether both decoders are tried with other prompts, too: boxes with noise, points, a wrong box, best of three masks.
    pub sweep: bool,
    /// The sweep's noise: pixels of the original image by which each side of a box moves at most, in or out.
    pub noise_pixels: Vec<u32>,
    /// The same in percent of the box's width or height.
    pub noise_percent: Vec<u32>,
}

impl Default for EvaluateParams {
    fn default() -> Self {
        Self {
            overlays: 12,
            size_bounds: [0.05, 0.2],
            surface_tolerance: 2.0,
            resamples: 2000,
            seed: 0,
            sweep: true,
            noise_pixels: vec![0, 5, 10, 20, 50, 100],
            noise_percent: vec![5, 10, 20, 50],
        }
    }
}

impl EvaluateParams {
    /// Checks the values.
    pub fn check(&self, problems: &mut Problems) {
        let [small, large] = self.size_bounds;
        problems.expect(0.0 < small && small < large && large < 1.0, "evaluate.size_bounds", || {
            format!("must be two fractions of the image's area, ascending, is [{small}, {large}]")
        });
        let tolerance = self.surface_tolerance;
        problems.expect(tolerance.is_finite() && tolerance >= 0.0, "evaluate.surface_tolerance", || {
            format!("must be a distance in pixels, 0 or more, is {tolerance}")
        });
        problems.expect((100..=1_000_000).contains(&self.resamples), "evaluate.resamples", || {
            format!("must be 100 to 1000000, is {}", self.resamples)
        });
        for (name, noise) in [("noise_pixels", &self.noise_pixels), ("noise_percent", &self.noise_percent)] {
            let ascending = noise.is_sorted_by(|a, b| a < b);
            problems.expect(ascending, &format!("evaluate.{name}"), || {
                format!("must be ascending, each value once, is {noise:?}")
            });
        }
    }
}
