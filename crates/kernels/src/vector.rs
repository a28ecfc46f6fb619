//! Loops over slices, compiled for the widest vectors of the processor they run on.
//!
//! Sums run in a fixed order, in [`LANES`] lanes whatever the width of the processor's vectors.

#[cfg(target_arch = "x86_64")]
use pulp::x86::{V3, V4};

/// Partial sums of a sum.
const LANES: usize = 16;

/// Runs `work`, and whatever is inlined into it, with AVX-512 or AVX2 where there is one.
#[inline(always)]
pub fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        if let Some(simd) = V4::try_new() {
            return simd.vectorize(work);
        }
        if let Some(simd) = V3::try_new() {
            return simd.vectorize(work);
        }
    }
    work()
}

/// Changes each element by the one beside it. (A loop, because what iterators fold is not always inlined, and what is not
/// inlined has no wide vectors.)
#[inline(always)]
pub fn each(y: &mut [f32], a: &[f32], change: impl Fn(&mut f32, f32)) {
    for (y, a) in y.iter_mut().zip(a) {
        change(y, *a);
    }
}

/// [`each`] with two beside it.
#[inline(always)]
pub fn each2(y: &mut [f32], a: &[f32], b: &[f32], change: impl Fn(&mut f32, f32, f32)) {
    for (y, (a, b)) in y.iter_mut().zip(a.iter().zip(b)) {
        change(y, *a, *b);
    }
}

/// `e^x` for `x <= 0`, to about 1e-7; what would be less than `e^-87` is that. Not a number stays so.
///
/// `x = n ln 2 + r`; a polynomial for `e^r` (Cephes, `expf`), and `n` goes into the exponent.
#[inline(always)]
pub fn exp_negative(x: f32) -> f32 {
    /// Added to a small number it leaves the number, rounded, in its last bits.
    const ROUND: f32 = 12_582_912.0;
    let x = if x < -87.0 { -87.0 } else { x };
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-0.693_359_4, x);
    let r = n.mul_add(2.121_944_4e-4, r);
    let p = 1.987_569_1e-4f32;
    let p = p.mul_add(r, 1.398_2e-3);
    let p = p.mul_add(r, 8.333_452e-3);
    let p = p.mul_add(r, 4.166_579_6e-2);
    let p = p.mul_add(r, 1.666_666_5e-1);
    let p = p.mul_add(r, 0.5);
    let y = p.mul_add(r * r, r) + 1.0;
    f32::from_bits(y.to_bits().wrapping_add(shifted.to_bits() << 23))
}

/// `ln(1 + x)` for `0 <= x <= 1`, to about 1e-7: twice the series of `artanh(x / (2 + x))`.
#[inline(always)]
pub fn ln_1p_unit(x: f32) -> f32 {
    let s = x / (2.0 + x);
    let s2 = s * s;
    let p = 1.0 / 15.0f32;
    let p = p.mul_add(s2, 1.0 / 13.0);
    let p = p.mul_add(s2, 1.0 / 11.0);
    let p = p.mul_add(s2, 1.0 / 9.0);
    let p = p.mul_add(s2, 1.0 / 7.0);
    let p = p.mul_add(s2, 1.0 / 5.0);
    let p = p.mul_add(s2, 1.0 / 3.0);
    2.0 * (p * s2).mul_add(s, s)
}

/// The exact GELU `x * (1 + erf(x / sqrt 2)) / 2` and its derivative, to about 1e-7.
///
/// The tail of the bell curve is Abramowitz and Stegun's 7.1.26, which has the derivative's `exp(-x^2 / 2)` in it.
#[inline(always)]
pub fn gelu(x: f32) -> (f32, f32) {
    const INVERSE_SQRT_TAU: f32 = 0.398_942_3;
    let t = 1.0 / (0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2).mul_add(x.abs(), 1.0);
    let bell = exp_negative(-0.5 * x * x);
    let p = 1.061_405_4f32;
    let p = p.mul_add(t, -1.453_152_1);
    let p = p.mul_add(t, 1.421_413_8);
    let p = p.mul_add(t, -0.284_496_72);
    let p = p.mul_add(t, 0.254_829_6);
    let tail = 0.5 * p * t * bell;
    let below = if x > 0.0 { 1.0 - tail } else { tail };
    (x * below, (x * bell).mul_add(INVERSE_SQRT_TAU, below))
}

/// [`gelu`] of each value.
pub fn gelu_in_place(x: &mut [f32]) {
    vectorised(
        #[inline(always)]
        || x.iter_mut().for_each(|x| *x = gelu(*x).0),
    );
}

/// The rectifier of each value. What is no number stays so.
pub fn relu_in_place(x: &mut [f32]) {
    vectorised(
        #[inline(always)]
        || x.iter_mut().for_each(|x| *x = if *x < 0.0 { 0.0 } else { *x }),
    );
}

/// The sum of a slice.
#[inline(always)]
pub fn sum(x: &[f32]) -> f32 {
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [0f32; LANES];
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += x;
        }
    }
    folded(lanes) + rest.iter().sum::<f32>()
}

/// The sum of products of two slices of one length.
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut lanes = [0f32; LANES];
    for (a, b) in a.iter().zip(b) {
        for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane = a.mul_add(*b, *lane);
        }
    }
    folded(lanes) + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

/// The sum of squared distances from a value.
#[inline(always)]
pub fn squares_about(x: &[f32], centre: f32) -> f32 {
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [0f32; LANES];
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = (x - centre).mul_add(x - centre, *lane);
        }
    }
    folded(lanes) + rest.iter().map(|x| (x - centre) * (x - centre)).sum::<f32>()
}

#[inline(always)]
fn folded(mut lanes: [f32; LANES]) -> f32 {
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
    }
    lanes[0]
}

#[cfg(test)]
mod tests;
