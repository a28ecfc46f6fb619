//! Linear layers, and their gradients.

use burn::tensor::{DType, Shape};
use burn_cubecl::CubeRuntime;
use burn_cubecl::cubecl::{self, prelude::*};
use burn_cubecl::kernel::matmul::{MatmulStrategy, matmul};
use burn_cubecl::kernel::{cast, into_contiguous};
use burn_cubecl::ops::{permute, reshape};
use burn_cubecl::tensor::CubeTensor;

use super::Given;
use super::kernels::finished;
use super::launch::{
    Activated, Strips, activated_number, empty_like, plane_item, planes, rounded, shaped, slope, summed,
    threads,
};

/// Up to this number of rows, one thread or one plane computes each number of a product.
const FEW: usize = 256;

/// From this number of rows on, the gradient of a weight is computed in parts: it is small, and its sums are long.
const MANY: usize = 4096;

/// The number of these parts.
const PARTS: usize = 16;

/// A matrix product in some format, of operands in any one format.
fn product<R: CubeRuntime>(a: CubeTensor<R>, b: CubeTensor<R>, format: DType) -> CubeTensor<R> {
    // burn does the same with a product that cannot be launched.
    matmul(a, b, None, MatmulStrategy::default(), format).expect("a product of matrices can be launched")
}

/// Whether a product of so many rows is one kernel, with its bias and its activation.
///
/// The input of a GELU cannot be computed from its result.
fn is_one_kernel<R: CubeRuntime>(
    rows: usize,
    wide: usize,
    bias: &CubeTensor<R>,
    activated: Activated,
) -> bool {
    rows <= FEW && bias.meta.num_elements() == wide && activated != Activated::Gelu
}

/// `x [rows, from]` by `weight [from, to]` with `bias [to]`, activated: `[rows, to]`, all in single precision but for the weight, to
/// whose format `x` is rounded.
fn few<R: CubeRuntime>(
    x: CubeTensor<R>,
    weight: CubeTensor<R>,
    bias: CubeTensor<R>,
    activated: Activated,
) -> CubeTensor<R> {
    let ([rows, from], [_, wide]) = (x.meta.shape().dims(), weight.meta.shape().dims());
    let (out, format) = (shaped(&x, [rows, wide]), weight.dtype);
    let (cubes, cube) = threads(&out, rows * wide);
    few_rows::launch(
        &x.client.clone(),
        cubes,
        cube,
        x.into_array_arg(),
        weight.into_array_arg(),
        bias.into_array_arg(),
        out.clone().into_array_arg(),
        from as u32,
        activated,
        format.into(),
    );
    out
}

/// `x [rows, from]` by `weight [from, to]`, which may be a transpose, with `bias [c]`, activated and added to a residual `[rows, to]`:
/// `[rows, to]` in the format `result`.
///
/// Operands are rounded to `operands`. Where `x` comes in a narrow format the product is stored in it, else in single precision.
pub(super) fn linear<R: CubeRuntime>(
    x: CubeTensor<R>,
    weight: CubeTensor<R>,
    bias: Option<CubeTensor<R>>,
    activated: Activated,
    residual: Option<CubeTensor<R>>,
    [operands, result]: [DType; 2],
) -> CubeTensor<R> {
    let ([rows, _], [_, wide]) = (x.meta.shape().dims(), weight.meta.shape().dims());
    let weight = cast(weight, operands);
    let single = [x.dtype, result] == [DType::F32; 2];
    if let (Some(bias), None, true) = (&bias, &residual, single)
        && is_one_kernel(rows, wide, bias, activated)
    {
        return few(x, into_contiguous(weight), bias.clone(), activated);
    }
    let format = if x.dtype == DType::F32 { DType::F32 } else { operands };
    finished(product(cast(x, operands), weight, format), bias, residual, activated, result)
}

/// What the backward pass of a linear layer needs.
#[derive(Clone, Debug)]
pub(super) struct Linear<R: CubeRuntime> {
    /// `[rows, from]`, in the format of operands where rows are many.
    x: CubeTensor<R>,
    /// The format of `x` and of its gradient.
    given: DType,
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
        let ([rows, _], [_, wide]) = (x.meta.shape().dims(), weight.meta.shape().dims());
        let (given, weight) = (x.dtype, cast(weight, format));
        if given == DType::F32 && is_one_kernel(rows, wide, &bias, activated) {
            let out = few(x.clone(), weight.clone(), bias.clone(), activated);
            return (Self { x, given, weight, bias, activated, product: out.clone(), few: true }, out);
        }
        let x = cast(x, format);
        let product = product(x.clone(), weight.clone(), DType::F32);
        let out = finished(product.clone(), Some(bias.clone()), None, activated, DType::F32);
        (Self { x, given, weight, bias, activated, product, few: false }, out)
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
                gradient.clone().into_array_arg(),
                out.clone().into_array_arg(),
                weight.clone().into_array_arg(),
                found.clone().into_array_arg(),
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
            x.into_array_arg(),
            gradient.into_array_arg(),
            out.into_array_arg(),
            weights.clone().into_array_arg(),
            biases.clone().into_array_arg(),
            rows as u32,
            from as u32,
            activated,
            format.into(),
        );
        [x_gradient, Some(weights), Some(biases)]
    }

    fn back_of_many(self, gradient: CubeTensor<R>, of_x: bool) -> [Option<CubeTensor<R>>; 3] {
        let Self { x, given, weight, bias, activated, product: before, .. } = self;
        let ([rows, from], [_, wide]) = (x.meta.shape().dims(), weight.meta.shape().dims());
        let channels = bias.meta.num_elements();
        let strips = Strips::of(rows * wide / channels, channels);
        // The gradient before the activation, as an operand, and its sums.
        let passed = empty_like(&gradient, Shape::new([rows, wide]), weight.dtype);
        let sums = shaped(&gradient, [strips.count, channels]);
        let (cubes, cube) = threads(&sums, sums.meta.num_elements());
        many_rows_back::launch(
            &gradient.client.clone(),
            cubes,
            cube,
            gradient.into_array_arg(),
            before.into_array_arg(),
            bias.into_array_arg(),
            passed.clone().into_array_arg(),
            sums.clone().into_array_arg(),
            strips.rows as u32,
            strips.length as u32,
            activated,
            weight.dtype.into(),
        );
        let parts = if rows >= MANY && rows.is_multiple_of(PARTS) { PARTS } else { 1 };
        let divided =
            |tensor: &CubeTensor<R>, width| reshape(tensor.clone(), Shape::new([parts, rows / parts, width]));
        let products = product(permute(divided(&x, from), &[0, 2, 1]), divided(&passed, wide), DType::F32);
        let weights = summed(reshape(products, Shape::new([parts, from * wide])));
        let weights = reshape(weights, Shape::new([from, wide]));
        let of_x = of_x.then(|| product(passed, permute(weight, &[1, 0]), given));
        [of_x, Some(weights), Some(summed(sums))]
    }
}

/// Input, weight and bias.
impl<R: CubeRuntime> Given<R, 3> for Linear<R> {
    fn back(self, gradient: CubeTensor<R>, [of_x, ..]: [bool; 3]) -> [Option<CubeTensor<R>>; 3] {
        if self.few { self.back_of_few(gradient, of_x) } else { self.back_of_many(gradient, of_x) }
    }
}

#[cube(launch)]
fn few_rows<E: Float>(
    x: &Array<f32>,
    weight: &Array<E>,
    bias: &Array<f32>,
    out: &mut Array<f32>,
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
    out[ABSOLUTE_POS] = activated_number(y, activated);
}

/// A plane for each number of the gradient. The derivative of a rectifier follows from its result as well as from its input.
#[cube(launch)]
fn few_rows_back_x<E: Float>(
    gradient: &Array<f32>,
    given: &Array<f32>,
    weight: &Array<E>,
    out: &mut Array<f32>,
    from: u32,
    wide: u32,
    #[comptime] activated: Activated,
    #[define(E)] _dtype: StorageType,
) {
    let item = plane_item();
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

/// A thread for each number of the gradient. The threads of the first row also sum the gradient of the bias.
#[cube(launch)]
fn few_rows_back_weight<E: Float>(
    x: &Array<f32>,
    gradient: &Array<f32>,
    given: &Array<f32>,
    weights: &mut Array<f32>,
    biases: &mut Array<f32>,
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
    gradient: &Array<f32>,
    product: &Array<f32>,
    bias: &Array<f32>,
    passed: &mut Array<E>,
    sums: &mut Array<f32>,
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
