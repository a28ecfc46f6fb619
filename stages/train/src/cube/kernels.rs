//! The loss in two kernels, and its gradient in one, with what launches them.

use crate::loss::{FOCAL_WEIGHTS, Objective, Pixelwise, SMOOTH};
use burn_cubecl::CubeRuntime;
use burn_cubecl::cubecl::{self, prelude::*};
use burn_cubecl::tensor::CubeTensor;
use resect_layers::cube::{Given, shaped, threads};

/// What the gradient of the loss comes from.
#[derive(Clone, Debug)]
pub(super) struct Loss<R: CubeRuntime> {
    /// What Dice term and pixel-wise term are multiplied with.
    weights: [f32; 2],
    focal: bool,
    /// `[n, 1, s, s]`, in single precision.
    logits: CubeTensor<R>,
    /// As many.
    masks: CubeTensor<R>,
    /// `[n, 2]`
    counted: CubeTensor<R>,
    /// Of each sample: `p g`, `p p`, `g` and the pixel-wise losses, `[n, 4]`.
    sums: CubeTensor<R>,
}

/// Lines of cells that a plane sums.
const LINES: usize = 8;

impl<R: CubeRuntime> Loss<R> {
    /// The loss, `[1]`, and each sample's terms, `[n, 2]`.
    pub fn forward(
        objective: Objective,
        share: f64,
        logits: CubeTensor<R>,
        masks: CubeTensor<R>,
        counted: CubeTensor<R>,
    ) -> (Self, CubeTensor<R>, CubeTensor<R>) {
        let [n, _, side, _] = logits.meta.shape().dims();
        let weights = objective.weights.map(|weight| (weight * share) as f32);
        let focal = objective.pixelwise == Pixelwise::Focal;
        let client = logits.client.clone();
        let plane = client.properties().hardware.plane_size_max;
        let strips = side.div_ceil(LINES);
        let parts = shaped(&logits, [n, strips, 4]);
        sum_lines::launch(
            &client,
            CubeCount::Static(strips as u32, n as u32, 1),
            CubeDim::new_1d(plane),
            logits.clone().into_array_arg(),
            masks.clone().into_array_arg(),
            counted.clone().into_array_arg(),
            parts.clone().into_array_arg(),
            side as u32,
            focal,
            masks.dtype.into(),
        );
        let (sums, terms, loss) = (shaped(&logits, [n, 4]), shaped(&logits, [n, 2]), shaped(&logits, [1]));
        let [of_dice, of_pixelwise] = weights;
        sum_samples::launch(
            &client,
            CubeCount::Static(1, 1, 1),
            CubeDim::new_1d(plane),
            parts.into_array_arg(),
            counted.clone().into_array_arg(),
            sums.clone().into_array_arg(),
            terms.clone().into_array_arg(),
            loss.clone().into_array_arg(),
            strips as u32,
            of_dice,
            of_pixelwise,
        );
        (Self { weights, focal, logits, masks, counted, sums }, loss, terms)
    }
}

/// The logits.
impl<R: CubeRuntime> Given<R, 1> for Loss<R> {
    fn back(self, gradient: CubeTensor<R>, _: [bool; 1]) -> [Option<CubeTensor<R>>; 1] {
        let Self { weights: [of_dice, of_pixelwise], focal, logits, masks, counted, sums } = self;
        let [n, _, side, _] = logits.meta.shape().dims();
        let out = shaped(&logits, [n, 1, side, side]);
        let (cubes, cube) = threads(&logits, n * side * side);
        loss_back::launch(
            &logits.client.clone(),
            cubes,
            cube,
            logits.into_array_arg(),
            masks.clone().into_array_arg(),
            counted.into_array_arg(),
            sums.into_array_arg(),
            gradient.into_array_arg(),
            out.clone().into_array_arg(),
            side as u32,
            of_dice,
            of_pixelwise,
            focal,
            masks.dtype.into(),
        );
        [Some(out)]
    }
}

#[cube]
fn sigmoid(x: f32) -> f32 {
    1f32 / (1f32 + (-x).exp())
}

/// The cross-entropy of a logit: max(x, 0) - x g + log(1 + exp(-|x|)).
#[cube]
fn cross_entropy(x: f32, g: f32) -> f32 {
    max(x, 0f32) - x * g + Log1p::log1p((-Abs::abs(x)).exp())
}

/// A plane for some lines of a sample: what is summed over its cells.
#[cube(launch)]
fn sum_lines<M: Float>(
    logits: &Array<f32>,
    masks: &Array<M>,
    counted: &Array<f32>,
    parts: &mut Array<f32>,
    side: u32,
    #[comptime] focal: bool,
    #[define(M)] _dtype: StorageType,
) {
    let sample = CUBE_POS_Y;
    let rows = u32::cast_from(counted[(2 * sample) as usize]);
    let columns = u32::cast_from(counted[(2 * sample + 1) as usize]);
    let mut overlap = 0f32;
    let mut predicted = 0f32;
    let mut truth = 0f32;
    let mut pixelwise = 0f32;
    let first = CUBE_POS_X * (LINES as u32);
    let end = min(first + (LINES as u32), rows);
    for row in first..end {
        let mut column = UNIT_POS_X;
        while column < columns {
            let at = ((sample * side + row) * side + column) as usize;
            let x = logits[at];
            let g = f32::cast_from(masks[at]);
            let p = sigmoid(x);
            let mut loss = cross_entropy(x, g);
            if comptime!(focal) {
                let wrong = p - g;
                loss *= (g * (FOCAL_WEIGHTS[0] - FOCAL_WEIGHTS[1]) + FOCAL_WEIGHTS[1]) * wrong * wrong;
            }
            overlap += p * g;
            predicted += p * p;
            truth += g;
            pixelwise += loss;
            column += CUBE_DIM_X;
        }
    }
    overlap = plane_sum(overlap);
    predicted = plane_sum(predicted);
    truth = plane_sum(truth);
    pixelwise = plane_sum(pixelwise);
    if UNIT_POS_X == 0 {
        let at = (4 * (sample * CUBE_COUNT_X + CUBE_POS_X)) as usize;
        parts[at] = overlap;
        parts[at + 1] = predicted;
        parts[at + 2] = truth;
        parts[at + 3] = pixelwise;
    }
}

/// One plane for all samples: their sums, their terms and the loss.
#[cube(launch)]
fn sum_samples(
    parts: &Array<f32>,
    counted: &Array<f32>,
    sums: &mut Array<f32>,
    terms: &mut Array<f32>,
    loss: &mut Array<f32>,
    strips: u32,
    of_dice: f32,
    of_pixelwise: f32,
) {
    let mut total = 0f32;
    for sample in 0..sums.len() / 4 {
        let mut overlap = 0f32;
        let mut predicted = 0f32;
        let mut truth = 0f32;
        let mut pixelwise = 0f32;
        let mut strip = UNIT_POS_X;
        while strip < strips {
            let at = 4 * (sample * strips as usize + strip as usize);
            overlap += parts[at];
            predicted += parts[at + 1];
            truth += parts[at + 2];
            pixelwise += parts[at + 3];
            strip += CUBE_DIM_X;
        }
        overlap = plane_sum(overlap);
        predicted = plane_sum(predicted);
        truth = plane_sum(truth);
        pixelwise = plane_sum(pixelwise);
        let dice = 1f32 - (2f32 * overlap + SMOOTH as f32) / (predicted + truth + SMOOTH as f32);
        let mean = pixelwise / (counted[2 * sample] * counted[2 * sample + 1]);
        total += of_dice * dice + of_pixelwise * mean;
        if UNIT_POS_X == 0 {
            sums[4 * sample] = overlap;
            sums[4 * sample + 1] = predicted;
            sums[4 * sample + 2] = truth;
            sums[4 * sample + 3] = pixelwise;
            terms[2 * sample] = dice;
            terms[2 * sample + 1] = mean;
        }
    }
    if UNIT_POS_X == 0 {
        loss[0] = total;
    }
}

/// A thread for each cell.
#[cube(launch)]
fn loss_back<M: Float>(
    logits: &Array<f32>,
    masks: &Array<M>,
    counted: &Array<f32>,
    sums: &Array<f32>,
    gradient: &Array<f32>,
    out: &mut Array<f32>,
    side: u32,
    of_dice: f32,
    of_pixelwise: f32,
    #[comptime] focal: bool,
    #[define(M)] _dtype: StorageType,
) {
    if ABSOLUTE_POS >= out.len() {
        terminate!();
    }
    let at = ABSOLUTE_POS as u32;
    let sample = (at / (side * side)) as usize;
    let (row, column) = (at / side % side, at % side);
    let (rows, columns) = (counted[2 * sample], counted[2 * sample + 1]);
    let mut found = 0f32;
    if row < u32::cast_from(rows) && column < u32::cast_from(columns) {
        let x = logits[ABSOLUTE_POS];
        let g = f32::cast_from(masks[ABSOLUTE_POS]);
        let p = sigmoid(x);
        let slope = p * (1f32 - p);
        // Of 1 - a / b, with a = 2 sum(p g) + e and b = sum(p p) + sum(g) + e.
        let a = 2f32 * sums[4 * sample] + SMOOTH as f32;
        let b = sums[4 * sample + 1] + sums[4 * sample + 2] + SMOOTH as f32;
        let dice = 2f32 * (p * a / b - g) / b * slope;
        let wrong = p - g;
        let mut pixelwise = wrong;
        if comptime!(focal) {
            let weight = g * (FOCAL_WEIGHTS[0] - FOCAL_WEIGHTS[1]) + FOCAL_WEIGHTS[1];
            pixelwise = weight * wrong * (2f32 * slope * cross_entropy(x, g) + wrong * wrong);
        }
        found = gradient[0] * (of_dice * dice + of_pixelwise * pixelwise / (rows * columns));
    }
    out[ABSOLUTE_POS] = found;
}
