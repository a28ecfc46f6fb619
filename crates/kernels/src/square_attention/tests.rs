use super::*;

fn numbers(len: usize, step: f32) -> Vec<f32> {
    (0..len).map(|i| (i as f32 * step).sin()).collect()
}

/// An attention with windows that reach over the image, or a global one, and its input.
fn with_attention(window: Option<usize>, work: impl Fn(SquareAttention<'_>, &[f32])) {
    let (grid, heads, head, images) = (7, 2, 3, 2);
    let side = window.unwrap_or(grid);
    let [by_row, by_column] = [0.4, 1.9].map(|step| numbers((2 * side - 1) * head, step));
    let positions = Positions::new(&by_row, &by_column, side, Precision::F32);
    let outside = numbers(3 * heads * head, 2.3);
    let attention = SquareAttention {
        grid,
        window,
        heads,
        head,
        positions: Some(&positions),
        outside: Some(&outside),
        precision: Precision::F32,
    };
    work(attention, &numbers(images * grid * grid * 3 * heads * head, 0.77));
}

#[test]
fn gradients_by_tokens_are_differences() {
    for window in [None, Some(4)] {
        with_attention(window, |attention, qkv| {
            let count = qkv.len() / 3;
            let d = numbers(count, 0.31);
            let loss = |qkv: &[f32]| -> f64 {
                let mut out = vec![0.0; count];
                attention.forward(qkv, &mut out, &mut []);
                out.iter().zip(&d).map(|(out, d)| f64::from(*out) * f64::from(*d)).sum()
            };
            let mut out = vec![0.0; count];
            let mut log_sums = vec![0.0; 2 * attention.log_sums()];
            attention.forward(qkv, &mut out, &mut log_sums);
            let mut gradient = vec![f32::NAN; qkv.len()];
            let target = Target { gradient: &mut gradient, accumulate: Accumulate::No };
            let targets = SquareTargets { qkv: target, outside: None, tables: None };
            attention.backward(qkv, &out, &log_sums, &d, targets);
            let mut moved = qkv.to_vec();
            for at in (0..qkv.len()).step_by(17) {
                let step = 1e-2;
                moved[at] = qkv[at] + step;
                let above = loss(&moved);
                moved[at] = qkv[at] - step;
                let expected = (above - loss(&moved)) / f64::from(2.0 * step);
                moved[at] = qkv[at];
                assert!(
                    (f64::from(gradient[at]) - expected).abs() < 2e-4,
                    "{window:?}, {at}: {} {expected}",
                    gradient[at]
                );
            }
        });
    }
}

#[test]
fn an_image_does_not_depend_on_others() {
    for window in [None, Some(4)] {
        with_attention(window, |attention, qkv| {
            let mut both = vec![0.0; qkv.len() / 3];
            attention.forward(qkv, &mut both, &mut []);
            for (qkv, expected) in qkv.chunks(qkv.len() / 2).zip(both.chunks(both.len() / 2)) {
                let mut one = vec![0.0; expected.len()];
                attention.forward(qkv, &mut one, &mut []);
                assert_eq!(one, expected);
            }
        });
    }
}
