use super::*;
use burn_autodiff::Autodiff;
use resect_layers::Cpu;

fn vector<B: Backend>(numbers: &[f32]) -> Tensor<B, 1> {
    Tensor::from_data(numbers, &Default::default())
}

fn numbers<B: Backend>(vector: &Tensor<B, 1>) -> Vec<f32> {
    vector.to_data().to_vec().unwrap()
}

fn flag<B: Backend>(flag: bool) -> Tensor<B, 1, Bool> {
    Tensor::from_data([flag], &Default::default())
}

/// The weights after some steps, and the moments.
fn steps<B: TrainingBackend>(
    params: &TrainParams,
    gradients: &[[f32; 2]],
    rates: &[f64],
    taken: bool,
) -> [Vec<f32>; 3] {
    let mut adam = AdamW::<B>::new(params, vector(&[0.0; 2]), 8);
    let mut weights = vector::<B>(&[1.0, -2.0]);
    for (gradient, rate) in gradients.iter().zip(rates) {
        let gradient = vector::<B>(gradient);
        let norm = (gradient.clone() * gradient.clone()).sum().sqrt();
        weights = adam.step(*rate, weights, gradient, norm, &flag(taken));
    }
    [numbers(&weights), numbers(&adam.moments()[0]), numbers(&adam.moments()[1])]
}

/// [`steps`] on some backend.
type Steps = fn(&TrainParams, &[[f32; 2]], &[f64], bool) -> [Vec<f32>; 3];

/// The CPU's kernels, and the tensors of other backends.
fn on_both(check: impl Fn(Steps)) {
    check(steps::<Cpu>);
    check(steps::<Autodiff<Cpu>>);
}

#[test]
fn steps_are_pytorchs() {
    // p = torch.nn.Parameter(torch.tensor([1.0, -2.0])); opt = torch.optim.AdamW([p], lr=0.1, weight_decay=0.5)
    // for g in ([0.5, -0.1], [0.25, 0.0]): p.grad = torch.tensor(g); opt.step(); print(p.tolist())
    let params = TrainParams { weight_decay: 0.5, clip_norm: 0.0, ..TrainParams::default() };
    on_both(|steps| {
        for (count, expected) in [(1, [0.85f32, -1.8]), (2, [0.714_282_04, -1.642_994])] {
            let [found, ..] = steps(&params, &[[0.5, -0.1], [0.25, 0.0]][..count], &[0.1, 0.1], true);
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-6, "{found} {expected}");
            }
        }
    });
}

#[test]
fn clipping_is_pytorchs() {
    // g = torch.nn.Parameter(torch.zeros(2)); g.grad = torch.tensor([3.0, 4.0])
    // torch.nn.utils.clip_grad_norm_([g], 2.0); print(g.grad.norm())
    let moment = |steps: Steps, clip_norm| {
        let params = TrainParams { clip_norm, ..TrainParams::default() };
        let [_, first, _] = steps(&params, &[[3.0, 4.0]], &[0.1], true);
        // The first moment is a tenth of the gradient.
        f64::from(first[0] * 10.0).hypot(f64::from(first[1] * 10.0))
    };
    on_both(|steps| {
        assert!((moment(steps, 2.0) - 1.999_999_6).abs() < 1e-6);
        assert!((moment(steps, 5.1) - 5.0).abs() < 1e-5);
        assert!((moment(steps, 0.0) - 5.0).abs() < 1e-5);
    });
}

#[test]
fn a_step_that_is_not_taken_changes_nothing() {
    on_both(|steps| {
        for bad in [f32::NAN, f32::INFINITY] {
            let params = TrainParams { clip_norm: 1.0, ..TrainParams::default() };
            let found = steps(&params, &[[0.1, bad]], &[0.1], false);
            assert_eq!(found, [vec![1.0, -2.0], vec![0.0; 2], vec![0.0; 2]]);
        }
    });
}

#[test]
fn a_gradient_of_zero_decays_weights_and_nothing_else() {
    let params = TrainParams { weight_decay: 0.3, clip_norm: 0.0, ..TrainParams::default() };
    on_both(|steps| {
        let rates = [0.1, 0.07, 0.001];
        let [found, ..] = steps(&params, &[[0.0; 2]; 3], &rates, true);
        let kept = rates.iter().fold(1f32, |kept, rate| kept * (1.0 - rate * 0.3) as f32);
        for (found, start) in found.iter().zip([1.0, -2.0]) {
            assert!((found - kept * start).abs() < 1e-6, "{found}");
        }
    });
}

#[test]
fn the_norm_is_that_of_all_numbers() {
    let x: Vec<f32> = (0..ALIGNMENT * ALIGNMENT).map(|i| (i % 7) as f32 - 2.5).collect();
    let expected = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt() as f32;
    for found in [numbers(&Cpu::norm(&vector(&x))), numbers(&<Autodiff<Cpu>>::norm(&vector(&x)))] {
        assert!((found[0] - expected).abs() < 1e-5 * expected, "{found:?} {expected}");
    }
}
