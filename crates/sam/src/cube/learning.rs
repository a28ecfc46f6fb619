//! The layers of the mask decoder and their gradients in as few kernels as can be, each with what launches it.
//!
//! Tensors come contiguous, and leave so; where nothing else is said they are in single precision. A gradient is that of a tensor of
//! its name. Long sums over rows go over strips of rows and then over strips, always in one order.

use burn::tensor::{DType, Shape};
use burn_cubecl::CubeRuntime;
use burn_cubecl::cubecl::{self, prelude::*};
use burn_cubecl::kernel::cast;
use burn_cubecl::kernel::matmul::{MatmulStrategy, matmul};
use burn_cubecl::ops::{permute, reshape};
use burn_cubecl::tensor::CubeTensor;

use super::kernels::{Activated, empty_like, finished, normal, planes, threads};

/// So many rows are few: each number of a product with them is one thread's or one plane's.
const FEW: usize = 256;

/// Products over at least so many rows are divided, as the gradient of a weight is small and its sums are long.
const MANY: usize = 4096;

/// Into how many.
const PARTS: usize = 16;

/// Threads that sum strips of rows, about.
const UNITS: usize = 1 << 16;

/// A matrix product in single precision, of operands in any one format.
fn product<R: CubeRuntime>(a: CubeTensor<R>, b: CubeTensor<R>) -> CubeTensor<R> {
    // What burn does with a product that cannot be launched, too.
    matmul(a, b, None, MatmulStrategy::default(), DType::F32).expect("a product of matrices can be launched")
}

fn to<R: CubeRuntime>(tensor: CubeTensor<R>, format: DType) -> CubeTensor<R> {
    if tensor.dtype == format { tensor } else { cast(tensor, format) }
}

fn shaped<R: CubeRuntime, const D: usize>(like: &CubeTensor<R>, shape: [usize; D]) -> CubeTensor<R> {
    empty_like(like, Shape::new(shape), DType::F32)
}

/// What the gradients of a linear layer come from, and what it gives.
#[derive(Clone, Debug)]
pub(super) struct Linear<R: CubeRuntime> {
    /// `[rows, from]`, in the format of operands where rows are many.
    x: CubeTensor<R>,
    /// `[from, to]`, in the format of operands.
    weight: CubeTensor<R>,
    /// `[c]`, of which `to` is a multiple.
    bias: CubeTensor<R>,
    activated: Activated,
    /// `[rows, to]`: the product without its bias; where rows are few, the result.
    product: CubeTensor<R>,
    few: bool,
}

impl<R: CubeRuntime> Linear<R> {
    /// `x [rows, from]` by `weight [from, to]` with `bias [c]`, activated: `[rows, to]`. Operands are rounded to `format`.
    pub fn forward(
        x: CubeTensor<R>,
        weight: CubeTensor<R>,
        bias: CubeTensor<R>,
        activated: Activated,
        format: DType,
    ) -> (Self, CubeTensor<R>) {
        let weight = to(weight, format);
        let [rows, from] = x.meta.shape().dims();
        let [_, wide] = weight.meta.shape().dims();
        // What a GELU was given cannot be told from what it gave.
        let few = rows <= FEW && bias.meta.num_elements() == wide && activated != Activated::Gelu;
        if !few {
            let x = to(x, format);
            let product = product(x.clone(), weight.clone());
            let out = finished(product.clone(), bias.clone(), None, activated, DType::F32);
            return (Self { x, weight, bias, activated, product, few }, out);
        }
        let out = shaped(&x, [rows, wide]);
        let (cubes, cube) = threads(&out, rows * wide);
        few_rows::launch(
            &x.client.clone(),
            cubes,
            cube,
            x.clone().into_tensor_arg(),
            weight.clone().into_tensor_arg(),
            bias.clone().into_tensor_arg(),
            out.clone().into_tensor_arg(),
            from as u32,
            activated,
            format.into(),
        );
        (Self { x, weight, bias, activated, product: out.clone(), few }, out)
    }

    /// The gradients of input, weight and bias, from that of the result. The input's is left out unless it is wanted.
    pub fn back(self, gradient: CubeTensor<R>, of_x: bool) -> [Option<CubeTensor<R>>; 3] {
        if self.few { self.back_of_few(gradient, of_x) } else { self.back_of_many(gradient, of_x) }
    }

    fn back_of_few(self, gradient: CubeTensor<R>, of_x: bool) -> [Option<CubeTensor<R>>; 3] {
        let Self { x, weight, bias, activated, product: out, .. } = self;
        let ([rows, from], format) = (x.meta.shape().dims(), weight.dtype);
        let client = x.client.clone();
        let x_gradient = of_x.then(|| {
            let found = shaped(&x, [rows, from]);
            let (cubes, cube) = planes(&found, rows * from);
            few_rows_back_x::launch(
                &client,
                cubes,
                cube,
                gradient.clone().into_tensor_arg(),
                out.clone().into_tensor_arg(),
                weight.clone().into_tensor_arg(),
                found.clone().into_tensor_arg(),
                from as u32,
                bias.meta.num_elements() as u32,
                activated,
                format.into(),
            );
            found
        });
        let weights = shaped(&x, weight.meta.shape().dims::<2>());
        let biases = shaped(&x, bias.meta.shape().dims::<1>());
        let (cubes, cube) = threads(&weights, weights.meta.num_elements());
        few_rows_back_weight::launch(
            &client,
            cubes,
            cube,
            x.into_tensor_arg(),
            gradient.into_tensor_arg(),
            out.into_tensor_arg(),
            weights.clone().into_tensor_arg(),
            biases.clone().into_tensor_arg(),
            rows as u32,
            from as u32,
            activated,
            format.into(),
        );
        [x_gradient, Some(weights), Some(biases)]
    }

    fn back_of_many(self, gradient: CubeTensor<R>, of_x: bool) -> [Option<CubeTensor<R>>; 3] {
        let Self { x, weight, bias, activated, product: given, .. } = self;
        let ([rows, from], [_, wide]) = (x.meta.shape().dims(), weight.meta.shape().dims());
        let channels = bias.meta.num_elements();
        let strips = Strips::of(rows * wide / channels, channels);
        // Passed back through the activation, as an operand; and its sums.
        let passed = empty_like(&gradient, Shape::new([rows, wide]), weight.dtype);
        let sums = shaped(&gradient, [strips.count, channels]);
        let (cubes, cube) = threads(&sums, sums.meta.num_elements());
        many_rows_back::launch(
            &gradient.client.clone(),
            cubes,
            cube,
            gradient.into_tensor_arg(),
            given.into_tensor_arg(),
            bias.into_tensor_arg(),
            passed.clone().into_tensor_arg(),
            sums.clone().into_tensor_arg(),
            strips.rows as u32,
            strips.length as u32,
            activated,
            weight.dtype.into(),
        );
        let parts = if rows >= MANY && rows.is_multiple_of(PARTS) { PARTS } else { 1 };
        let divided =
            |tensor: &CubeTensor<R>, width| reshape(tensor.clone(), Shape::new([parts, rows / parts, width]));
        let products = product(permute(divided(&x, from), &[0, 2, 1]), divided(&passed, wide));
        let weights = summed(reshape(products, Shape::new([parts, from * wide])));
        let weights = reshape(weights, Shape::new([from, wide]));
        let of_x = of_x.then(|| product(passed, permute(weight, &[1, 0])));
        [of_x, Some(weights), Some(summed(sums))]
    }
}

/// Rows in strips, each column of which is a thread's.
struct Strips {
    rows: usize,
    /// Rows of a strip, the last one aside.
    length: usize,
    count: usize,
}

impl Strips {
    fn of(rows: usize, columns: usize) -> Self {
        let length = rows.div_ceil((UNITS / columns).max(1)).max(1);
        Self { rows, length, count: rows.div_ceil(length) }
    }
}

/// The sum of rows `[n, columns]`: `[columns]`.
fn summed<R: CubeRuntime>(rows: CubeTensor<R>) -> CubeTensor<R> {
    let [count, columns] = rows.meta.shape().dims();
    let out = shaped(&rows, [columns]);
    if count == 1 {
        return reshape(rows, Shape::new([columns]));
    }
    // Few columns are summed by a plane each, else too few threads would have too much to do.
    let by_plane = columns <= UNITS / 8;
    let (cubes, cube) = if by_plane { planes(&out, columns) } else { threads(&out, columns) };
    sum_rows::launch(
        &rows.client.clone(),
        cubes,
        cube,
        rows.into_tensor_arg(),
        out.clone().into_tensor_arg(),
        count as u32,
        by_plane,
    );
    out
}

/// The gradients of what [`super::kernels::normed`] takes, from that of what it gives in single precision, `[rows, c]`.
pub(super) fn norm_back<R: CubeRuntime>(
    x: CubeTensor<R>,
    [gamma, beta]: [CubeTensor<R>; 2],
    epsilon: f32,
    activated: Activated,
    gradient: CubeTensor<R>,
) -> [CubeTensor<R>; 3] {
    let [rows, channels] = x.meta.shape().dims();
    let client = x.client.clone();
    let (found, statistics) = (shaped(&x, [rows, channels]), shaped(&x, [rows, 2]));
    let (cubes, cube) = planes(&found, rows);
    norm_back_rows::launch(
        &client,
        cubes,
        cube,
        x.clone().into_tensor_arg(),
        gradient.clone().into_tensor_arg(),
        gamma.clone().into_tensor_arg(),
        beta.clone().into_tensor_arg(),
        found.clone().into_tensor_arg(),
        statistics.clone().into_tensor_arg(),
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
        x.into_tensor_arg(),
        gradient.into_tensor_arg(),
        gamma.into_tensor_arg(),
        beta.into_tensor_arg(),
        statistics.into_tensor_arg(),
        sums.clone().into_tensor_arg(),
        rows as u32,
        strips.length as u32,
        activated,
    );
    let sums = summed(sums);
    let half = |at: usize| burn_cubecl::kernel::slice(sums.clone(), &[at..at + channels]);
    [found, half(0), half(channels)]
}

/// What the gradients of an attention come from, and what it gives.
#[derive(Clone, Debug)]
pub(super) struct Attention<R: CubeRuntime> {
    queries: CubeTensor<R>,
    keys: CubeTensor<R>,
    values: CubeTensor<R>,
    heads: usize,
    /// The format of operands.
    format: DType,
    /// `[n, t, c]`.
    out: CubeTensor<R>,
    /// The logarithm of each query's sum of exponentials, `[n, t, heads]`.
    sums: CubeTensor<R>,
}

/// Sides so long are divided among the threads of a plane.
const LONG: usize = 64;

impl<R: CubeRuntime> Attention<R> {
    /// Attention of `queries [n, t, c]` to `keys` and `values [n, t', c]`, by heads. Queries, or keys, are meant to be few.
    pub fn forward(
        [queries, keys, values]: [CubeTensor<R>; 3],
        heads: usize,
        format: DType,
    ) -> (Self, CubeTensor<R>) {
        let [n, t, c] = queries.meta.shape().dims();
        let [_, others, _] = keys.meta.shape().dims();
        let (out, sums) = (shaped(&queries, [n, t, c]), shaped(&queries, [n, t, heads]));
        let (cubes, cube, divided) = workers(&out, n * t * heads, others);
        attend::launch(
            &queries.client.clone(),
            cubes,
            cube,
            queries.clone().into_tensor_arg(),
            keys.clone().into_tensor_arg(),
            values.clone().into_tensor_arg(),
            out.clone().into_tensor_arg(),
            sums.clone().into_tensor_arg(),
            scale(c / heads),
            t as u32,
            others as u32,
            heads as u32,
            (c / heads) as u32,
            divided,
            format.into(),
        );
        (Self { queries, keys, values, heads, format, out: out.clone(), sums }, out)
    }

    /// The gradients of queries, keys and values, from that of what is attended.
    pub fn back(self, gradient: CubeTensor<R>) -> [CubeTensor<R>; 3] {
        let Self { queries, keys, values, heads, format, out, sums } = self;
        let [n, t, c] = queries.meta.shape().dims();
        let [_, others, _] = keys.meta.shape().dims();
        let client = queries.client.clone();
        let of_queries = shaped(&queries, [n, t, c]);
        let [of_keys, of_values] = [(); 2].map(|()| shaped(&queries, [n, others, c]));
        let along = shaped(&queries, [n, t, heads]);
        let (cubes, cube, divided) = workers(&out, n * t * heads, others);
        attend_back_queries::launch(
            &client,
            cubes,
            cube,
            queries.clone().into_tensor_arg(),
            keys.clone().into_tensor_arg(),
            values.clone().into_tensor_arg(),
            out.clone().into_tensor_arg(),
            gradient.clone().into_tensor_arg(),
            sums.clone().into_tensor_arg(),
            of_queries.clone().into_tensor_arg(),
            along.clone().into_tensor_arg(),
            scale(c / heads),
            t as u32,
            others as u32,
            heads as u32,
            (c / heads) as u32,
            divided,
            format.into(),
        );
        let (cubes, cube, divided) = workers(&out, n * others * heads, t);
        attend_back_keys::launch(
            &client,
            cubes,
            cube,
            queries.into_tensor_arg(),
            keys.into_tensor_arg(),
            values.into_tensor_arg(),
            gradient.into_tensor_arg(),
            sums.into_tensor_arg(),
            along.into_tensor_arg(),
            of_keys.clone().into_tensor_arg(),
            of_values.clone().into_tensor_arg(),
            scale(c / heads),
            t as u32,
            others as u32,
            heads as u32,
            (c / heads) as u32,
            divided,
            format.into(),
        );
        [of_queries, of_keys, of_values]
    }
}

/// Who works on so many items, each against `others`: a thread each, or where others are many a plane each.
fn workers<R: CubeRuntime>(
    tensor: &CubeTensor<R>,
    items: usize,
    others: usize,
) -> (CubeCount, CubeDim, bool) {
    let divided = others >= LONG;
    let (cubes, cube) = if divided { planes(tensor, items) } else { threads(tensor, items) };
    (cubes, cube, divided)
}

fn scale(head: usize) -> f32 {
    (head as f32).powf(-0.5)
}

/// Pieces that are placed at once.
const TOGETHER: usize = 16;

/// `out [length]` with pieces in it, each from its start on.
pub(super) fn placed<R: CubeRuntime>(
    mut pieces: Vec<(usize, CubeTensor<R>)>,
    out: CubeTensor<R>,
) -> CubeTensor<R> {
    // Each has as many threads as the longest beside it.
    pieces.sort_by_key(|(_, piece)| piece.meta.num_elements());
    for pieces in pieces.chunks(TOGETHER) {
        let longest = pieces.last().map_or(0, |(_, piece)| piece.meta.num_elements());
        let cube = CubeDim::new_1d(256);
        let cubes = CubeCount::Static(longest.div_ceil(256) as u32, pieces.len() as u32, 1);
        let (mut starts, mut given) = (SequenceArg::new(), SequenceArg::new());
        for (start, piece) in pieces {
            starts.push(*start as u32);
            given.push(piece.clone().into_tensor_arg());
        }
        place::launch(&out.client.clone(), cubes, cube, given, starts, out.clone().into_tensor_arg());
    }
    out
}

/// A line of cubes for each piece.
#[cube(launch)]
fn place(pieces: &Sequence<Tensor<f32>>, starts: &Sequence<u32>, out: &mut Tensor<f32>) {
    let at = (CUBE_POS_X * CUBE_DIM_X + UNIT_POS_X) as usize;
    #[unroll]
    for i in 0..pieces.len() {
        if CUBE_POS_Y as usize == i {
            let piece = pieces.index(i);
            if at < piece.len() {
                out[*starts.index(i) as usize + at] = piece[at];
            }
        }
    }
}

/// A number rounded to a format.
#[cube]
fn rounded<E: Float>(x: f32) -> f32 {
    f32::cast_from(E::cast_from(x))
}

/// The slope of an activation at `x`.
#[cube]
fn slope(x: f32, #[comptime] activated: Activated) -> f32 {
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

#[cube(launch)]
fn few_rows<E: Float>(
    x: &Tensor<f32>,
    weight: &Tensor<E>,
    bias: &Tensor<f32>,
    out: &mut Tensor<f32>,
    from: u32,
    #[comptime] activated: Activated,
    #[define(E)] _dtype: StorageType,
) {
    if ABSOLUTE_POS >= out.len() {
        terminate!();
    }
    let wide = bias.len();
    let (row, column) = (ABSOLUTE_POS / wide, ABSOLUTE_POS % wide);
    let start = row * from as usize;
    let mut y = bias[column];
    for i in 0..from as usize {
        y += rounded::<E>(x[start + i]) * f32::cast_from(weight[i * wide + column]);
    }
    if comptime!(activated == Activated::Relu) {
        y = max(y, 0f32);
    }
    out[ABSOLUTE_POS] = y;
}

/// A plane for each number of the gradient. What a rectifier gave tells as much of its slope as what it was given.
#[cube(launch)]
fn few_rows_back_x<E: Float>(
    gradient: &Tensor<f32>,
    given: &Tensor<f32>,
    weight: &Tensor<E>,
    out: &mut Tensor<f32>,
    from: u32,
    wide: u32,
    #[comptime] activated: Activated,
    #[define(E)] _dtype: StorageType,
) {
    let item = CUBE_POS * CUBE_DIM_Y as usize + UNIT_POS_Y as usize;
    if item >= out.len() {
        terminate!();
    }
    let (row, column) = (item / from as usize, item % from as usize);
    let (start, of_weight) = (row * wide as usize, column * wide as usize);
    let mut sum = 0f32;
    let mut i = UNIT_POS_X;
    while i < wide {
        let at = start + i as usize;
        let passed = rounded::<E>(gradient[at] * slope(given[at], activated));
        sum += passed * f32::cast_from(weight[of_weight + i as usize]);
        i += CUBE_DIM_X;
    }
    let sum = plane_sum(sum);
    if UNIT_POS_X == 0 {
        out[item] = sum;
    }
}

/// A thread for each number of the gradient; those of the first row sum the bias's, too.
#[cube(launch)]
fn few_rows_back_weight<E: Float>(
    x: &Tensor<f32>,
    gradient: &Tensor<f32>,
    given: &Tensor<f32>,
    weights: &mut Tensor<f32>,
    biases: &mut Tensor<f32>,
    rows: u32,
    from: u32,
    #[comptime] activated: Activated,
    #[define(E)] _dtype: StorageType,
) {
    if ABSOLUTE_POS >= weights.len() {
        terminate!();
    }
    let wide = biases.len();
    let (i, column) = (ABSOLUTE_POS / wide, ABSOLUTE_POS % wide);
    let mut sum = 0f32;
    let mut of_bias = 0f32;
    for row in 0..rows as usize {
        let at = row * wide + column;
        let passed = gradient[at] * slope(given[at], activated);
        sum += rounded::<E>(x[row * from as usize + i]) * rounded::<E>(passed);
        of_bias += passed;
    }
    weights[ABSOLUTE_POS] = sum;
    if i == 0 {
        biases[column] = of_bias;
    }
}

/// A thread for each column of a strip.
#[cube(launch)]
fn many_rows_back<E: Float>(
    gradient: &Tensor<f32>,
    product: &Tensor<f32>,
    bias: &Tensor<f32>,
    passed: &mut Tensor<E>,
    sums: &mut Tensor<f32>,
    rows: u32,
    length: u32,
    #[comptime] activated: Activated,
    #[define(E)] _dtype: StorageType,
) {
    if ABSOLUTE_POS >= sums.len() {
        terminate!();
    }
    let channels = bias.len();
    let (strip, channel) = (ABSOLUTE_POS / channels, ABSOLUTE_POS % channels);
    let first = strip as u32 * length;
    let end = min(first + length, rows);
    let mut sum = 0f32;
    for row in first..end {
        let at = row as usize * channels + channel;
        let mut y = gradient[at];
        if comptime!(activated != Activated::Not) {
            y *= slope(product[at] + bias[channel], activated);
        }
        passed[at] = E::cast_from(y);
        sum += y;
    }
    sums[ABSOLUTE_POS] = sum;
}

#[cube(launch)]
fn sum_rows(x: &Tensor<f32>, out: &mut Tensor<f32>, rows: u32, #[comptime] by_plane: bool) {
    let columns = out.len();
    if comptime!(by_plane) {
        let column = CUBE_POS * CUBE_DIM_Y as usize + UNIT_POS_Y as usize;
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

/// A plane for each row: the gradient of `x`, and the row's mean and the inverse of its deviation, for the columns.
#[cube(launch)]
fn norm_back_rows(
    x: &Tensor<f32>,
    gradient: &Tensor<f32>,
    gamma: &Tensor<f32>,
    beta: &Tensor<f32>,
    out: &mut Tensor<f32>,
    statistics: &mut Tensor<f32>,
    epsilon: f32,
    #[comptime] channels: u32,
    #[comptime] activated: Activated,
) {
    let row = CUBE_POS * CUBE_DIM_Y as usize + UNIT_POS_Y as usize;
    if row >= statistics.len() / 2 {
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
    let mut squares = 0f32;
    i = UNIT_POS_X;
    while i < channels {
        let distance = x[start + i as usize] - mean;
        squares += distance * distance;
        i += CUBE_DIM_X;
    }
    let inverse = 1f32 / (plane_sum(squares) / channels as f32 + epsilon).sqrt();
    // Of the normed row: its mean, and its share along the row.
    let mut level = 0f32;
    let mut along = 0f32;
    i = UNIT_POS_X;
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
    x: &Tensor<f32>,
    gradient: &Tensor<f32>,
    gamma: &Tensor<f32>,
    beta: &Tensor<f32>,
    statistics: &Tensor<f32>,
    sums: &mut Tensor<f32>,
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

/// Lower than any score.
const LOWEST: f32 = -1e30;

/// A thread or a plane for each query of a head; scores are passed once, with what was summed scaled down where a larger one comes.
/// (Milakov and Gimelshein, 2018)
#[cube(launch)]
fn attend<E: Float>(
    queries: &Tensor<f32>,
    keys: &Tensor<f32>,
    values: &Tensor<f32>,
    out: &mut Tensor<f32>,
    sums: &mut Tensor<f32>,
    scale: f32,
    count: u32,
    others: u32,
    #[comptime] heads: u32,
    #[comptime] head: u32,
    #[comptime] divided: bool,
    #[define(E)] _dtype: StorageType,
) {
    let mut item = ABSOLUTE_POS;
    let mut first = 0u32;
    let mut step = 1u32;
    if comptime!(divided) {
        item = CUBE_POS * CUBE_DIM_Y as usize + UNIT_POS_Y as usize;
        first = UNIT_POS_X;
        step = CUBE_DIM_X;
    }
    if item >= sums.len() {
        terminate!();
    }
    let start = item * head as usize;
    let mut query = Array::<f32>::new(head as usize);
    let mut attended = Array::<f32>::new(head as usize);
    #[unroll]
    for e in 0..head as usize {
        query[e] = rounded::<E>(queries[start + e] * scale);
        attended[e] = 0f32;
    }
    let before = item as u32 / (count * heads) * others;
    let mut highest = f32::new(LOWEST);
    let mut sum = 0f32;
    let mut other = first;
    while other < others {
        let at = (((before + other) * heads + item as u32 % heads) * head) as usize;
        let mut score = 0f32;
        #[unroll]
        for e in 0..head as usize {
            score += query[e] * rounded::<E>(keys[at + e]);
        }
        let higher = max(highest, score);
        let kept = (highest - higher).exp();
        let weight = (score - higher).exp();
        sum = sum * kept + weight;
        #[unroll]
        for e in 0..head as usize {
            attended[e] = attended[e] * kept + weight * rounded::<E>(values[at + e]);
        }
        highest = higher;
        other += step;
    }
    if comptime!(divided) {
        let highest_of_all = plane_max(highest);
        let kept = (highest - highest_of_all).exp();
        sum = plane_sum(sum * kept);
        #[unroll]
        for e in 0..head as usize {
            attended[e] = plane_sum(attended[e] * kept);
        }
        highest = highest_of_all;
    }
    // One thread of a plane writes.
    if first == 0 {
        sums[item] = highest + sum.ln();
        #[unroll]
        for e in 0..head as usize {
            out[start + e] = attended[e] / sum;
        }
    }
}

/// A thread or a plane for each query of a head; `along` is what a query's gradient has along its softmax, for the keys.
#[cube(launch)]
fn attend_back_queries<E: Float>(
    queries: &Tensor<f32>,
    keys: &Tensor<f32>,
    values: &Tensor<f32>,
    attended: &Tensor<f32>,
    gradient: &Tensor<f32>,
    sums: &Tensor<f32>,
    out: &mut Tensor<f32>,
    along: &mut Tensor<f32>,
    scale: f32,
    count: u32,
    others: u32,
    #[comptime] heads: u32,
    #[comptime] head: u32,
    #[comptime] divided: bool,
    #[define(E)] _dtype: StorageType,
) {
    let mut item = ABSOLUTE_POS;
    let mut first = 0u32;
    let mut step = 1u32;
    if comptime!(divided) {
        item = CUBE_POS * CUBE_DIM_Y as usize + UNIT_POS_Y as usize;
        first = UNIT_POS_X;
        step = CUBE_DIM_X;
    }
    if item >= sums.len() {
        terminate!();
    }
    let start = item * head as usize;
    let mut query = Array::<f32>::new(head as usize);
    let mut back = Array::<f32>::new(head as usize);
    let mut of_query = Array::<f32>::new(head as usize);
    let mut own = 0f32;
    #[unroll]
    for e in 0..head as usize {
        query[e] = rounded::<E>(queries[start + e] * scale);
        back[e] = gradient[start + e];
        of_query[e] = 0f32;
        own += gradient[start + e] * attended[start + e];
    }
    let before = item as u32 / (count * heads) * others;
    let sum = sums[item];
    let mut other = first;
    while other < others {
        let at = (((before + other) * heads + item as u32 % heads) * head) as usize;
        let mut score = 0f32;
        let mut of_weight = 0f32;
        #[unroll]
        for e in 0..head as usize {
            score += query[e] * rounded::<E>(keys[at + e]);
            of_weight += back[e] * rounded::<E>(values[at + e]);
        }
        let of_score = (score - sum).exp() * (of_weight - own);
        #[unroll]
        for e in 0..head as usize {
            of_query[e] += of_score * rounded::<E>(keys[at + e]);
        }
        other += step;
    }
    if comptime!(divided) {
        #[unroll]
        for e in 0..head as usize {
            of_query[e] = plane_sum(of_query[e]);
        }
    }
    if first == 0 {
        along[item] = own;
        #[unroll]
        for e in 0..head as usize {
            out[start + e] = of_query[e] * scale;
        }
    }
}

/// A thread or a plane for each key of a head, and its value.
#[cube(launch)]
fn attend_back_keys<E: Float>(
    queries: &Tensor<f32>,
    keys: &Tensor<f32>,
    values: &Tensor<f32>,
    gradient: &Tensor<f32>,
    sums: &Tensor<f32>,
    along: &Tensor<f32>,
    of_keys: &mut Tensor<f32>,
    of_values: &mut Tensor<f32>,
    scale: f32,
    count: u32,
    others: u32,
    #[comptime] heads: u32,
    #[comptime] head: u32,
    #[comptime] divided: bool,
    #[define(E)] _dtype: StorageType,
) {
    let mut item = ABSOLUTE_POS;
    let mut first = 0u32;
    let mut step = 1u32;
    if comptime!(divided) {
        item = CUBE_POS * CUBE_DIM_Y as usize + UNIT_POS_Y as usize;
        first = UNIT_POS_X;
        step = CUBE_DIM_X;
    }
    if item >= keys.len() / head as usize {
        terminate!();
    }
    let start = item * head as usize;
    let mut key = Array::<f32>::new(head as usize);
    let mut value = Array::<f32>::new(head as usize);
    let mut of_key = Array::<f32>::new(head as usize);
    let mut of_value = Array::<f32>::new(head as usize);
    #[unroll]
    for e in 0..head as usize {
        key[e] = rounded::<E>(keys[start + e]);
        value[e] = rounded::<E>(values[start + e]);
        of_key[e] = 0f32;
        of_value[e] = 0f32;
    }
    let before = item as u32 / (others * heads) * count;
    let mut other = first;
    while other < count {
        let query = ((before + other) * heads + item as u32 % heads) as usize;
        let at = query * head as usize;
        let mut score = 0f32;
        let mut of_weight = 0f32;
        #[unroll]
        for e in 0..head as usize {
            score += rounded::<E>(queries[at + e] * scale) * key[e];
            of_weight += gradient[at + e] * value[e];
        }
        let weight = (score - sums[query]).exp();
        let of_score = weight * (of_weight - along[query]);
        #[unroll]
        for e in 0..head as usize {
            of_key[e] += of_score * rounded::<E>(queries[at + e] * scale);
            of_value[e] += weight * gradient[at + e];
        }
        other += step;
    }
    if comptime!(divided) {
        #[unroll]
        for e in 0..head as usize {
            of_key[e] = plane_sum(of_key[e]);
            of_value[e] = plane_sum(of_value[e]);
        }
    }
    if first == 0 {
        #[unroll]
        for e in 0..head as usize {
            of_keys[start + e] = of_key[e];
            of_values[start + e] = of_value[e];
        }
    }
}
