use super::*;

#[test]
fn contrast_filters_hardly_see_brightness_and_grow_with_frequency() {
    let (side, mut rng) = (16, generator(0, "test"));
    let filters: Vec<Vec<f32>> = (0..400).map(|_| contrast_filter(side, 1.0, 0.2, &mut rng)).collect();
    // The mean square of what the filters answer to a wave of unit power along x.
    let answer = |half_waves: f64| {
        let turn = |x: usize| (std::f64::consts::PI * half_waves * (x as f64 + 0.5) / side as f64).cos();
        let power: f64 = (0..side).map(|x| turn(x).powi(2)).sum::<f64>() * side as f64;
        let squares = filters.iter().map(|filter| {
            let sum: f64 = filter.iter().enumerate().map(|(i, &w)| f64::from(w) * turn(i % side)).sum();
            sum * sum
        });
        (squares.sum::<f64>() / filters.len() as f64 / power).sqrt()
    };
    let expected = |half_waves: f64| {
        let derivative = 2.0 * (std::f64::consts::PI * half_waves / (2.0 * side as f64)).sin();
        (derivative * derivative + 0.2 * 0.2).sqrt()
    };
    for half_waves in [0.0, 1.0, 2.0, 4.0, 8.0, 15.0] {
        let (found, expected) = (answer(half_waves), expected(half_waves));
        assert!((found / expected - 1.0).abs() < 0.15, "{half_waves}: {found} {expected}");
    }
}
