//! The kernels, each with what launches it. Tensors come contiguous, and leave so.

use burn::tensor::{DType, Shape};
use burn_cubecl::CubeRuntime;
use burn_cubecl::cubecl::{self, calculate_cube_count_elemwise, prelude::*};
use burn_cubecl::kernel::attention::{AttentionStrategy, attention};
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubek::attention::routines::blackbox_accelerated::BlackboxAcceleratedStrategy;
use resect_checkpoint::Activation;

use crate::encoder_backend::Squares;

pub(super) fn empty_like<R: CubeRuntime>(
    tensor: &CubeTensor<R>,
    shape: Shape,
    dtype: DType,
) -> CubeTensor<R> {
    empty_device_contiguous_dtype(tensor.client.clone(), tensor.device.clone(), shape, dtype)
}

/// Launches so many threads that there is one for each of `units`: how many cubes, and how large.
pub(super) fn threads<R: CubeRuntime>(tensor: &CubeTensor<R>, units: usize) -> (CubeCount, CubeDim) {
    let dim = CubeDim::new(&tensor.client, units);
    (calculate_cube_count_elemwise(&tensor.client, units, dim), dim)
}

/// Planes of a cube that have an item each.
const PLANES_TOGETHER: u32 = 4;

/// So many cubes a GPU takes along one axis, and of those that are not launched for an item each ends at once.
const CUBES_ALONG_AXIS: u32 = 65_535;

/// Launches so many planes that there is one for each of `items`: how many cubes, and how large. A plane's item is
/// `CUBE_POS * CUBE_DIM_Y + UNIT_POS_Y`.
pub(super) fn planes<R: CubeRuntime>(tensor: &CubeTensor<R>, items: usize) -> (CubeCount, CubeDim) {
    let cubes = (items as u32).div_ceil(PLANES_TOGETHER);
    let lines = cubes.div_ceil(CUBES_ALONG_AXIS).max(1);
    let plane = tensor.client.properties().hardware.plane_size_max;
    (CubeCount::Static(cubes.div_ceil(lines), lines, 1), CubeDim::new_2d(plane, PLANES_TOGETHER))
}

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
        rows.into_tensor_arg(),
        gamma.into_tensor_arg(),
        beta.into_tensor_arg(),
        out.clone().into_tensor_arg(),
        epsilon,
        count as u32,
        channels as u32,
        activated,
        dtype.into(),
    );
    out
}

#[cube(launch)]
fn norm_rows<O: Float>(
    x: &Tensor<f32>,
    gamma: &Tensor<f32>,
    beta: &Tensor<f32>,
    out: &mut Tensor<O>,
    epsilon: f32,
    rows: u32,
    #[comptime] channels: u32,
    #[comptime] activated: Activated,
    #[define(O)] _dtype: StorageType,
) {
    let row = CUBE_POS * CUBE_DIM_Y as usize + UNIT_POS_Y as usize;
    if row >= rows as usize {
        terminate!();
    }
    let start = row * channels as usize;
    let mut sum = 0f32;
    let mut i = UNIT_POS_X;
    while i < channels {
        sum += x[start + i as usize];
        i += CUBE_DIM_X;
    }
    let mean = plane_sum(sum) / channels as f32;
    // From the mean and not from squares alone, which would cancel.
    let mut squares = 0f32;
    i = UNIT_POS_X;
    while i < channels {
        let distance = x[start + i as usize] - mean;
        squares += distance * distance;
        i += CUBE_DIM_X;
    }
    let scale = 1f32 / (plane_sum(squares) / channels as f32 + epsilon).sqrt();
    i = UNIT_POS_X;
    while i < channels {
        let c = i as usize;
        let mut y = (x[start + c] - mean) * scale * gamma[c] + beta[c];
        if comptime!(activated == Activated::Gelu) {
            y *= normal(y);
        } else if comptime!(activated == Activated::Relu) {
            y = max(y, 0f32);
        }
        out[start + c] = O::cast_from(y);
        i += CUBE_DIM_X;
    }
}

/// The normal distribution, by which GELU multiplies.
#[cube]
pub(super) fn normal(x: f32) -> f32 {
    Erf::erf(x * std::f32::consts::FRAC_1_SQRT_2) * 0.5f32 + 0.5f32
}

/// What a product with its bias passes, or a norm.
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

/// A product with its bias `[c]`, activated, with rows in single precision added to it where there are any; to `dtype`.
pub(super) fn finished<R: CubeRuntime>(
    product: CubeTensor<R>,
    bias: CubeTensor<R>,
    rows: Option<CubeTensor<R>>,
    activated: Activated,
    dtype: DType,
) -> CubeTensor<R> {
    let channels = bias.meta.num_elements();
    let together = [4, 2, 1].into_iter().find(|n| channels.is_multiple_of(*n)).unwrap_or(1);
    let out = empty_like(&product, product.meta.shape().clone(), dtype);
    let (cubes, cube) = threads(&product, out.meta.num_elements() / together);
    let formats = [product.dtype.into(), dtype.into()];
    finish::launch(
        &product.client.clone(),
        cubes,
        cube,
        together,
        product.into_tensor_arg(),
        bias.into_tensor_arg(),
        rows.map(CubeTensor::into_tensor_arg).into(),
        out.clone().into_tensor_arg(),
        activated,
        formats,
    );
    out
}

#[cube(launch)]
fn finish<I: Float, O: Float, N: Size>(
    product: &Tensor<Vector<I, N>>,
    bias: &Tensor<Vector<f32, N>>,
    rows: ComptimeOption<Tensor<Vector<f32, N>>>,
    out: &mut Tensor<Vector<O, N>>,
    #[comptime] activated: Activated,
    #[define(I, O)] _dtypes: [StorageType; 2],
) {
    if ABSOLUTE_POS >= out.len() {
        terminate!();
    }
    let mut y = Vector::<f32, N>::cast_from(product[ABSOLUTE_POS]) + bias[ABSOLUTE_POS % bias.len()];
    if comptime!(activated == Activated::Gelu) {
        // The exact one: x (1 + erf(x / sqrt 2)) / 2.
        let share = (y * Vector::new(std::f32::consts::FRAC_1_SQRT_2)).erf() + Vector::new(1f32);
        y = y * Vector::new(0.5f32) * share;
    } else if comptime!(activated == Activated::Relu) {
        y = max(y, Vector::new(0f32));
    }
    #[comptime]
    let y = match rows {
        ComptimeOption::Some(rows) => y + rows[ABSOLUTE_POS],
        ComptimeOption::None => y,
    };
    out[ABSOLUTE_POS] = Vector::cast_from(y);
}

/// Side of the tiles that matrix units multiply in half precision.
pub(super) const TILE: usize = 16;

/// Planes of a cube that attend together, a tile of queries each: as many as divide the tiles, and no more.
const PLANES: [usize; 7] = [8, 7, 6, 5, 4, 3, 2];

/// How queries and keys lie for the attention kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    /// Queries of a square, with what fills the last tiles.
    queries: usize,
    /// Planes of a cube.
    planes: usize,
    /// Numbers of a query and of a key: the head's, both positions' and what fills the last tile.
    width: usize,
}

impl Layout {
    fn new(squares: Squares) -> Self {
        let mut tiles = squares.tokens().div_ceil(TILE);
        let planes = loop {
            // 13 tiles, of a window of 14 by 14, become 14: two cubes of 7 planes instead of 13 of one.
            match PLANES.into_iter().find(|planes| tiles.is_multiple_of(*planes)) {
                Some(planes) => break planes,
                None if tiles == 1 => break 1,
                None => tiles += 1,
            }
        };
        let width = (squares.head + 2 * squares.side).next_multiple_of(TILE);
        Self { queries: tiles * TILE, planes, width }
    }
}

/// Attention without a matrix of scores, `[count, heads, queries, head]` in f16, of which queries beyond the tokens mean nothing.
///
/// The kernel takes no positions, so they are in the operands, as in [`attended_by_products`]. None where the GPU has no such
/// kernel. (Dao et al., 2022; `cubek-attention`)
pub(super) fn fused<R: CubeRuntime>(
    qkv: CubeTensor<R>,
    squares: Squares,
    tables: [CubeTensor<R>; 2],
) -> Option<CubeTensor<R>> {
    let layout = Layout::new(squares);
    let queries = queries(qkv.clone(), squares, layout, tables);
    let keys = heads(qkv.clone(), 1, squares, layout.width);
    let values = heads(qkv, 2, squares, squares.head);
    let attend = |strategy| {
        let (queries, keys, values) = (queries.clone(), keys.clone(), values.clone());
        attention(queries, keys, values, None, None, Default::default(), strategy).ok()
    };
    // On matrix units, one tile of queries a plane and of keys at a time: what the library's own tuner tries, too.
    let planes = layout.planes as u8;
    let accelerated = BlackboxAcceleratedStrategy { num_planes: planes, seq_q: 1, seq_kv: 1 };
    attend(AttentionStrategy::FlashBlackboxAccelerated(accelerated))
        .or_else(|| attend(AttentionStrategy::FlashUnit))
}

/// The queries with their scores against all positions, `[count, heads, queries, width]` in f16.
fn queries<R: CubeRuntime>(
    qkv: CubeTensor<R>,
    squares: Squares,
    layout: Layout,
    [along_h, along_w]: [CubeTensor<R>; 2],
) -> CubeTensor<R> {
    let Squares { count, side, heads, head } = squares;
    let Layout { queries, width, .. } = layout;
    let out = empty_like(&qkv, Shape::new([count, heads, queries, width]), DType::F16);
    let (cubes, cube) = threads(&out, out.meta.num_elements());
    // The kernel divides by the root of the width; attention, by that of the head. Positions are not divided.
    let undone = (width as f64).sqrt();
    place_queries::launch(
        &qkv.client.clone(),
        cubes,
        cube,
        qkv.clone().into_tensor_arg(),
        along_h.into_tensor_arg(),
        along_w.into_tensor_arg(),
        out.clone().into_tensor_arg(),
        (undone / (head as f64).sqrt()) as f32,
        undone as f32,
        queries as u32,
        side as u32,
        heads as u32,
        head as u32,
        width as u32,
        [qkv.dtype.into(), DType::F16.into()],
    );
    out
}

#[cube(launch)]
fn place_queries<I: Float, O: Float>(
    qkv: &Tensor<I>,
    along_h: &Tensor<f32>,
    along_w: &Tensor<f32>,
    out: &mut Tensor<O>,
    scale: f32,
    scale_of_positions: f32,
    queries: u32,
    side: u32,
    #[comptime] heads: u32,
    #[comptime] head: u32,
    #[comptime] width: u32,
    #[define(I, O)] _dtypes: [StorageType; 2],
) {
    if ABSOLUTE_POS >= out.len() {
        terminate!();
    }
    let at = ABSOLUTE_POS as u32;
    let e = at % width;
    let t = (at / width) % queries;
    let h = (at / (width * queries)) % heads;
    let square = at / (width * queries * heads);
    let mut y = 0f32;
    if t < side * side {
        let q = ((square * side * side + t) * 3 * heads + h) * head;
        if e < head {
            y = f32::cast_from(qkv[(q + e) as usize]) * scale;
        } else if e < head + 2 * side {
            let by_row = e < head + side;
            let key = if by_row { e - head } else { e - head - side };
            let query = if by_row { t / side } else { t % side };
            let distance = query + side - 1 - key;
            for i in 0..head {
                let place = (i * (2 * side - 1) + distance) as usize;
                let position = if by_row { along_h[place] } else { along_w[place] };
                y += f32::cast_from(qkv[(q + i) as usize]) * position;
            }
            y *= scale_of_positions;
        }
    }
    out[ABSOLUTE_POS] = O::cast_from(y);
}

/// Keys (`part` 1) or values (2) by head, `[count, heads, tokens, width]` in f16. Beyond the head come, as far as the width
/// reaches, a one at the token's row and one at its column.
fn heads<R: CubeRuntime>(qkv: CubeTensor<R>, part: u32, squares: Squares, width: usize) -> CubeTensor<R> {
    let Squares { count, side, heads, head } = squares;
    let out = empty_like(&qkv, Shape::new([count, heads, squares.tokens(), width]), DType::F16);
    let (cubes, cube) = threads(&out, out.meta.num_elements());
    place_heads::launch(
        &qkv.client.clone(),
        cubes,
        cube,
        qkv.clone().into_tensor_arg(),
        out.clone().into_tensor_arg(),
        part,
        side as u32,
        heads as u32,
        head as u32,
        width as u32,
        [qkv.dtype.into(), DType::F16.into()],
    );
    out
}

#[cube(launch)]
fn place_heads<I: Float, O: Float>(
    qkv: &Tensor<I>,
    out: &mut Tensor<O>,
    part: u32,
    side: u32,
    #[comptime] heads: u32,
    #[comptime] head: u32,
    #[comptime] width: u32,
    #[define(I, O)] _dtypes: [StorageType; 2],
) {
    if ABSOLUTE_POS >= out.len() {
        terminate!();
    }
    let at = ABSOLUTE_POS as u32;
    let tokens = side * side;
    let e = at % width;
    let t = (at / width) % tokens;
    let h = (at / (width * tokens)) % heads;
    let square = at / (width * tokens * heads);
    let mut y = O::new(0.0);
    if e < head {
        let from = (((square * tokens + t) * 3 + part) * heads + h) * head + e;
        y = O::cast_from(qkv[from as usize]);
    } else if e < head + side {
        if t / side == e - head {
            y = O::new(1.0);
        }
    } else if t % side == e - head - side {
        y = O::new(1.0);
    }
    out[ABSOLUTE_POS] = y;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_come_in_tiles_that_cubes_share_evenly() {
        let of = |side, head| Layout::new(Squares { count: 1, side, heads: 1, head });
        // ViT-B and ViT-H, windows and whole images.
        assert_eq!(of(14, 64), Layout { queries: 224, planes: 7, width: 96 });
        assert_eq!(of(64, 64), Layout { queries: 4096, planes: 8, width: 192 });
        assert_eq!(of(14, 80), Layout { queries: 224, planes: 7, width: 112 });
        assert_eq!(of(64, 80), Layout { queries: 4096, planes: 8, width: 208 });
        assert_eq!(of(3, 16), Layout { queries: 16, planes: 1, width: 32 });
        for side in 1..70 {
            let Layout { queries, planes, .. } = of(side, 64);
            assert!(queries >= side * side && queries < side * side + 3 * TILE);
            assert!(queries.is_multiple_of(planes * TILE));
        }
    }
}
