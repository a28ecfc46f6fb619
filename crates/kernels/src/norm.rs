//! Layer norms and their gradients.

use resect_numeric::{Activation, Precision};

use crate::activation::{Upstream, activate};
use crate::blocks::{by_rows, each_item};
use crate::elementwise::sum_parts;
use crate::linear::{Target, strip};
use crate::matmul::Accumulate;
use crate::rounding::round;
use crate::vector::{dot, each, each2, squares_about, sum, vectorised};

/// A layer norm over the columns of rows: `(x - mean) / sqrt(variance + epsilon) * weight + bias`, where the variance is the mean of
/// squares about the mean. (`torch.nn.LayerNorm`)
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a> {
    /// `[c]`
    pub weight: &'a [f32],
    /// `[c]`
    pub bias: &'a [f32],
    /// Added to the variance.
    pub epsilon: f32,
}

/// What the gradients of a norm are computed from; each is empty where there is none.
#[derive(Debug)]
pub struct Kept<'a> {
    /// The rows with mean 0 and variance 1, `[rows, c]`.
    pub unit: &'a mut [f32],
    /// One over the deviation of each row, `[rows]`.
    pub inverse: &'a mut [f32],
    /// The derivative of a GELU, `[rows, c]`.
    pub slope: &'a mut [f32],
}

impl Norm<'_> {
    /// Writes the norm of each row of `x`, or of `x + residual`, activated and rounded to `result`, to `y` `[rows, c]`.
    ///
    /// # Panics
    /// When sizes do not fit one another.
    pub fn forward(
        &self,
        x: &[f32],
        residual: Option<&[f32]>,
        activation: Option<Activation>,
        result: Precision,
        y: &mut [f32],
        kept: Kept<'_>,
    ) {
        let cols = self.weight.len();
        let rows = x.len() / cols;
        let Kept { unit, inverse, slope } = kept;
        by_rows(rows, rows, [y, unit, inverse, slope], |range, [y, unit, inverse, slope]| {
            let part = range.start * cols..range.end * cols;
            let (x, residual) = (&x[part.clone()], residual.map(|residual| &residual[part]));
            vectorised(
                #[inline(always)]
                || {
                    let keeps = !unit.is_empty();
                    {
                        let target: &mut [f32] = if keeps { unit } else { y };
                        match residual {
                            Some(residual) => each2(target, x, residual, |y, a, b| *y = a + b),
                            None => target.copy_from_slice(x),
                        }
                    }
                    if keeps {
                        for ((unit, y), inverse) in
                            unit.chunks_exact_mut(cols).zip(y.chunks_exact_mut(cols)).zip(inverse)
                        {
                            let (mean, scale) = self.statistics(unit);
                            *inverse = scale;
                            unit.iter_mut().for_each(|unit| *unit = (*unit - mean) * scale);
                            y.copy_from_slice(self.bias);
                            each2(y, unit, self.weight, |y, unit, weight| *y = unit.mul_add(weight, *y));
                        }
                    } else {
                        for y in y.chunks_exact_mut(cols) {
                            let (mean, scale) = self.statistics(y);
                            each2(y, self.weight, self.bias, |y, weight, bias| {
                                *y = ((*y - mean) * scale).mul_add(weight, bias);
                            });
                        }
                    }
                    activate(activation, y, slope);
                },
            );
            round(result, y);
        });
    }

    /// The mean of a row, and one over its deviation.
    #[inline(always)]
    fn statistics(&self, row: &[f32]) -> (f32, f32) {
        let count = row.len() as f32;
        let mean = sum(row) / count;
        let variance = squares_about(row, mean) / count;
        (mean, 1.0 / (variance + self.epsilon).sqrt())
    }

    /// Goes back from the gradient by the result to the gradients by `x`, by a residual, by the weight and by the bias, each where
    /// it has a target. `unit` and `inverse` are those of [`Kept`].
    ///
    /// With `g` the gradient by the normalised values `u`, that by `x` is `(g - mean g - u mean(g u)) / deviation`.
    ///
    /// # Panics
    /// When sizes do not fit one another.
    pub fn backward(
        &self,
        [unit, inverse]: [&[f32]; 2],
        upstream: Upstream<'_>,
        [dx, dr]: [Option<Target<'_>>; 2],
        [dweight, dbias]: [Option<Target<'_>>; 2],
    ) {
        let cols = self.weight.len();
        let rows = inverse.len();
        assert!(upstream.len() == rows * cols && unit.len() == rows * cols, "size of the gradient by a norm");
        let length = strip(rows);
        let strips = rows.div_ceil(length);
        // By the weight, then by the bias.
        let mut sums = vec![0.0; strips * 2 * cols];
        let inputs = upstream.chunks(length * cols).into_iter();
        let inputs = inputs.zip(unit.chunks(length * cols).zip(inverse.chunks(length)));
        let targets = Target::chunks(dx, length * cols, strips).into_iter();
        let targets = targets.zip(Target::chunks(dr, length * cols, strips));
        let work = inputs.zip(targets).zip(sums.chunks_exact_mut(2 * cols));
        each_item(work.collect(), |(((upstream, (unit, inverse)), (dx, dr)), sums)| {
            let d = upstream.resolve();
            let (of_weight, of_bias) = sums.split_at_mut(cols);
            let mut row = vec![0.0; cols];
            let mut targets = [dx, dr];
            vectorised(
                #[inline(always)]
                || {
                    let rows = d.chunks_exact(cols).zip(unit.chunks_exact(cols)).zip(inverse).enumerate();
                    for (i, ((d, unit), inverse)) in rows {
                        each2(&mut row, d, self.weight, |g, d, weight| *g = d * weight);
                        let mean = sum(&row) / cols as f32;
                        let along = dot(&row, unit) / cols as f32;
                        each(&mut row, unit, |g, unit| *g = (*g - mean - unit * along) * inverse);
                        each2(of_weight, d, unit, |sum, d, unit| *sum = d.mul_add(unit, *sum));
                        each(of_bias, d, |sum, d| *sum += d);
                        for target in targets.iter_mut().flatten() {
                            let gradient = &mut target.gradient[i * cols..(i + 1) * cols];
                            match target.accumulate {
                                Accumulate::No => gradient.copy_from_slice(&row),
                                Accumulate::Yes => each(gradient, &row, |gradient, g| *gradient += g),
                            }
                        }
                    }
                },
            );
        });
        sum_parts(&mut sums, 2 * cols);
        if let Some(dweight) = dweight {
            dweight.give(&sums[..cols]);
        }
        if let Some(dbias) = dbias {
            dbias.give(&sums[cols..2 * cols]);
        }
    }
}

#[cfg(test)]
mod tests;
