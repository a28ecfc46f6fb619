use super::*;

fn numbers(len: usize, step: f32) -> Vec<f32> {
    (0..len).map(|i| (i as f32 * step).sin()).collect()
}

#[test]
fn planes_become_rows() {
    let (channels, places) = (3, 37);
    let (x, one) = (numbers(2 * channels * places, 0.7), numbers(channels * places, 1.1));
    for added in [None, Some(one.as_slice())] {
        let mut out = vec![0.0; x.len()];
        to_rows(&x, added, [channels, places], &mut out);
        for (at, found) in out.iter().enumerate() {
            let (image, place, channel) = (at / channels / places, at / channels % places, at % channels);
            let plane = channel * places + place;
            let expected = x[image * channels * places + plane] + added.map_or(0.0, |added| added[plane]);
            assert_eq!(*found, expected);
        }
    }
}

#[test]
fn gradients_of_neighbourhoods_are_the_transpose() {
    let (side, channels, images) = (5, 2, 2);
    let tokens = images * side * side;
    let (x, d) = (numbers(tokens * channels, 0.3), numbers(tokens * 9 * channels, 1.7));
    let mut out = vec![0.0; tokens * 9 * channels];
    neighbourhoods(&x, side, channels, &mut out);
    // The middle of each neighbourhood is the token itself, the first of the first token is beyond the image.
    for (row, x) in out.chunks_exact(9 * channels).zip(x.chunks_exact(channels)) {
        assert_eq!(row[4 * channels..5 * channels], *x);
    }
    assert_eq!(out[..channels], [0.0; 2]);
    for accumulate in [Accumulate::No, Accumulate::Yes] {
        let mut dx = vec![1.0; x.len()];
        neighbourhoods_backward(&d, side, channels, Target { gradient: &mut dx, accumulate });
        let start = if accumulate == Accumulate::Yes { x.iter().sum::<f32>() } else { 0.0 };
        // <d, N x> = <N^T d, x>
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
        assert!((dot(&d, &out) - (dot(&dx, &x) - f64::from(start))).abs() < 1e-4);
    }
}

#[test]
fn the_logits_of_a_mask_do_not_depend_on_other_masks() {
    let (grid, channels) = ([2, 3], 4);
    let places = 16 * grid[0] * grid[1];
    let (weights, x) = (numbers(2 * 10 * channels, 0.9), numbers(2 * places * channels, 0.2));
    let masks = |masks| Masks { grid, masks, channels, precision: Precision::F32 };
    let mut all = vec![0.0; 2 * 10 * places];
    masks(10).forward(&weights, &x, &mut all);
    for sample in 0..2 {
        for mask in 0..10 {
            let at = sample * 10 + mask;
            let mut one = vec![0.0; places];
            let weight = &weights[at * channels..][..channels];
            masks(1).forward(weight, &x[sample * places * channels..][..places * channels], &mut one);
            assert_eq!(one, all[at * places..][..places], "sample {sample}, mask {mask}");
        }
    }
}
