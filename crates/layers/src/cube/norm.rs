//! Layer norms, and their gradients.

use burn::tensor::DType;
use burn_cubecl::CubeRuntime;
use burn_cubecl::cubecl::{self, prelude::*};
use burn_cubecl::kernel::slice;
use burn_cubecl::tensor::CubeTensor;

use super::Given;
use super::launch::{
    Activated, Strips, activated_number, empty_like, plane_item, planes, shaped, slope, summed, threads,
};

/// A layer norm over rows `[rows, c]` in single precision, activated, to `dtype`.
pub(super) fn normed<R: CubeRuntime>(
    rows: CubeTensor<R>,
    gamma: CubeTensor<R>,
    beta: CubeTensor<R>,
    epsilon: f32,
    activated: Activated,
    dtype: DType,
) -> CubeTensor<R> {
    let [count, channels] = rows.meta.shape().dims();
    let out = empty_like(&rows, rows.meta.shape().clone(), dtype);
    let (cubes, cube) = planes(&rows, count);
    norm_rows::launch(
        &rows.client.clone(),
        cubes,
        cube,
        rows.into_array_arg(),
        gamma.into_array_arg(),
        beta.into_array_arg(),
        out.clone().into_array_arg(),
        epsilon,
        count as u32,
        channels as u32,
        activated,
        dtype.into(),
    );
    out
}

/// The mean of a plane's row.
#[cube]
fn mean(x: &Array<f32>, start: usize, #[comptime] channels: u32) -> f32 {
    let mut sum = 0f32;
    let mut i = UNIT_POS_X;
    while i < channels {
        sum += x[start + i as usize];
        i += CUBE_DIM_X;
    }
    plane_sum(sum) / channels as f32
}

/// The inverse deviation of a plane's row. It is computed from differences to the mean, because sums of squares would cancel.
#[cube]
fn inverse_deviation(
    x: &Array<f32>,
    start: usize,
    mean: f32,
    epsilon: f32,
    #[comptime] channels: u32,
) -> f32 {
    let mut squares = 0f32;
    let mut i = UNIT_POS_X;
    while i < channels {
        let distance = x[start + i as usize] - mean;
        squares += distance * distance;
        i += CUBE_DIM_X;
    }
    1f32 / (plane_sum(squares) / channels as f32 + epsilon).sqrt()
}

#[cube(launch)]
fn norm_rows<O: Float>(
    x: &Array<f32>,
    gamma: &Array<f32>,
    beta: &Array<f32>,
    out: &mut Array<O>,
    epsilon: f32,
    rows: u32,
    #[comptime] channels: u32,
    #[comptime] activated: Activated,
    #[define(O)] _dtype: StorageType,
) {
    let row = plane_item();
    if row >= rows as usize {
        terminate!();
    }
    let start = row * channels as usize;
    let mean = mean(x, start, channels);
    let scale = inverse_deviation(x, start, mean, epsilon, channels);
    let mut i = UNIT_POS_X;
    while i < channels {
        let c = i as usize;
        let y = (x[start + c] - mean) * scale * gamma[c] + beta[c];
        out[start + c] = O::cast_from(activated_number(y, activated));
        i += CUBE_DIM_X;
    }
}

/// What the backward pass of a layer norm needs.
#[derive(Clone, Debug)]
pub(super) struct Norm<R: CubeRuntime> {
    /// `[rows, c]`
    x: CubeTensor<R>,
    /// Weight and bias, `[c]`.
    affine: [CubeTensor<R>; 2],
    epsilon: f32,
    activated: Activated,
}

impl<R: CubeRuntime> Norm<R> {
    /// [`normed`] in single precision.
    pub fn forward(
        x: CubeTensor<R>,
        affine: [CubeTensor<R>; 2],
        epsilon: f32,
        activated: Activated,
    ) -> (Self, CubeTensor<R>) {
        let [gamma, beta] = affine.clone();
        let out = normed(x.clone(), gamma, beta, epsilon, activated, DType::F32);
        (Self { x, affine, epsilon, activated }, out)
    }
}

/// Input, weight and bias.
impl<R: CubeRuntime> Given<R, 3> for Norm<R> {
    fn back(self, gradient: CubeTensor<R>, _: [bool; 3]) -> [Option<CubeTensor<R>>; 3] {
        let Self { x, affine: [gamma, beta], epsilon, activated } = self;
        let [rows, channels] = x.meta.shape().dims();
        let client = x.client.clone();
        let (found, statistics) = (shaped(&x, [rows, channels]), shaped(&x, [rows, 2]));
        let (cubes, cube) = planes(&found, rows);
        norm_back_rows::launch(
            &client,
            cubes,
            cube,
            x.clone().into_array_arg(),
            gradient.clone().into_array_arg(),
            gamma.clone().into_array_arg(),
            beta.clone().into_array_arg(),
            found.clone().into_array_arg(),
            statistics.clone().into_array_arg(),
            epsilon,
            channels as u32,
            activated,
        );
        let strips = Strips::of(rows, channels);
        let sums = shaped(&x, [strips.count, 2 * channels]);
        let (cubes, cube) = threads(&sums, strips.count * channels);
        norm_back_columns::launch(
            &client,
            cubes,
            cube,
            x.into_array_arg(),
            gradient.into_array_arg(),
            gamma.into_array_arg(),
            beta.into_array_arg(),
            statistics.into_array_arg(),
            sums.clone().into_array_arg(),
            rows as u32,
            strips.length as u32,
            activated,
        );
        let sums = summed(sums);
        let half = |at: usize| slice(sums.clone(), std::slice::from_ref(&(at..at + channels)));
        [Some(found), Some(half(0)), Some(half(channels))]
    }
}

/// A plane for each row: the gradient of `x`, and the row's mean and the inverse of its deviation, for the columns.
#[cube(launch)]
fn norm_back_rows(
    x: &Array<f32>,
    gradient: &Array<f32>,
    gamma: &Array<f32>,
    beta: &Array<f32>,
    out: &mut Array<f32>,
    statistics: &mut Array<f32>,
    epsilon: f32,
    #[comptime] channels: u32,
    #[comptime] activated: Activated,
) {
    let row = plane_item();
    if row >= statistics.len() / 2 {
        terminate!();
    }
    let start = row * channels as usize;
    let mean = mean(x, start, channels);
    let inverse = inverse_deviation(x, start, mean, epsilon, channels);
    // The means of the gradient and of its product with the normalised row.
    let mut level = 0f32;
    let mut along = 0f32;
    let mut i = UNIT_POS_X;
    while i < channels {
        let c = i as usize;
        let normed = (x[start + c] - mean) * inverse;
        let y = gradient[start + c] * slope(normed * gamma[c] + beta[c], activated) * gamma[c];
        level += y;
        along += y * normed;
        i += CUBE_DIM_X;
    }
    let level = plane_sum(level) / channels as f32;
    let along = plane_sum(along) / channels as f32;
    i = UNIT_POS_X;
    while i < channels {
        let c = i as usize;
        let normed = (x[start + c] - mean) * inverse;
        let y = gradient[start + c] * slope(normed * gamma[c] + beta[c], activated) * gamma[c];
        out[start + c] = (y - level - normed * along) * inverse;
        i += CUBE_DIM_X;
    }
    if UNIT_POS_X == 0 {
        statistics[2 * row] = mean;
        statistics[2 * row + 1] = inverse;
    }
}

/// A thread for each column of a strip: the gradients of `gamma`, and beside them those of `beta`.
#[cube(launch)]
fn norm_back_columns(
    x: &Array<f32>,
    gradient: &Array<f32>,
    gamma: &Array<f32>,
    beta: &Array<f32>,
    statistics: &Array<f32>,
    sums: &mut Array<f32>,
    rows: u32,
    length: u32,
    #[comptime] activated: Activated,
) {
    let channels = gamma.len();
    if ABSOLUTE_POS >= sums.len() / 2 {
        terminate!();
    }
    let (strip, channel) = (ABSOLUTE_POS / channels, ABSOLUTE_POS % channels);
    let first = strip as u32 * length;
    let end = min(first + length, rows);
    let mut of_gamma = 0f32;
    let mut of_beta = 0f32;
    for row in first..end {
        let row = row as usize;
        let at = row * channels + channel;
        let normed = (x[at] - statistics[2 * row]) * statistics[2 * row + 1];
        let y = gradient[at] * slope(normed * gamma[channel] + beta[channel], activated);
        of_gamma += y * normed;
        of_beta += y;
    }
    let at = strip * 2 * channels + channel;
    sums[at] = of_gamma;
    sums[at + channels] = of_beta;
}
