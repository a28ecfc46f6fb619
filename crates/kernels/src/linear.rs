//! Linear layers and their gradients.

use std::borrow::Cow;

use resect_numeric::{Activation, Precision};

use crate::activation::{Upstream, activate};
use crate::blocks::{by_rows, each_item};
use crate::buffer::Buffer;
use crate::elementwise::{add_to, sum_parts};
use crate::matmul::{Accumulate, Matrix, matmul};
use crate::norm::{Kept, Norm};
use crate::rounding::{operand, round};
use crate::vector::{each, vectorised};

/// A linear layer, `y = act(x W + b)`.
#[derive(Clone, Debug)]
pub struct Linear<'a> {
    /// `W`, `[from, to]`, rounded.
    weight: Cow<'a, [f32]>,
    bias: Option<&'a [f32]>,
    from: usize,
    precision: Precision,
}

/// Where a gradient goes.
#[derive(Debug)]
pub struct Target<'a> {
    /// As many numbers as the variable has.
    pub gradient: &'a mut [f32],
    /// Whether there is a gradient already, which is added to.
    pub accumulate: Accumulate,
}

impl<'a> Target<'a> {
    /// Parts of `length` numbers each, the last one aside; `count` times none where there is no target.
    pub(crate) fn chunks(target: Option<Self>, length: usize, count: usize) -> Vec<Option<Self>> {
        match target {
            Some(Self { gradient, accumulate }) => {
                gradient.chunks_mut(length).map(|gradient| Some(Self { gradient, accumulate })).collect()
            }
            None => (0..count).map(|_| None).collect(),
        }
    }

    /// Writes or adds some numbers.
    pub(crate) fn give(self, numbers: &[f32]) {
        match self.accumulate {
            Accumulate::No => crate::copy(self.gradient, numbers),
            Accumulate::Yes => add_to(self.gradient, numbers),
        }
    }
}

/// Rows of which the gradients of an input and of a weight are computed together, while they are in a core's cache.
const TOGETHER: usize = 512;
/// Strips of rows, at most, over which the gradient of a weight is summed on threads of their own.
const STRIPS: usize = 8;
/// A strip has a multiple of so many rows.
const STRIP: usize = 256;
/// The work on few rows is divided by columns of the weight when the weight has at least so many numbers.
const LARGE_WEIGHT: usize = 1 << 16;
/// Into so many parts.
const PARTS: usize = 4;

/// Rows of a strip.
pub(crate) fn strip(rows: usize) -> usize {
    rows.div_ceil(STRIPS).next_multiple_of(STRIP).max(STRIP)
}

impl<'a> Linear<'a> {
    /// A layer of a weight `[from, to]` and a bias `[to]`, or a divisor of it: `to / bias.len()` outputs beside one another then have the
    /// same bias. That is a transposed convolution whose stride is its kernel. Operands of products are rounded to `precision`.
    pub fn new(weight: &'a [f32], bias: Option<&'a [f32]>, from: usize, precision: Precision) -> Self {
        Self { weight: operand(precision, weight), bias, from, precision }
    }

    /// Columns of the result.
    pub fn to(&self) -> usize {
        self.weight.len() / self.from
    }

    /// Writes the result for `x` `[rows, from]` to `y` `[rows, to]`, rounded to `result`; with [`Accumulate::Yes`] adds it to what
    /// is in `y`, a residual. Each sample has `sample` rows, and its result does not depend on other samples.
    ///
    /// `slope` receives the derivative of a GELU; it is empty where nobody needs it.
    ///
    /// # Panics
    /// When sizes do not fit one another.
    #[expect(clippy::too_many_arguments, reason = "a layer in one pass has many parts")]
    pub fn forward(
        &self,
        x: &[f32],
        sample: usize,
        activation: Option<Activation>,
        residual: Accumulate,
        result: Precision,
        y: &mut [f32],
        slope: &mut [f32],
    ) {
        let (from, to) = (self.from, self.to());
        let weight = &self.weight;
        by_rows(x.len() / from, sample, [y, slope], |range, [y, slope]| {
            let x = operand(self.precision, &x[range.start * from..range.end * from]);
            let filled = match self.bias {
                Some(bias) => {
                    vectorised(
                        #[inline(always)]
                        || match residual {
                            Accumulate::No => {
                                y.chunks_exact_mut(bias.len()).for_each(|y| y.copy_from_slice(bias));
                            }
                            Accumulate::Yes => {
                                y.chunks_exact_mut(bias.len()).for_each(|y| each(y, bias, |y, b| *y += b));
                            }
                        },
                    );
                    Accumulate::Yes
                }
                None => residual,
            };
            matmul(y, Matrix::new(&x, from), Matrix::new(weight, to), filled);
            vectorised(
                #[inline(always)]
                || activate(activation, y, slope),
            );
            round(result, y);
        });
    }

    /// Goes back from the gradient by the result to the gradients by `x` `[rows, from]`, by the weight and by the bias, each where it
    /// has a target. Gradients are rounded where they enter a product. Without a target for the gradient by the weight, `x` is not read
    /// and may be empty.
    ///
    /// # Panics
    /// When sizes do not fit one another.
    pub fn backward(
        &self,
        x: &[f32],
        upstream: Upstream<'_>,
        dx: Option<Target<'_>>,
        dw: Option<Target<'_>>,
        db: Option<Target<'_>>,
    ) {
        let (from, to) = (self.from, self.to());
        let rows = upstream.len() / to;
        assert_eq!(upstream.len(), rows * to, "size of the gradient by a result");
        assert!(
            x.len() == rows * from || dw.is_none() && x.is_empty(),
            "size of the input of a linear layer"
        );
        let channels = self.bias.map_or(to, <[f32]>::len);
        let length = strip(rows);
        let strips = rows.div_ceil(length);

        let mut biases = vec![0.0; if db.is_some() { strips * channels } else { 0 }];
        // The first strip's gradient of the weight goes to its target, those of the others to parts that are added in their order.
        let mut parts = Buffer::stale(if dw.is_some() { (strips - 1) * from * to } else { 0 });
        let dw = match dw {
            Some(Target { gradient, accumulate }) => {
                let rest = parts.chunks_exact_mut(from * to);
                let rest = rest.map(|gradient| Some(Target { gradient, accumulate: Accumulate::No }));
                let first = Target { gradient: &mut *gradient, accumulate };
                let all: Vec<_> = std::iter::once(Some(first)).chain(rest).collect();
                self.strips(x, length, upstream, dx, all, &mut biases);
                Some(gradient)
            }
            None => {
                let none = (0..strips).map(|_| None).collect();
                self.strips(x, length, upstream, dx, none, &mut biases);
                None
            }
        };
        if let Some(dw) = dw {
            parts.chunks_exact(from * to).for_each(|part| add_to(dw, part));
        }
        if let Some(db) = db {
            sum_parts(&mut biases, channels);
            db.give(&biases[..channels]);
        }
    }

    fn strips(
        &self,
        x: &[f32],
        length: usize,
        upstream: Upstream<'_>,
        dx: Option<Target<'_>>,
        dw: Vec<Option<Target<'_>>>,
        biases: &mut [f32],
    ) {
        let (from, to) = (self.from, self.to());
        let strips = dw.len();
        let channels = self.bias.map_or(to, <[f32]>::len);
        let biases: Vec<&mut [f32]> = match biases.is_empty() {
            true => (0..strips).map(|_| Default::default()).collect(),
            false => biases.chunks_exact_mut(channels).collect(),
        };
        let inputs = chunks(x, length * from, strips).into_iter().zip(upstream.chunks(length * to));
        let outputs = Target::chunks(dx, length * from, strips).into_iter().zip(dw).zip(biases);
        each_item(inputs.zip(outputs).collect(), |((x, upstream), ((dx, dw), db))| {
            self.strip(x, upstream, dx, dw, db);
        });
    }

    /// One strip of rows.
    fn strip(
        &self,
        x: &[f32],
        upstream: Upstream<'_>,
        dx: Option<Target<'_>>,
        dw: Option<Target<'_>>,
        db: &mut [f32],
    ) {
        let (from, to, weight) = (self.from, self.to(), &*self.weight);
        let rows = upstream.len() / to;
        let divided = rows < TOGETHER && weight.len() >= LARGE_WEIGHT;
        let blocks = rows.div_ceil(TOGETHER);
        let mut dw = dw;
        let dx = Target::chunks(dx, TOGETHER * from, blocks);
        let upstream = upstream.chunks(TOGETHER * to);
        for ((x, upstream), dx) in chunks(x, TOGETHER * from, blocks).into_iter().zip(upstream).zip(dx) {
            let d = upstream.resolve();
            if !db.is_empty() {
                vectorised(
                    #[inline(always)]
                    || d.chunks_exact(db.len()).for_each(|d| each(db, d, |db, d| *db += d)),
                );
            }
            let d = operand(self.precision, d);
            if let Some(dx) = dx {
                let d = Matrix::new(&d, to);
                match divided {
                    true => product_by_columns(dx, d, weight, to),
                    false => matmul(dx.gradient, d, Matrix::new(weight, to).transposed(), dx.accumulate),
                }
            }
            if let Some(dw) = &mut dw {
                let x = operand(self.precision, x);
                let (x, d) = (Matrix::new(&x, from), Matrix::new(&d, to));
                let part = if divided { from.div_ceil(PARTS) } else { from };
                let parts = dw.gradient.chunks_mut(part * to).enumerate().collect();
                let accumulate = dw.accumulate;
                each_item(parts, |(i, dw): (usize, &mut [f32])| {
                    let columns = i * part..i * part + dw.len() / to;
                    matmul(dw, x.columns(columns).transposed(), d, accumulate);
                });
                dw.accumulate = Accumulate::Yes;
            }
        }
    }
}

/// Parts of `length` numbers each, the last one aside; `count` empty ones where there are no numbers.
fn chunks(x: &[f32], length: usize, count: usize) -> Vec<&[f32]> {
    if x.is_empty() { vec![&[]; count] } else { x.chunks(length).collect() }
}

/// `x += lin2(act(lin1(norm(x))))`, rows `[rows, c]` in place: the second half of a pre-norm block. The widest layer exists for a
/// block of rows at a time. Each sample has `sample` rows.
///
/// # Panics
/// When sizes do not fit one another.
pub fn norm_mlp(
    norm: &Norm<'_>,
    [first, second]: [&Linear<'_>; 2],
    activation: Activation,
    sample: usize,
    x: &mut [f32],
) {
    let (narrow, wide) = (first.from, first.to());
    by_rows(x.len() / narrow, sample, [x], |range, [x]| {
        let mut normed = Buffer::stale(x.len());
        let none = Kept { unit: &mut [], inverse: &mut [], slope: &mut [] };
        norm.forward(x, None, None, first.precision, &mut normed, none);
        let mut hidden = Buffer::stale(range.len() * wide);
        let all = range.len();
        first.forward(&normed, all, Some(activation), Accumulate::No, second.precision, &mut hidden, &mut []);
        second.forward(&hidden, all, None, Accumulate::Yes, Precision::F32, x, &mut []);
    });
}

/// `dx (+)= d W^T` for few rows `d` `[rows, to]`, columns of `dx` on threads of their own.
fn product_by_columns(dx: Target<'_>, d: Matrix<'_>, weight: &[f32], to: usize) {
    let (rows, from) = (d.shape()[0], weight.len() / to);
    let part = from.div_ceil(PARTS);
    let mut found: Vec<Vec<f32>> =
        weight.chunks(part * to).map(|weight| vec![0.0; rows * (weight.len() / to)]).collect();
    each_item(found.iter_mut().zip(weight.chunks(part * to)).collect(), |(found, weight)| {
        matmul(found, d, Matrix::new(weight, to).transposed(), Accumulate::No);
    });
    for (row, dx_row) in dx.gradient.chunks_exact_mut(from).enumerate() {
        for (found, dx_part) in found.iter().zip(dx_row.chunks_mut(part)) {
            let found = &found[row * dx_part.len()..][..dx_part.len()];
            match dx.accumulate {
                Accumulate::No => dx_part.copy_from_slice(found),
                Accumulate::Yes => each(dx_part, found, |dx, found| *dx += found),
            }
        }
    }
}
