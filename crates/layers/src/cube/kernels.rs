//! Products with bias, activation and residual, and the attention of the image encoder.

use burn::tensor::{DType, Shape};
use burn_cubecl::CubeRuntime;
use burn_cubecl::cubecl::{self, prelude::*};
use burn_cubecl::kernel::attention::{AttentionStrategy, attention};
use burn_cubecl::kernel::cast;
use burn_cubecl::tensor::CubeTensor;
use cubek::attention::routines::blackbox_accelerated::BlackboxAcceleratedStrategy;

use super::launch::{Activated, empty_like, threads};
use crate::Squares;

/// Adds an optional bias `[c]` to a product, applies the activation, and adds an optional residual in single precision. The result is in
/// the format `dtype`.
pub(super) fn finished<R: CubeRuntime>(
    product: CubeTensor<R>,
    bias: Option<CubeTensor<R>>,
    rows: Option<CubeTensor<R>>,
    activated: Activated,
    dtype: DType,
) -> CubeTensor<R> {
    if bias.is_none() && rows.is_none() && activated == Activated::Not {
        return cast(product, dtype);
    }
    let channels = bias.as_ref().map_or(product.meta.num_elements(), |bias| bias.meta.num_elements());
    let together = [4, 2, 1].into_iter().find(|n| channels.is_multiple_of(*n)).unwrap_or(1);
    let out = empty_like(&product, product.meta.shape().clone(), dtype);
    let (cubes, cube) = threads(&product, out.meta.num_elements() / together);
    let formats = [product.dtype.into(), dtype.into()];
    finish::launch(
        &product.client.clone(),
        cubes,
        cube,
        together,
        product.into_array_arg(),
        bias.map(CubeTensor::into_array_arg).into(),
        rows.map(CubeTensor::into_array_arg).into(),
        out.clone().into_array_arg(),
        activated,
        formats,
    );
    out
}

#[cube(launch)]
fn finish<I: Float, O: Float, N: Size>(
    product: &Array<Vector<I, N>>,
    bias: ComptimeOption<Array<Vector<f32, N>>>,
    rows: ComptimeOption<Array<Vector<f32, N>>>,
    out: &mut Array<Vector<O, N>>,
    #[comptime] activated: Activated,
    #[define(I, O)] _dtypes: [StorageType; 2],
) {
    if ABSOLUTE_POS >= out.len() {
        terminate!();
    }
    let y = Vector::<f32, N>::cast_from(product[ABSOLUTE_POS]);
    #[comptime]
    let mut y = match bias {
        ComptimeOption::Some(bias) => y + bias[ABSOLUTE_POS % bias.len()],
        ComptimeOption::None => y,
    };
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
        let width = (squares.head + 2 * squares.side()).next_multiple_of(TILE);
        Self { queries: tiles * TILE, planes, width }
    }
}

/// Attention without a matrix of scores, `[count, heads, queries, head]` in f16, of which queries beyond the tokens mean nothing.
///
/// The kernel takes no positions, so they are in the operands, as in [`crate::reference::attention_in_squares`]. None where the GPU
/// has no such kernel. (Dao et al., 2022; `cubek-attention`)
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
    let Squares { heads, head, .. } = squares;
    let (count, side) = (squares.count(), squares.side());
    let Layout { queries, width, .. } = layout;
    let out = empty_like(&qkv, Shape::new([count, heads, queries, width]), DType::F16);
    let (cubes, cube) = threads(&out, out.meta.num_elements());
    // The kernel divides by the root of the width; attention, by that of the head. Positions are not divided.
    let undone = (width as f64).sqrt();
    place_queries::launch(
        &qkv.client.clone(),
        cubes,
        cube,
        qkv.clone().into_array_arg(),
        along_h.into_array_arg(),
        along_w.into_array_arg(),
        out.clone().into_array_arg(),
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
    qkv: &Array<I>,
    along_h: &Array<f32>,
    along_w: &Array<f32>,
    out: &mut Array<O>,
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
    let Squares { heads, head, .. } = squares;
    let (count, side) = (squares.count(), squares.side());
    let out = empty_like(&qkv, Shape::new([count, heads, squares.tokens(), width]), DType::F16);
    let (cubes, cube) = threads(&out, out.meta.num_elements());
    place_heads::launch(
        &qkv.client.clone(),
        cubes,
        cube,
        qkv.clone().into_array_arg(),
        out.clone().into_array_arg(),
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
    qkv: &Array<I>,
    out: &mut Array<O>,
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
mod tests;
