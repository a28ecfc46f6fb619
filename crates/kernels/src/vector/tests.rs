use super::*;

#[test]
fn functions_are_close_to_those_in_double_precision() {
    for i in -20_000..=20_000 {
        let x = i as f32 * 1e-3;
        let wide = f64::from(x);
        if x <= 0.0 {
            let expected = wide.exp();
            assert!((f64::from(exp_negative(x)) - expected).abs() <= 2e-7 * expected, "exp {x}");
            let unit = (-x / 20.0).min(1.0);
            let expected = f64::from(unit).ln_1p();
            assert!((f64::from(ln_1p_unit(unit)) - expected).abs() <= 2e-7 * expected, "ln_1p {unit}");
        }
        // The distribution function by Simpson's rule from 0.
        let bell = |x: f64| (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
        if i % 50 == 0 && x.abs() <= 8.0 {
            let (n, h) = (400, wide / 400.0);
            let inner: f64 = (1..n).map(|k| bell(k as f64 * h) * if k % 2 == 1 { 4.0 } else { 2.0 }).sum();
            let below = 0.5 + (bell(0.0) + inner + bell(wide)) * h / 3.0;
            let (y, slope) = gelu(x);
            assert!((f64::from(y) - wide * below).abs() <= 4e-7 * wide.abs().max(1.0), "gelu {x}: {y}");
            assert!((f64::from(slope) - below - wide * bell(wide)).abs() <= 5e-7, "gelu' {x}: {slope}");
        }
    }
}

#[test]
fn what_is_no_number_stays_so_and_what_is_tiny_is_not_negative() {
    assert!(exp_negative(f32::NAN).is_nan() && gelu(f32::NAN).0.is_nan());
    assert!((0.0..1e-37).contains(&exp_negative(f32::NEG_INFINITY)));
}

#[test]
fn sums_take_in_every_value() {
    let x: Vec<f32> = (0..37).map(|i| i as f32).collect();
    assert_eq!((sum(&x), dot(&x, &x), squares_about(&x, 1.0)), (666.0, 16_206.0, 16_206.0 - 1332.0 + 37.0));
}
