use super::*;
use burn_autodiff::Autodiff;
use resect_layers::Cpu;

/// What this gives, beside a second weight that stays 0.3:
///
/// ```python
/// from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
/// for decay in (0.9, 0.25):
///     model = torch.nn.Linear(2, 1, bias=False)
///     average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))
///     for w in ([1.0, 0.3], [2.0, 0.3], [-0.5, 0.3], [1e-3, 0.3]):
///         model.weight.data = torch.tensor([w]); average.update_parameters(model)
///         print([numpy.float32(x) for x in average.module.weight[0].tolist()])
/// ```
const EXPECTED: [(f64, [f32; 4]); 2] =
    [(0.9, [1.0, 1.1, 0.94, 0.8461]), (0.25, [1.0, 1.75, 0.0625, 0.016375])];

fn check<B: TrainingBackend>() {
    let device = Default::default();
    let vector = |first: f32| Tensor::<B, 1>::from_data([first, 0.3], &device);
    for (decay, expected) in EXPECTED {
        let mut average = Average::<B>::new(decay, Tensor::zeros([2], &device));
        for (weight, expected) in [1.0, 2.0, -0.5, 1e-3].into_iter().zip(expected) {
            // A step that is not taken changes nothing.
            average.update(&vector(99.0), &Tensor::from_data([false], &device));
            average.update(&vector(weight), &Tensor::from_data([true], &device));
            let found: Vec<f32> = average.average().to_data().to_vec().unwrap();
            assert_eq!(found, [expected, 0.3], "decay {decay}");
        }
    }
}

#[test]
fn averages_are_pytorchs() {
    check::<Cpu>();
    check::<Autodiff<Cpu>>();
}
