//! What several kernels share: launches, activations, and sums over rows.

use burn::tensor::{DType, Shape};
use burn_cubecl::CubeRuntime;
use burn_cubecl::cubecl::{self, calculate_cube_count_elemwise, prelude::*};
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::ops::reshape;
use burn_cubecl::tensor::CubeTensor;
use resect_numeric::Activation;

pub(super) fn empty_like<R: CubeRuntime>(
    tensor: &CubeTensor<R>,
    shape: Shape,
    dtype: DType,
) -> CubeTensor<R> {
    empty_device_contiguous_dtype(tensor.client.clone(), tensor.device.clone(), shape, dtype)
}

/// The number and the size of cubes that launch at least `units` threads.
pub fn threads<R: CubeRuntime>(tensor: &CubeTensor<R>, units: usize) -> (CubeCount, CubeDim) {
    let dim = CubeDim::new(&tensor.client, units);
    (calculate_cube_count_elemwise(&tensor.client, units, dim), dim)
}

/// Planes of a cube. Each has one item.
const PLANES_TOGETHER: u32 = 4;

/// The most cubes that a GPU accepts along one axis.
const CUBES_ALONG_AXIS: u32 = 65_535;

/// The number and the size of cubes that launch at least `items` planes. [`plane_item`] tells a plane its item.
pub(super) fn planes<R: CubeRuntime>(tensor: &CubeTensor<R>, items: usize) -> (CubeCount, CubeDim) {
    let cubes = (items as u32).div_ceil(PLANES_TOGETHER);
    let lines = cubes.div_ceil(CUBES_ALONG_AXIS).max(1);
    let plane = tensor.client.properties().hardware.plane_size_max;
    (CubeCount::Static(cubes.div_ceil(lines), lines, 1), CubeDim::new_2d(plane, PLANES_TOGETHER))
}

/// The item of a plane that [`planes`] launched.
#[cube]
pub(super) fn plane_item() -> usize {
    CUBE_POS * CUBE_DIM_Y as usize + UNIT_POS_Y as usize
}

/// Memory for a tensor of a shape, in single precision, on the device of another tensor.
pub fn shaped<R: CubeRuntime, const D: usize>(like: &CubeTensor<R>, shape: [usize; D]) -> CubeTensor<R> {
    empty_like(like, Shape::new(shape), DType::F32)
}

/// The activation of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Activated {
    Not,
    Gelu,
    Relu,
}

impl From<Option<Activation>> for Activated {
    fn from(activation: Option<Activation>) -> Self {
        match activation {
            Some(Activation::Gelu) => Self::Gelu,
            Some(Activation::Relu) => Self::Relu,
            None => Self::Not,
        }
    }
}

/// The activation of `x`.
#[cube]
pub(super) fn activated_number(x: f32, #[comptime] activated: Activated) -> f32 {
    let mut y = x;
    if comptime!(activated == Activated::Relu) {
        y = max(x, 0f32);
    } else if comptime!(activated == Activated::Gelu) {
        y = x * normal(x);
    }
    y
}

/// The cumulative normal distribution, the factor of GELU.
#[cube]
fn normal(x: f32) -> f32 {
    Erf::erf(x * std::f32::consts::FRAC_1_SQRT_2) * 0.5f32 + 0.5f32
}

/// The derivative of an activation at `x`.
#[cube]
pub(super) fn slope(x: f32, #[comptime] activated: Activated) -> f32 {
    let mut slope = 1f32;
    if comptime!(activated == Activated::Relu) {
        if x <= 0f32 {
            slope = 0f32;
        }
    } else if comptime!(activated == Activated::Gelu) {
        // With the density, 1 / sqrt(2 pi) exp(-x x / 2).
        slope = normal(x) + x * (x * x * -0.5f32).exp() * 0.398_942_3f32;
    }
    slope
}

/// A number rounded to a format.
#[cube]
pub(super) fn rounded<E: Float>(x: f32) -> f32 {
    f32::cast_from(E::cast_from(x))
}

/// About how many threads sum strips of rows.
const UNITS: usize = 1 << 16;

/// Rows in strips. A thread sums one column of a strip.
pub(super) struct Strips {
    pub rows: usize,
    /// Rows of a strip, the last one aside.
    pub length: usize,
    pub count: usize,
}

impl Strips {
    pub fn of(rows: usize, columns: usize) -> Self {
        let length = rows.div_ceil((UNITS / columns).max(1)).max(1);
        Self { rows, length, count: rows.div_ceil(length) }
    }
}

/// The sum of rows `[n, columns]`: `[columns]`.
pub(super) fn summed<R: CubeRuntime>(rows: CubeTensor<R>) -> CubeTensor<R> {
    let [count, columns] = rows.meta.shape().dims();
    if count == 1 {
        return reshape(rows, Shape::new([columns]));
    }
    let out = shaped(&rows, [columns]);
    // A plane sums each column where columns are few. Single threads would be too few.
    let by_plane = columns <= UNITS / 8;
    let (cubes, cube) = if by_plane { planes(&out, columns) } else { threads(&out, columns) };
    sum_rows::launch(
        &rows.client.clone(),
        cubes,
        cube,
        rows.into_array_arg(),
        out.clone().into_array_arg(),
        count as u32,
        by_plane,
    );
    out
}

#[cube(launch)]
fn sum_rows(x: &Array<f32>, out: &mut Array<f32>, rows: u32, #[comptime] by_plane: bool) {
    let columns = out.len();
    if comptime!(by_plane) {
        let column = plane_item();
        if column >= columns {
            terminate!();
        }
        let mut sum = 0f32;
        let mut row = UNIT_POS_X;
        while row < rows {
            sum += x[row as usize * columns + column];
            row += CUBE_DIM_X;
        }
        let sum = plane_sum(sum);
        if UNIT_POS_X == 0 {
            out[column] = sum;
        }
    } else {
        if ABSOLUTE_POS >= columns {
            terminate!();
        }
        let mut sum = 0f32;
        for row in 0..rows as usize {
            sum += x[row * columns + ABSOLUTE_POS];
        }
        out[ABSOLUTE_POS] = sum;
    }
}
