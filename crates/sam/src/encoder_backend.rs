//! What the image encoder needs of a backend beyond products of matrices.

use burn::tensor::activation::{relu, softmax};
use burn::tensor::{FloatDType, Tensor, backend::Backend};
use burn_nn::LayerNorm;
use resect_numeric::Activation;

use crate::Cpu;

/// How many attention scores are held at once: 32 MiB of f32. ViT-B's global attention has 201 million an image.
pub(crate) const SCORES_AT_ONCE: usize = 8 << 20;

/// Squares of tokens in which attention happens: windows, or whole images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Squares {
    /// How many there are.
    pub count: usize,
    /// Side of each, in tokens.
    pub side: usize,
    /// Attention heads.
    pub heads: usize,
    /// Channels of a head.
    pub head: usize,
}

impl Squares {
    /// Tokens of a square.
    pub(crate) fn tokens(&self) -> usize {
        self.side * self.side
    }

    /// Channels of all heads.
    pub(crate) fn channels(&self) -> usize {
        self.heads * self.head
    }
}

/// A backend on which images are encoded.
///
/// Its methods are written here with tensors, which is what the CPU backend computes when it stands for a reference. Backends for
/// GPUs replace them by kernels that pass over memory once.
///
/// Rows `[rows, c]` are tokens of one or more images. `format` is the one that operands of products have
/// ([`Precision`](resect_numeric::Precision)): what goes from one product to the next stays in it, what is added up over blocks is in single precision.
pub trait EncoderBackend: Backend {
    /// A layer norm over channels, in single precision, rounded to `format`. `epsilon` is the norm's own.
    fn normed(
        norm: &LayerNorm<Self>,
        _epsilon: f64,
        rows: Tensor<Self, 2>,
        format: FloatDType,
    ) -> Tensor<Self, 2> {
        norm.forward(rows).cast(format)
    }

    /// A product with its bias and perhaps an activation, in single precision, rounded to the product's format.
    fn biased(
        product: Tensor<Self, 2>,
        bias: Tensor<Self, 1>,
        activation: Option<Activation>,
    ) -> Tensor<Self, 2> {
        let format = product.dtype();
        let sum = product.cast(FloatDType::F32) + bias.unsqueeze();
        let sum = match activation {
            Some(Activation::Gelu) => burn::tensor::activation::gelu(sum),
            Some(Activation::Relu) => relu(sum),
            None => sum,
        };
        sum.cast(format)
    }

    /// Rows in single precision, and a product with its bias added to them.
    fn added(rows: Tensor<Self, 2>, product: Tensor<Self, 2>, bias: Tensor<Self, 1>) -> Tensor<Self, 2> {
        rows + (product.cast(FloatDType::F32) + bias.unsqueeze())
    }

    /// Attention within squares: queries, keys and values `[count * tokens, 3 * heads * head]`, side by side, to
    /// `[count * tokens, heads * head]` in the same format. `tables` are relative positions, by row and by column,
    /// `[2 side - 1, head]` each.
    fn attended(
        qkv: Tensor<Self, 2>,
        squares: Squares,
        tables: Option<[Tensor<Self, 2>; 2]>,
    ) -> Tensor<Self, 2> {
        attended_by_products(qkv, squares, tables, SCORES_AT_ONCE)
    }
}

impl EncoderBackend for Cpu {}

/// Attention as products of matrices, with at most so many scores in memory.
///
/// The score of query `q` at `(y, x)` and key `k` at `(y', x')` is `scale q.k + q.R_h[y - y'] + q.R_w[x - x']`. It is computed as
/// one product, of the query `[scale q, q.R_h, q.R_w]` with the key `[k, onehot(y'), onehot(x')]`, for a block of queries at a
/// time: the whole score matrix of a large image would not fit, and adding positions to it would be slower than the product. In a
/// narrower format the positions' share is an operand and rounded as such.
pub(crate) fn attended_by_products<B: Backend>(
    qkv: Tensor<B, 2>,
    squares: Squares,
    tables: Option<[Tensor<B, 2>; 2]>,
    scores_at_once: usize,
) -> Tensor<B, 2> {
    let Squares { count, side, heads, head } = squares;
    let (tokens, all) = (squares.tokens(), count * heads);
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
fn attend<B: Backend>(
    q: Tensor<B, 3>,
    k: Tensor<B, 3>,
    v: Tensor<B, 3>,
    scores_at_once: usize,
) -> Tensor<B, 3> {
    let [m, t, _] = q.dims();
    let format = q.dtype();
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
fn relative_scores<B: Backend>(q: Tensor<B, 4>, table: Tensor<B, 2>) -> Tensor<B, 4> {
    let [_, s, _, d] = q.dims();
    let format = q.dtype();
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

#[cfg(test)]
mod tests;
