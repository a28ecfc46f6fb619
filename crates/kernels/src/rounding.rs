//! Rounding of what is multiplied, to the format that a [`Precision`] names. Numbers stay in `f32`, which holds those of the
//! narrower formats exactly; so do the products of two of them, and sums are those of single precision.

use crate::vector::vectorised;
use resect_numeric::Precision;
use std::borrow::Cow;

/// The least normal number of IEEE half precision; those below are multiples of 2^-24.
const LEAST_NORMAL_F16: f32 = 6.103_515_6e-5;
/// The largest finite number of IEEE half precision.
const LARGEST_F16: f32 = 65504.0;

/// An operand of a product: rounded, or as it is in single precision.
pub fn operand(precision: Precision, x: &[f32]) -> Cow<'_, [f32]> {
    if precision == Precision::F32 {
        return Cow::Borrowed(x);
    }
    let mut rounded = x.to_vec();
    round(precision, &mut rounded);
    Cow::Owned(rounded)
}

/// Rounds to nearest, ties to even. What is too large becomes infinite, and what is no number stays so.
pub fn round(precision: Precision, x: &mut [f32]) {
    vectorised(
        #[inline(always)]
        || match precision {
            Precision::F32 => {}
            Precision::Bf16 => x.iter_mut().for_each(|x| *x = to_bf16(*x)),
            Precision::F16 => x.iter_mut().for_each(|x| *x = to_f16(*x)),
        },
    );
}

#[inline(always)]
fn to_bf16(x: f32) -> f32 {
    if x.is_nan() { x } else { f32::from_bits(without_low_bits::<16>(x.to_bits())) }
}

#[inline(always)]
fn to_f16(x: f32) -> f32 {
    let magnitude = x.abs();
    let normal = f32::from_bits(without_low_bits::<13>(magnitude.to_bits()));
    let normal = if normal > LARGEST_F16 { f32::INFINITY } else { normal };
    // From 0.5 to 1, neighbours in single precision are 2^-24 apart: the sum is rounded as it should be.
    let subnormal = (magnitude + 0.5) - 0.5;
    let rounded = if magnitude < LEAST_NORMAL_F16 { subnormal } else { normal };
    if x.is_nan() { x } else { rounded.copysign(x) }
}

/// The pattern of a number rounded to nearest, ties to even, at its lowest `BITS`. A carry goes into the exponent, as it should.
#[inline(always)]
fn without_low_bits<const BITS: u32>(bits: u32) -> u32 {
    let half = (1 << (BITS - 1)) - 1;
    let odd = bits >> BITS & 1;
    bits.wrapping_add(half + odd) & !((1 << BITS) - 1)
}

#[cfg(test)]
mod tests;
