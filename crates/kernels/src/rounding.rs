//! Rounding of what is multiplied, to the format that a [`Precision`] names. Numbers stay in `f32`, which holds those of the
//! narrower formats exactly; so do the products of two of them, and sums are those of single precision.

use crate::vector::vectorised;
use resect_params::Precision;
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
mod tests {
    use super::*;
    use half::{bf16, f16};

    #[test]
    fn rounding_is_that_of_the_formats() {
        // Every sign, exponent and first seven bits of the significand, and of what is below them ties and their neighbours.
        let low =
            [0, 1, 0xfff, 0x1000, 0x1001, 0x1fff, 0x2fff, 0x3000, 0x3001, 0x7fff, 0x8000, 0x8001, 0xffff];
        let all: Vec<f32> =
            (0..=0xffffu32).flat_map(|high| low.map(|low| f32::from_bits(high << 16 | low))).collect();
        let bits = |x: f32| if x.is_nan() { u32::MAX } else { x.to_bits() };
        for (precision, expected) in [
            (Precision::F32, (|x| x) as fn(f32) -> f32),
            (Precision::Bf16, |x| bf16::from_f32(x).to_f32()),
            (Precision::F16, |x| f16::from_f32(x).to_f32()),
        ] {
            let mut found = all.clone();
            round(precision, &mut found);
            for (x, found) in all.iter().zip(found) {
                assert_eq!(bits(found), bits(expected(*x)), "{precision} {x:e} {found:e}");
            }
        }
    }

    #[test]
    fn an_operand_in_single_precision_is_not_copied() {
        let x = [1.0 + f32::EPSILON, 3.0];
        assert!(matches!(operand(Precision::F32, &x), Cow::Borrowed(same) if same == x));
        assert_eq!(*operand(Precision::Bf16, &x), [1.0, 3.0]);
    }
}
