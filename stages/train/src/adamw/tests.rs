use super::*;

#[test]
fn steps_are_pytorchs() {
    // p = torch.nn.Parameter(torch.tensor([1.0, -2.0])); opt = torch.optim.AdamW([p], lr=0.1, weight_decay=0.5)
    // for g in ([0.5, -0.1], [0.25, 0.0]): p.grad = torch.tensor(g); opt.step(); print(p.tolist())
    let params = TrainParams { weight_decay: 0.5, ..TrainParams::default() };
    let mut adam = AdamW::new(&params, [vec![vec![0.0; 2]], vec![vec![0.0; 2]]]);
    let mut parameters = [vec![1.0f32, -2.0]];
    for (gradient, expected) in EXPECTED {
        let mut gradients = [gradient.to_vec()];
        let norm = adam.step(0.1, &mut parameters, &mut gradients);
        let wide = |x: f32| f64::from(x);
        assert!((norm - wide(gradient[0]).hypot(wide(gradient[1]))).abs() < 1e-9);
        assert_eq!(gradients, [vec![0.0; 2]]);
        for (found, expected) in parameters[0].iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
    }
}

#[test]
fn clipping_is_pytorchs() {
    // g = torch.nn.Parameter(torch.zeros(2)); g.grad = torch.tensor([3.0, 4.0])
    // torch.nn.utils.clip_grad_norm_([g], 2.0); print(g.grad.norm())
    assert!((5.0 * clip_factor(2.0, 5.0) - 1.999_999_6).abs() < 1e-7);
    assert_eq!(clip_factor(5.1, 5.0), 1.0);
    assert_eq!(clip_factor(0.0, 5.0), 1.0);
}

#[test]
fn a_gradient_that_is_no_number_changes_nothing() {
    for bad in [f32::NAN, f32::INFINITY] {
        let params = TrainParams { clip_norm: 1.0, ..TrainParams::default() };
        let mut adam = AdamW::new(&params, [vec![vec![0.5; 2]], vec![vec![0.5; 2]]]);
        let mut parameters = [vec![1.0f32, -0.3]];
        let norm = adam.step(0.1, &mut parameters, &mut [vec![0.1, bad]]);
        assert!(!norm.is_finite());
        assert_eq!(parameters, [vec![1.0, -0.3]]);
        assert_eq!(adam.moments(), &[vec![vec![0.5; 2]], vec![vec![0.5; 2]]]);
    }
}

#[test]
fn decay_is_a_step_with_a_gradient_of_zero() {
    let params = TrainParams { weight_decay: 0.3, ..TrainParams::default() };
    let mut adam = AdamW::new(&params, [vec![vec![0.0; 2]], vec![vec![0.0; 2]]]);
    let (mut stepped, mut decayed) = ([vec![1.0f32, -0.3]], vec![1.0f32, -0.3]);
    for rate in [0.1, 0.07, 0.001] {
        adam.step(rate, &mut stepped, &mut [vec![0.0; 2]]);
        adam.decay(rate, &mut decayed);
        assert_eq!(stepped[0], decayed);
    }
}

const EXPECTED: [([f32; 2], [f32; 2]); 2] =
    [([0.5, -0.1], [0.85, -1.8]), ([0.25, 0.0], [0.714_282_04, -1.642_994])];
