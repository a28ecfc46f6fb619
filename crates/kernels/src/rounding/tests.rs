use super::*;
use half::{bf16, f16};

#[test]
fn rounding_is_that_of_the_formats() {
    // Every sign, exponent and first seven bits of the significand, and of what is below them ties and their neighbours.
    let low = [0, 1, 0xfff, 0x1000, 0x1001, 0x1fff, 0x2fff, 0x3000, 0x3001, 0x7fff, 0x8000, 0x8001, 0xffff];
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
