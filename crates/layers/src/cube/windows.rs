//! Tokens of images cut into windows, and windows put together again: one kernel each.

use burn::tensor::Shape;
use burn_cubecl::CubeRuntime;
use burn_cubecl::cubecl::{self, prelude::*};
use burn_cubecl::tensor::CubeTensor;

use super::launch::{empty_like, shaped, threads};
use crate::Squares;

/// Tokens `[images, grid * grid, c]` to windows `[count * side * side, c]` in the same format. Cells beyond the image are filled with
/// `outside`, `[c]` in single precision, or with zeros.
pub(super) fn windowed<R: CubeRuntime>(
    x: CubeTensor<R>,
    outside: Option<CubeTensor<R>>,
    squares: Squares,
) -> CubeTensor<R> {
    let [_, _, channels] = x.meta.shape().dims();
    let rows = squares.count() * squares.tokens();
    let out = empty_like(&x, Shape::new([rows, channels]), x.dtype);
    let (cubes, cube) = threads(&out, rows * channels);
    let filled = outside.is_some();
    let outside = outside.unwrap_or_else(|| shaped(&x, [1]));
    let dtype = x.dtype;
    cut::launch(
        &x.client.clone(),
        cubes,
        cube,
        x.into_array_arg(),
        outside.into_array_arg(),
        out.clone().into_array_arg(),
        squares.grid as u32,
        squares.side() as u32,
        squares.across() as u32,
        channels as u32,
        filled,
        dtype.into(),
    );
    out
}

/// Undoes [`windowed`].
pub(super) fn unwindowed<R: CubeRuntime>(x: CubeTensor<R>, squares: Squares) -> CubeTensor<R> {
    let [_, channels] = x.meta.shape().dims();
    let tokens = squares.grid * squares.grid;
    let out = empty_like(&x, Shape::new([squares.images, tokens, channels]), x.dtype);
    let (cubes, cube) = threads(&out, out.meta.num_elements());
    let dtype = x.dtype;
    join::launch(
        &x.client.clone(),
        cubes,
        cube,
        x.into_array_arg(),
        out.clone().into_array_arg(),
        squares.grid as u32,
        squares.side() as u32,
        squares.across() as u32,
        channels as u32,
        dtype.into(),
    );
    out
}

/// A thread for each number of a window.
#[cube(launch)]
fn cut<E: Float>(
    x: &Array<E>,
    outside: &Array<f32>,
    out: &mut Array<E>,
    grid: u32,
    side: u32,
    across: u32,
    channels: u32,
    #[comptime] filled: bool,
    #[define(E)] _dtype: StorageType,
) {
    if ABSOLUTE_POS >= out.len() {
        terminate!();
    }
    let at = ABSOLUTE_POS as u32;
    let channel = at % channels;
    let token = at / channels;
    let within = token % (side * side);
    let square = token / (side * side);
    let image = square / (across * across);
    let row = square % (across * across) / across * side + within / side;
    let column = square % across * side + within % side;
    let mut y = E::new(0.0);
    if row < grid && column < grid {
        y = x[(((image * grid + row) * grid + column) * channels + channel) as usize];
    } else if comptime!(filled) {
        y = E::cast_from(outside[channel as usize]);
    }
    out[ABSOLUTE_POS] = y;
}

/// A thread for each number of an image.
#[cube(launch)]
fn join<E: Float>(
    x: &Array<E>,
    out: &mut Array<E>,
    grid: u32,
    side: u32,
    across: u32,
    channels: u32,
    #[define(E)] _dtype: StorageType,
) {
    if ABSOLUTE_POS >= out.len() {
        terminate!();
    }
    let at = ABSOLUTE_POS as u32;
    let channel = at % channels;
    let token = at / channels;
    let column = token % grid;
    let row = token / grid % grid;
    let image = token / (grid * grid);
    let square = (image * across + row / side) * across + column / side;
    let within = row % side * side + column % side;
    out[ABSOLUTE_POS] = x[((square * side * side + within) * channels + channel) as usize];
}
