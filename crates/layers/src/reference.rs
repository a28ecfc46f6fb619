//! The layers in tensors: what they mean, on any backend, with gradients.

use burn::tensor::activation::{relu, softmax};
use burn::tensor::{FloatDType, Tensor, backend::Backend};
use resect_numeric::{Activation, Precision};

use crate::{Affine, Rounding, Squares};

/// How many attention scores are held at once: 32 MiB of f32. ViT-B's global attention has 201 million an image.
pub const SCORES_AT_ONCE: usize = 8 << 20;

/// The format that numbers are rounded to; none where they stay as they are.
pub fn narrow(precision: Precision) -> Option<FloatDType> {
    match precision {
        Precision::F32 => None,
        Precision::Bf16 => Some(FloatDType::BF16),
        Precision::F16 => Some(FloatDType::F16),
    }
}

/// Numbers in the format that `precision` names.
fn stored<B: Backend, const D: usize>(x: Tensor<B, D>, precision: Precision) -> Tensor<B, D> {
    x.cast(narrow(precision).unwrap_or(FloatDType::F32))
}

/// The matrix product of two tensors, whose operands are rounded to `precision`, in single precision.
///
/// burn's products give the format that they take, so the result, which was summed in single precision, passes through that
/// format, too. So does the gradient of each operand: the casts turn round on the way back. That is what `torch.autocast` does,
/// and what the matrix units of GPUs are fast at.
pub fn product<B: Backend, const D: usize>(
    a: Tensor<B, D>,
    b: Tensor<B, D>,
    precision: Precision,
) -> Tensor<B, D> {
    stored(a, precision).matmul(stored(b, precision)).cast(FloatDType::F32)
}

/// The exact GELU, `x * (1 + erf(x / sqrt 2)) / 2`, with its exact gradient.
///
/// Composed, because the gradient of burn's own is the one of the tanh approximation on some backends.
pub fn gelu<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    let gate = x.clone().mul_scalar(std::f64::consts::FRAC_1_SQRT_2).erf().add_scalar(1.0);
    x.mul(gate).mul_scalar(0.5)
}

/// An activation, where there is one.
pub fn activate<B: Backend, const D: usize>(activation: Option<Activation>, x: Tensor<B, D>) -> Tensor<B, D> {
    match activation {
        Some(Activation::Gelu) => gelu(x),
        Some(Activation::Relu) => relu(x),
        None => x,
    }
}

/// [`crate::Layers::activation_layer`]
pub fn activated<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    activation: Option<Activation>,
    result: Precision,
) -> Tensor<B, D> {
    stored(activate(activation, x), result)
}

/// `x + residual`, or `x` where there is no residual.
pub(crate) fn with_residual<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    residual: Option<Tensor<B, D>>,
) -> Tensor<B, D> {
    match residual {
        Some(residual) => x + residual,
        None => x,
    }
}

/// [`crate::Layers::linear_layer`]
pub fn linear<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    weight: Tensor<B, 2>,
    bias: Option<Tensor<B, 1>>,
    activation: Option<Activation>,
    residual: Option<Tensor<B, D>>,
    rounding: Rounding,
) -> Tensor<B, D> {
    let mut dims = x.dims();
    let [from, to] = weight.dims();
    let rows = dims.iter().product::<usize>() / from;
    dims[D - 1] = to;
    // With more than two axes burn multiplies one small matrix per leading index.
    let y = product(x.reshape([rows, from]), weight, rounding.operands);
    let y = match bias {
        Some(bias) => {
            let [channels] = bias.dims();
            (y.reshape([rows * to / channels, channels]) + bias.unsqueeze()).reshape([rows, to])
        }
        None => y,
    };
    let y = activate(activation, y).reshape(dims);
    match residual {
        Some(residual) => residual + y,
        None => stored(y, rounding.result),
    }
}

/// [`crate::Layers::norm_layer`]
pub fn norm<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    residual: Option<Tensor<B, D>>,
    affine: Affine<B>,
    activation: Option<Activation>,
    result: Precision,
) -> Tensor<B, D> {
    let x = with_residual(x, residual);
    let centred = x.clone() - x.mean_dim(D - 1);
    let variance = (centred.clone() * centred.clone()).mean_dim(D - 1);
    let unit = centred / variance.add_scalar(affine.epsilon).sqrt();
    let y = unit * affine.gamma.unsqueeze() + affine.beta.unsqueeze();
    activated(y, activation, result)
}

/// [`crate::Layers::cross_attention`]
pub fn attention<B: Backend>(
    queries: Tensor<B, 3>,
    keys: Tensor<B, 3>,
    values: Tensor<B, 3>,
    heads: usize,
    precision: Precision,
) -> Tensor<B, 3> {
    let split = |x: Tensor<B, 3>| {
        let [n, t, c] = x.dims();
        x.reshape([n, t, heads, c / heads]).swap_dims(1, 2)
    };
    let (q, k, v) = (split(queries), split(keys), split(values));
    let [n, _, tokens, head] = q.dims();
    // SAM scales the queries before the product.
    let scores = product(q.mul_scalar((head as f64).powf(-0.5)), k.swap_dims(2, 3), precision);
    let attended = product(softmax(scores, 3), v, precision);
    attended.swap_dims(1, 2).reshape([n, tokens, heads * head])
}

/// Cuts tokens of images `[images, grid * grid, c]` into squares `[count * tokens, c]`, row by row.
///
/// What is missing on the right and bottom is filled with `outside`, `[c]`, or with zeros.
pub fn windowed<B: Backend>(
    x: Tensor<B, 3>,
    outside: Option<Tensor<B, 1>>,
    squares: Squares,
) -> Tensor<B, 2> {
    let [images, _, c] = x.dims();
    let (grid, side, across) = (squares.grid, squares.side(), squares.across());
    let x = x.reshape([images, grid, grid, c]);
    let all = squares.count() * squares.tokens();
    if across == 1 && grid == side {
        return x.reshape([all, c]);
    }
    let room = across * side;
    let x = match room == grid {
        true => x,
        false => {
            let shape = [images, room, room, c];
            let filled = match outside {
                Some(outside) => outside.reshape([1, 1, 1, c]).cast(FloatDType::F32).expand(shape),
                None => Tensor::zeros(shape, (&x.device(), burn::tensor::DType::F32)),
            };
            filled.cast(float(&x)).slice_assign([0..images, 0..grid, 0..grid, 0..c], x)
        }
    };
    x.reshape([images, across, side, across, side, c]).swap_dims(2, 3).reshape([all, c])
}

/// Undoes [`windowed`].
pub fn unwindowed<B: Backend>(rows: Tensor<B, 2>, squares: Squares) -> Tensor<B, 3> {
    let [_, c] = rows.dims();
    let Squares { images, grid, .. } = squares;
    let (side, across) = (squares.side(), squares.across());
    if across == 1 && grid == side {
        return rows.reshape([images, grid * grid, c]);
    }
    let x = rows.reshape([images, across, across, side, side, c]).swap_dims(2, 3).reshape([
        images,
        across * side,
        across * side,
        c,
    ]);
    let x = if across * side == grid { x } else { x.slice([0..images, 0..grid, 0..grid, 0..c]) };
    x.reshape([images, grid * grid, c])
}

/// The format of a tensor.
fn float<B: Backend, const D: usize>(x: &Tensor<B, D>) -> FloatDType {
    match x.dtype() {
        burn::tensor::DType::BF16 => FloatDType::BF16,
        burn::tensor::DType::F16 => FloatDType::F16,
        _ => FloatDType::F32,
    }
}

/// [`crate::Layers::attention_in_squares`] as products of matrices, with at most `scores_at_once` scores in memory.
///
/// The score of query `q` at `(y, x)` and key `k` at `(y', x')` is `scale q.k + q.R_h[y - y'] + q.R_w[x - x']`. It is computed as
/// one product, of the query `[scale q, q.R_h, q.R_w]` with the key `[k, onehot(y'), onehot(x')]`, for a block of queries at a
/// time: the whole score matrix of a large image would not fit, and adding positions to it would be slower than the product. In a
/// narrower format the positions' share is an operand and rounded as such.
pub fn attention_in_squares<B: Backend>(
    qkv: Tensor<B, 2>,
    tables: Option<[Tensor<B, 2>; 2]>,
    squares: Squares,
    precision: Precision,
    scores_at_once: usize,
) -> Tensor<B, 2> {
    let Squares { heads, head, .. } = squares;
    let (count, side, tokens) = (squares.count(), squares.side(), squares.tokens());
    let all = count * heads;
    let qkv = stored(qkv, precision);
    let qkv =
        qkv.reshape([count, tokens, 3, heads, head]).permute([2, 0, 3, 1, 4]).reshape([3, all, tokens, head]);
    let part = |i: usize| qkv.clone().slice_dim(0, i..i + 1).reshape([all, tokens, head]);
    let (q, k, v) = (part(0), part(1), part(2));
    let scaled = q.clone().mul_scalar((head as f64).powf(-0.5));
    let (queries, keys) = match tables {
        Some([rows, columns]) => {
            let q = q.reshape([all, side, side, head]);
            let along_h = relative_scores(q.clone(), rows);
            let along_w = relative_scores(q.swap_dims(1, 2), columns).swap_dims(1, 2);
            let positions = Tensor::cat(vec![along_h, along_w], 3).reshape([all, tokens, 2 * side]);
            let places = coordinates(side, &k).expand([all, tokens, 2 * side]);
            (Tensor::cat(vec![scaled, positions], 2), Tensor::cat(vec![k, places], 2))
        }
        None => (scaled, k),
    };
    let attended = attend(queries, keys.swap_dims(1, 2), v, scores_at_once);
    attended
        .reshape([count, heads, tokens, head])
        .swap_dims(1, 2)
        .reshape([count * tokens, squares.channels()])
}

/// `softmax(q k) v` for `q [m, t, e]`, `k [m, e, t]` and `v [m, t, d]`, with at most so many scores in memory (and at least one
/// row of each `m`). Queries do not see one another, so how they are divided does not change what is computed. The softmax is in
/// single precision.
pub(crate) fn attend<B: Backend>(
    q: Tensor<B, 3>,
    k: Tensor<B, 3>,
    v: Tensor<B, 3>,
    scores_at_once: usize,
) -> Tensor<B, 3> {
    let [m, t, _] = q.dims();
    let format = float(&q);
    let rows = |q: Tensor<B, 3>, k: Tensor<B, 3>, v: Tensor<B, 3>| {
        softmax(q.matmul(k).cast(FloatDType::F32), 2).cast(format).matmul(v)
    };
    let whole = scores_at_once / (t * t);
    if whole >= m {
        return rows(q, k, v);
    }
    if whole >= 1 {
        // Small squares, many of them: some whole squares at a time.
        let some = |x: &Tensor<B, 3>, i: usize| x.clone().slice_dim(0, i..(i + whole).min(m));
        return Tensor::cat(
            (0..m).step_by(whole).map(|i| rows(some(&q, i), some(&k, i), some(&v, i))).collect(),
            0,
        );
    }
    let step = (scores_at_once / (m * t)).max(1);
    let blocks = (0..t).step_by(step).map(|i| {
        let some = q.clone().slice_dim(1, i..(i + step).min(t));
        rows(some, k.clone(), v.clone())
    });
    Tensor::cat(blocks.collect(), 1)
}

/// Scores of queries `[m, s, s', d]` against every distance along their second axis: `[m, s, s', s]`, element
/// `(i, j, k)` being the product of query `(i, j)` with the table's row for the distance `i - k`.
pub(crate) fn relative_scores<B: Backend>(q: Tensor<B, 4>, table: Tensor<B, 2>) -> Tensor<B, 4> {
    let [_, s, _, d] = q.dims();
    let format = float(&q);
    // Row `i` takes the distances `i` down to `i - s + 1`, which lie one after the other in the table.
    let table = table.flip([0]);
    let rows = (0..s).map(|i| table.clone().slice_dim(0, s - 1 - i..2 * s - 1 - i));
    let table = Tensor::stack::<3>(rows.collect(), 0).cast(format);
    q.matmul(table.swap_dims(1, 2).reshape([1, s, d, s]))
}

/// For every token of a square, its row and its column as two one-hot vectors: `[1, s * s, 2 s]`, in the format of `like`.
fn coordinates<B: Backend>(s: usize, like: &Tensor<B, 3>) -> Tensor<B, 3> {
    let mut hot = vec![0f32; s * s * 2 * s];
    for (token, place) in hot.chunks_exact_mut(2 * s).enumerate() {
        place[token / s] = 1.0;
        place[s + token % s] = 1.0;
    }
    let hot = Tensor::<B, 1>::from_data(hot.as_slice(), &like.device());
    hot.reshape([1, s * s, 2 * s]).cast(like.dtype())
}

/// [`crate::Layers::to_rows`]
pub fn to_rows<B: Backend>(x: Tensor<B, 4>, summand: Option<Tensor<B, 4>>) -> Tensor<B, 3> {
    let x = with_residual(x, summand);
    let [n, c, h, w] = x.dims();
    x.reshape([n, c, h * w]).swap_dims(1, 2)
}

/// [`crate::Layers::neighbourhoods`]
pub fn neighbourhoods<B: Backend>(x: Tensor<B, 3>, side: usize) -> Tensor<B, 3> {
    let [n, _, c] = x.dims();
    let framed = Tensor::zeros([n, side + 2, side + 2, c], (&x.device(), x.dtype()));
    let inside = [0..n, 1..side + 1, 1..side + 1, 0..c];
    let framed = framed.slice_assign(inside, x.reshape([n, side, side, c]));
    let shifted = (0..9).map(|place| {
        let (y, x) = (place / 3, place % 3);
        framed.clone().slice([0..n, y..y + side, x..x + side, 0..c])
    });
    Tensor::cat(shifted.collect(), 3).reshape([n, side * side, 9 * c])
}

/// [`crate::Layers::masks`]
pub fn masks<B: Backend>(
    weights: Tensor<B, 3>,
    image: Tensor<B, 3>,
    [h, w]: [usize; 2],
    precision: Precision,
) -> Tensor<B, 4> {
    let [n, count, _] = weights.dims();
    product(weights, image.swap_dims(1, 2), precision)
        .reshape([n * count, h, w, 2, 2, 2, 2])
        .permute([0, 1, 3, 5, 2, 4, 6])
        .reshape([n, count, 4 * h, 4 * w])
}

#[cfg(test)]
mod tests;
