//! The tape: values, what was done to get them, and the way back.

use crate::attention::{
    gather, scores, softmax_columns, softmax_columns_backward, softmax_groups, softmax_groups_backward,
    spread, to_few, to_many,
};
use rayon::prelude::*;
use resect_kernels::{
    Into, Matrix, by_rows, dot, each, each2, gelu, gelu_in_place, matmul, operand, relu_in_place,
    squares_about, sum, vectorised,
};
use resect_numeric::Precision;
use std::borrow::Cow;

/// A linear layer by the places of its parameters: a weight `[in, out]` and a bias.
///
/// A bias shorter than the weight's rows makes each row of the result several rows, each of the bias's length: that is a
/// transposed convolution whose stride is its kernel.
#[derive(Clone, Copy, Debug)]
pub struct Linear {
    /// `[in, out]`.
    pub weight: usize,
    /// `[out]`, or a divisor of it.
    pub bias: usize,
}

/// A layer norm by the places of its parameters.
#[derive(Clone, Copy, Debug)]
pub struct Norm {
    /// What the normalised values are multiplied by.
    pub weight: usize,
    /// What is added to them.
    pub bias: usize,
    /// Added to the variance.
    pub epsilon: f32,
}

/// What follows a layer, element by element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    None,
    /// The rectifier.
    Relu,
    /// The exact GELU.
    Gelu,
}

/// A matrix on a tape.
#[derive(Clone, Copy, Debug)]
pub struct Value(usize);

/// A matrix, and the loss's gradient by it as far as it is known.
#[derive(Debug)]
struct Node {
    cols: usize,
    data: Vec<f32>,
    /// Empty before the first contribution.
    gradient: Vec<f32>,
    /// Whether anything it depends on is a parameter.
    learns: bool,
}

/// What was done. Values that only the way back needs are nodes too, as are the results.
#[derive(Clone, Copy, Debug)]
enum Op {
    /// The first parameter has `first` elements.
    Stack {
        parameters: [usize; 2],
        first: usize,
    },
    Add {
        a: Value,
        b: Value,
    },
    AddConstant {
        x: Value,
    },
    Row {
        x: Value,
        row: usize,
    },
    Linear {
        x: Value,
        layer: Linear,
        slope: Slope,
    },
    /// `unit` is the input with mean 0 and variance 1, `inverse` one over its deviation.
    Norm {
        a: Value,
        b: Option<Value>,
        layer: Norm,
        unit: Value,
        inverse: Value,
        slope: Slope,
    },
    Attention {
        q: Value,
        k: Value,
        v: Value,
        heads: usize,
        weights: Value,
    },
    Product {
        x: Value,
        w: Value,
    },
}

/// The derivative of an activation.
#[derive(Clone, Copy, Debug)]
enum Slope {
    /// 1 everywhere.
    One,
    /// 1 where the result is positive, else 0.
    Step,
    /// A value for each element.
    Kept(Value),
}

/// The layers a sample has passed.
#[derive(Debug, Default)]
pub struct Tape {
    nodes: Vec<Node>,
    /// What was done, and what came of it.
    ops: Vec<(Op, Value)>,
    /// Buffers of earlier samples.
    free: Vec<Vec<f32>>,
    /// To what operands of products are rounded.
    precision: Precision,
    /// Whether there is no way back, and nothing noted for one.
    forward_only: bool,
}

impl Tape {
    /// Forgets all values; their memory serves the next ones, whose products have operands of this precision.
    pub fn clear(&mut self, precision: Precision) {
        self.precision = precision;
        self.forward_only = false;
        self.ops.clear();
        for node in self.nodes.drain(..) {
            self.free.extend([node.data, node.gradient].into_iter().filter(|buffer| !buffer.is_empty()));
        }
    }

    /// [`Tape::clear`] for a sample of which no gradient is wanted: what only the way back needs is neither computed nor kept.
    pub fn clear_forward_only(&mut self, precision: Precision) {
        self.clear(precision);
        self.forward_only = true;
    }

    /// A value's elements, row after row.
    pub fn value(&self, value: Value) -> &[f32] {
        &self.nodes[value.0].data
    }

    /// A matrix that nothing is learned from.
    pub fn constant(&mut self, cols: usize, data: &[f32]) -> Value {
        let mut buffer = self.buffer(data.len());
        buffer.copy_from_slice(data);
        self.push(cols, buffer, false)
    }

    /// [`Tape::constant`] of `rows * cols` values that `fill` writes, all of them.
    pub fn filled(&mut self, rows: usize, cols: usize, fill: impl FnOnce(&mut [f32])) -> Value {
        let mut buffer = self.buffer(rows * cols);
        fill(&mut buffer);
        self.push(cols, buffer, false)
    }

    /// The rows of two parameters, then those of a constant.
    pub fn stack(
        &mut self,
        weights: &[Vec<f32>],
        parameters: [usize; 2],
        constant: &[f32],
        cols: usize,
    ) -> Value {
        let [a, b] = parameters.map(|parameter| weights[parameter].as_slice());
        let (first, own) = (a.len(), a.len() + b.len());
        let mut y = self.buffer(own + constant.len());
        y[..first].copy_from_slice(a);
        y[first..own].copy_from_slice(b);
        y[own..].copy_from_slice(constant);
        let y = self.push(cols, y, true);
        self.note(Op::Stack { parameters, first }, y)
    }

    /// The sum of two matrices of one shape.
    pub fn add(&mut self, a: Value, b: Value) -> Value {
        let mut y = self.buffer(self.value(a).len());
        plus(&mut y, self.value(a), self.value(b));
        let y = self.push(self.nodes[a.0].cols, y, self.learns(a) || self.learns(b));
        self.note(Op::Add { a, b }, y)
    }

    /// The sum of a matrix and a constant of its shape.
    pub fn add_constant(&mut self, x: Value, constant: &[f32]) -> Value {
        let mut y = self.buffer(constant.len());
        plus(&mut y, self.value(x), constant);
        let y = self.push(self.nodes[x.0].cols, y, self.learns(x));
        self.note(Op::AddConstant { x }, y)
    }

    /// One row of a matrix.
    pub fn row(&mut self, x: Value, row: usize) -> Value {
        let cols = self.nodes[x.0].cols;
        let mut y = self.buffer(cols);
        y.copy_from_slice(&self.value(x)[row * cols..][..cols]);
        let y = self.push(cols, y, self.learns(x));
        self.note(Op::Row { x, row }, y)
    }

    /// A linear layer with its activation.
    pub fn linear(&mut self, weights: &[Vec<f32>], layer: Linear, x: Value, activation: Activation) -> Value {
        let precision = self.precision;
        let (weight, bias) = (operand(precision, &weights[layer.weight]), &weights[layer.bias]);
        let (inner, rows) = (self.nodes[x.0].cols, self.rows(x));
        let outer = weight.len() / inner;
        let mut y = self.buffer(rows * outer);
        let mut slope = self.slope_buffer(activation, y.len());
        let input = self.value(x);
        by_rows(rows, [&mut y, &mut slope], |range, [y, slope]| {
            let input = operand(precision, &input[range.start * inner..range.end * inner]);
            matmul(y, Matrix::new(&input, inner), Matrix::new(&weight, outer), Into::Replace);
            vectorised(
                #[inline(always)]
                || {
                    for y in y.chunks_exact_mut(bias.len()) {
                        accumulate(y, bias);
                    }
                    activate(activation, y, slope);
                },
            );
        });
        let slope = self.slope(activation, slope);
        let y = self.push(bias.len(), y, true);
        self.note(Op::Linear { x, layer, slope }, y)
    }

    /// The layer norm of each row of `a`, or of `a + b`, with its activation.
    pub fn norm(
        &mut self,
        weights: &[Vec<f32>],
        layer: Norm,
        a: Value,
        b: Option<Value>,
        activation: Activation,
    ) -> Value {
        let (weight, bias) = (&weights[layer.weight], &weights[layer.bias]);
        let (cols, rows) = (self.nodes[a.0].cols, self.rows(a));
        let [mut y, mut unit] = [(); 2].map(|()| self.buffer(rows * cols));
        let mut inverse = self.buffer(rows);
        let mut slope = self.slope_buffer(activation, y.len());
        let (first, second) = (self.value(a), b.map(|b| self.value(b)));
        by_rows(rows, [&mut y, &mut unit, &mut inverse, &mut slope], |range, [y, unit, inverse, slope]| {
            let part = range.start * cols..range.end * cols;
            vectorised(
                #[inline(always)]
                || {
                    match second {
                        Some(second) => {
                            each2(unit, &first[part.clone()], &second[part], |unit, a, b| *unit = a + b);
                        }
                        None => unit.copy_from_slice(&first[part]),
                    }
                    for (unit, (y, inverse)) in
                        unit.chunks_exact_mut(cols).zip(y.chunks_exact_mut(cols).zip(inverse))
                    {
                        let mean = sum(unit) / cols as f32;
                        let variance = squares_about(unit, mean) / cols as f32;
                        let scale = 1.0 / (variance + layer.epsilon).sqrt();
                        *inverse = scale;
                        unit.iter_mut().for_each(|unit| *unit = (*unit - mean) * scale);
                        y.copy_from_slice(bias);
                        each2(y, unit, weight, |y, unit, weight| *y = unit.mul_add(weight, *y));
                    }
                    activate(activation, y, slope);
                },
            );
        });
        let slope = self.slope(activation, slope);
        let [unit, inverse] = [(cols, unit), (1, inverse)].map(|(cols, data)| self.keep(cols, data));
        let y = self.push(cols, y, true);
        self.note(Op::Norm { a, b, layer, unit, inverse, slope }, y)
    }

    /// Attention of queries `[n, c]` to keys and values `[m, c]`, whose heads divide the channels.
    pub fn attention(&mut self, q: Value, k: Value, v: Value, heads: usize) -> Value {
        let channels = self.nodes[q.0].cols;
        let few_queries = self.rows(q) <= self.rows(k);
        let (few, many) = if few_queries { (q, k) } else { (k, q) };
        let (columns, scale) = (self.rows(few) * heads, head_scale(channels, heads));
        let mut tall = self.buffer(columns * channels);
        let mut weights = self.buffer(self.rows(many) * columns);
        let mut y = self.buffer(self.value(q).len());
        // The scale is no part of the operands: it multiplies what is rounded already, so the scores are scaled.
        spread(&self.operand(few), channels, heads, scale, &mut tall);
        scores(&self.operand(many), &tall, channels, &mut weights);
        if few_queries {
            softmax_columns(&mut weights, columns);
            to_few(&operand(self.precision, &weights), &self.operand(v), channels, &mut tall);
            gather(&tall, channels, heads, 1.0, &mut y);
        } else {
            softmax_groups(&mut weights, columns, heads);
            spread(&self.operand(v), channels, heads, 1.0, &mut tall);
            to_many(&operand(self.precision, &weights), &tall, channels, &mut y, Into::Replace);
        }
        self.free.push(tall);
        let weights = self.keep(columns, weights);
        let y = self.push(channels, y, true);
        self.note(Op::Attention { q, k, v, heads, weights }, y)
    }

    /// The product of each row of `x` with the row `w`.
    pub fn product(&mut self, x: Value, w: Value) -> Value {
        let cols = self.nodes[x.0].cols;
        let mut y = self.buffer(self.rows(x));
        let (rows, w_row) = (self.value(x), self.operand(w));
        by_rows(y.len(), [&mut y], |range, [y]| {
            let rows = operand(self.precision, &rows[range.start * cols..range.end * cols]);
            vectorised(
                #[inline(always)]
                || {
                    for (y, row) in y.iter_mut().zip(rows.chunks_exact(cols)) {
                        *y = dot(row, &w_row);
                    }
                },
            );
        });
        let y = self.push(1, y, self.learns(x) || self.learns(w));
        self.note(Op::Product { x, w }, y)
    }

    /// Goes back from `y`, by whose elements the loss has the gradient `gradient`. Once for each sample.
    pub fn backward(&mut self, weights: &[Vec<f32>], y: Value, gradient: impl Iterator<Item = f32>) {
        let mut buffer = self.buffer(self.value(y).len());
        buffer.iter_mut().zip(gradient).for_each(|(d, gradient)| *d = gradient);
        self.nodes[y.0].gradient = buffer;
        for step in (0..self.ops.len()).rev() {
            let (op, y) = self.ops[step];
            if self.nodes[y.0].gradient.is_empty() {
                // The loss does not depend on it.
                continue;
            }
            match op {
                // The parameters' rows stay where they are, for `gradients`.
                Op::Stack { .. } => {}
                Op::Add { a, b } => {
                    let d = self.taken(y);
                    self.give_both(a, b, d);
                }
                Op::AddConstant { x } => {
                    let d = self.taken(y);
                    self.give(x, d);
                }
                Op::Row { x, row } => {
                    let d = self.taken(y);
                    let (mut dx, into) = self.gradient(x);
                    if into == Into::Replace {
                        dx.fill(0.0);
                    }
                    dx[row * d.len()..].iter_mut().zip(&d).for_each(|(dx, d)| *dx += d);
                    self.nodes[x.0].gradient = dx;
                    self.free.push(d);
                }
                Op::Linear { x, layer, slope } => self.linear_backward(&weights[layer.weight], x, slope, y),
                Op::Norm { a, b, layer, unit, inverse, slope } => {
                    let d = self.norm_backward(&weights[layer.weight], unit, inverse, slope, y);
                    match b {
                        Some(b) => self.give_both(a, b, d),
                        None => self.give(a, d),
                    }
                }
                Op::Attention { q, k, v, heads, weights } => {
                    self.attention_backward([q, k, v], heads, weights, y)
                }
                Op::Product { x, w } => self.product_backward(x, w, y),
            }
        }
    }

    fn linear_backward(&mut self, weight: &[f32], x: Value, slope: Slope, y: Value) {
        let mut d = self.taken(y);
        self.steepen(&mut d, slope, y);
        if self.learns(x) {
            let (inner, rows) = (self.nodes[x.0].cols, self.rows(x));
            let outer = weight.len() / inner;
            let (precision, weight) = (self.precision, operand(self.precision, weight));
            let (mut dx, into) = self.gradient(x);
            by_rows(rows, [&mut dx], |range, [dx]| {
                let d = operand(precision, &d[range.start * outer..range.end * outer]);
                matmul(dx, Matrix::new(&d, outer), Matrix::new(&weight, outer).transposed(), into);
            });
            self.nodes[x.0].gradient = dx;
        }
        self.nodes[y.0].gradient = d;
    }

    /// The gradient by the norm's input. With `g` that by the normalised values `u`: `(g - mean g - u mean(g u)) / deviation`.
    fn norm_backward(
        &mut self,
        weight: &[f32],
        unit: Value,
        inverse: Value,
        slope: Slope,
        y: Value,
    ) -> Vec<f32> {
        let mut d = self.taken(y);
        self.steepen(&mut d, slope, y);
        let (cols, rows) = (self.nodes[y.0].cols, self.rows(y));
        let mut dx = self.buffer(d.len());
        let (units, inverses) = (self.value(unit), self.value(inverse));
        by_rows(rows, [&mut dx], |range, [dx]| {
            let part = range.start * cols..range.end * cols;
            let (d, unit) = (d[part.clone()].chunks_exact(cols), units[part].chunks_exact(cols));
            let rows = dx.chunks_exact_mut(cols).zip(d.zip(unit)).zip(&inverses[range]);
            vectorised(
                #[inline(always)]
                || {
                    for ((dx, (d, unit)), inverse) in rows {
                        each2(dx, d, weight, |dx, d, weight| *dx = d * weight);
                        let mean = sum(dx) / cols as f32;
                        let along = dot(dx, unit) / cols as f32;
                        for (dx, unit) in dx.iter_mut().zip(unit) {
                            *dx = (*dx - mean - unit * along) * inverse;
                        }
                    }
                },
            );
        });
        self.nodes[y.0].gradient = d;
        dx
    }

    fn attention_backward(&mut self, [q, k, v]: [Value; 3], heads: usize, weights: Value, y: Value) {
        let d = self.taken(y);
        let channels = self.nodes[y.0].cols;
        let few_queries = self.rows(q) <= self.rows(k);
        let (few, many) = if few_queries { (q, k) } else { (k, q) };
        let (columns, scale) = (self.rows(few) * heads, head_scale(channels, heads));
        let [mut tall, mut tall_gradient] = [(); 2].map(|()| self.buffer(columns * channels));
        let mut dp = self.buffer(self.rows(many) * columns);
        let (mut dv, into_v) = self.gradient(v);
        let (mut d_many, into_many) = self.gradient(many);
        let mut d_few = self.buffer(self.value(few).len());
        let p = self.value(weights);
        let (d_operand, p_operand, v_operand) =
            (operand(self.precision, &d), self.operand(weights), self.operand(v));
        if few_queries {
            spread(&d_operand, channels, heads, 1.0, &mut tall);
            scores(&v_operand, &tall, channels, &mut dp);
            to_many(&p_operand, &tall, channels, &mut dv, into_v);
            softmax_columns_backward(p, &mut dp, columns);
        } else {
            spread(&v_operand, channels, heads, 1.0, &mut tall);
            scores(&d_operand, &tall, channels, &mut dp);
            to_few(&p_operand, &d_operand, channels, &mut tall_gradient);
            let mut own = vec![0.0; dv.len()];
            gather(&tall_gradient, channels, heads, 1.0, &mut own);
            match into_v {
                Into::Replace => dv.copy_from_slice(&own),
                Into::Add => dv.iter_mut().zip(&own).for_each(|(dv, own)| *dv += own),
            }
            softmax_groups_backward(p, &mut dp, columns, heads);
        }
        let dp_operand = operand(self.precision, &dp);
        spread(&self.operand(few), channels, heads, scale, &mut tall);
        to_many(&dp_operand, &tall, channels, &mut d_many, into_many);
        to_few(&dp_operand, &self.operand(many), channels, &mut tall_gradient);
        gather(&tall_gradient, channels, heads, scale, &mut d_few);
        self.nodes[v.0].gradient = dv;
        self.nodes[many.0].gradient = d_many;
        self.give(few, d_few);
        self.free.extend([d, tall, tall_gradient, dp]);
    }

    fn product_backward(&mut self, x: Value, w: Value, y: Value) {
        let d = self.taken(y);
        let d_operand = operand(self.precision, &d);
        let cols = self.nodes[x.0].cols;
        let (mut dx, into) = self.gradient(x);
        let w_row = self.operand(w);
        by_rows(d.len(), [&mut dx], |range, [dx]| {
            matmul(dx, Matrix::new(&d_operand[range], 1), Matrix::new(&w_row, cols), into);
        });
        self.nodes[x.0].gradient = dx;
        let (mut dw, into) = self.gradient(w);
        matmul(&mut dw, Matrix::new(&d_operand, d.len()), Matrix::new(&self.operand(x), cols), into);
        self.nodes[w.0].gradient = dw;
        self.free.push(d);
    }

    /// Adds what this sample says of one parameter.
    fn add_gradient(&self, parameter: usize, sum: &mut [f32]) {
        for &(op, y) in &self.ops {
            let d = &self.nodes[y.0].gradient;
            match op {
                Op::Stack { parameters, .. } if parameters[0] == parameter => accumulate(sum, d),
                Op::Stack { parameters, first } if parameters[1] == parameter => {
                    accumulate(sum, d.get(first..).unwrap_or_default());
                }
                Op::Linear { x, layer, .. } if layer.weight == parameter && !d.is_empty() => {
                    let inner = self.nodes[x.0].cols;
                    let outer = sum.len() / inner;
                    let (input, d) = (self.operand(x), operand(self.precision, d));
                    matmul(sum, Matrix::new(&input, inner).transposed(), Matrix::new(&d, outer), Into::Add);
                }
                Op::Linear { layer: Linear { bias, .. }, .. } | Op::Norm { layer: Norm { bias, .. }, .. }
                    if bias == parameter =>
                {
                    vectorised(
                        #[inline(always)]
                        || {
                            for row in d.chunks_exact(sum.len()) {
                                accumulate(sum, row);
                            }
                        },
                    );
                }
                Op::Norm { layer, unit, .. } if layer.weight == parameter => {
                    let cols = sum.len();
                    let rows = d.chunks_exact(cols).zip(self.value(unit).chunks_exact(cols));
                    vectorised(
                        #[inline(always)]
                        || {
                            for (d, unit) in rows {
                                each2(sum, d, unit, |sum, d, unit| *sum = d.mul_add(unit, *sum));
                            }
                        },
                    );
                }
                _ => {}
            }
        }
    }

    /// A value as it enters a product.
    fn operand(&self, value: Value) -> Cow<'_, [f32]> {
        operand(self.precision, self.value(value))
    }

    fn rows(&self, value: Value) -> usize {
        let node = &self.nodes[value.0];
        node.data.len() / node.cols
    }

    fn learns(&self, value: Value) -> bool {
        self.nodes[value.0].learns
    }

    fn push(&mut self, cols: usize, data: Vec<f32>, learns: bool) -> Value {
        self.nodes.push(Node { cols, data, gradient: Vec::new(), learns });
        Value(self.nodes.len() - 1)
    }

    /// Keeps what only the way back needs; without one its memory is free.
    fn keep(&mut self, cols: usize, data: Vec<f32>) -> Value {
        if self.forward_only {
            self.free.extend(Some(data).filter(|data| !data.is_empty()));
            return self.push(cols, Vec::new(), false);
        }
        self.push(cols, data, false)
    }

    fn note(&mut self, op: Op, y: Value) -> Value {
        if !self.forward_only {
            self.ops.push((op, y));
        }
        y
    }

    /// A buffer of some length, with anything in it.
    fn buffer(&mut self, len: usize) -> Vec<f32> {
        match self.free.iter().rposition(|buffer| buffer.len() == len) {
            Some(place) => self.free.swap_remove(place),
            None => vec![0.0; len],
        }
    }

    /// A buffer for an activation's derivative; empty where the result tells it, or nobody asks.
    fn slope_buffer(&mut self, activation: Activation, len: usize) -> Vec<f32> {
        self.buffer(if activation == Activation::Gelu && !self.forward_only { len } else { 0 })
    }

    fn slope(&mut self, activation: Activation, slope: Vec<f32>) -> Slope {
        match activation {
            Activation::None => Slope::One,
            Activation::Relu => Slope::Step,
            Activation::Gelu => Slope::Kept(self.keep(1, slope)),
        }
    }

    /// Multiplies gradients by a result's activation into those by what was activated.
    fn steepen(&self, d: &mut [f32], slope: Slope, y: Value) {
        let cols = self.nodes[y.0].cols;
        by_rows(self.rows(y), [d], |range, [d]| {
            let part = range.start * cols..range.end * cols;
            vectorised(
                #[inline(always)]
                || match slope {
                    Slope::One => {}
                    Slope::Step => {
                        each(d, &self.value(y)[part], |d, y| *d = if y > 0.0 { *d } else { 0.0 });
                    }
                    Slope::Kept(slope) => {
                        each(d, &self.value(slope)[part], |d, slope| *d *= slope);
                    }
                },
            );
        });
    }

    /// The gradient by a value, out of its node.
    fn taken(&mut self, value: Value) -> Vec<f32> {
        std::mem::take(&mut self.nodes[value.0].gradient)
    }

    /// [`Tape::taken`] to add to, or a buffer to write where there is none yet.
    fn gradient(&mut self, value: Value) -> (Vec<f32>, Into) {
        match self.taken(value) {
            none if none.is_empty() => (self.buffer(self.value(value).len()), Into::Replace),
            some => (some, Into::Add),
        }
    }

    /// Adds a gradient to a value's.
    fn give(&mut self, value: Value, d: Vec<f32>) {
        let node = &mut self.nodes[value.0];
        if node.learns && node.gradient.is_empty() {
            node.gradient = d;
        } else {
            if node.learns {
                vectorised(
                    #[inline(always)]
                    || accumulate(&mut node.gradient, &d),
                );
            }
            self.free.push(d);
        }
    }

    /// Adds a gradient to those of two values.
    fn give_both(&mut self, a: Value, b: Value, d: Vec<f32>) {
        if self.learns(a) && self.learns(b) {
            let (mut copy, into) = self.gradient(a);
            match into {
                Into::Replace => copy.copy_from_slice(&d),
                Into::Add => vectorised(
                    #[inline(always)]
                    || accumulate(&mut copy, &d),
                ),
            }
            self.nodes[a.0].gradient = copy;
            self.give(b, d);
        } else {
            self.give(if self.learns(a) { a } else { b }, d);
        }
    }
}

/// Adds to each of the `gradients`, which are those of all parameters, what the samples on the tapes say, in their order.
///
/// A parameter is the work of one thread.
pub fn gradients(tapes: &[&Tape], gradients: &mut [Vec<f32>]) {
    gradients.par_iter_mut().enumerate().with_max_len(1).for_each(|(parameter, sum)| {
        tapes.iter().for_each(|tape| tape.add_gradient(parameter, sum));
    });
}

/// The scale of queries: one over the root of a head's channels.
fn head_scale(channels: usize, heads: usize) -> f32 {
    1.0 / ((channels / heads) as f32).sqrt()
}

/// `y = a + b`.
fn plus(y: &mut [f32], a: &[f32], b: &[f32]) {
    vectorised(
        #[inline(always)]
        || each2(y, a, b, |y, a, b| *y = a + b),
    );
}

/// `sum += d`.
#[inline(always)]
fn accumulate(sum: &mut [f32], d: &[f32]) {
    each(sum, d, |sum, d| *sum += d);
}

/// Activates in place; the GELU's derivative goes to `slope`, unless that is empty.
#[inline(always)]
fn activate(activation: Activation, y: &mut [f32], slope: &mut [f32]) {
    match activation {
        Activation::None => {}
        Activation::Relu => relu_in_place(y),
        Activation::Gelu if slope.is_empty() => gelu_in_place(y),
        Activation::Gelu => {
            for (y, slope) in y.iter_mut().zip(slope) {
                (*y, *slope) = gelu(*y);
            }
        }
    }
}
