use super::*;

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

#[test]
fn averages_are_pytorchs() {
    let tensor = |first: f32| vec![NamedTensor { name: "w".into(), shape: vec![2], data: vec![first, 0.3] }];
    for (decay, expected) in EXPECTED {
        let mut average: Option<Average> = None;
        for (weight, expected) in [1.0, 2.0, -0.5, 1e-3].into_iter().zip(expected) {
            match &mut average {
                Some(average) => average.update(tensor(weight)),
                none => *none = Some(Average::new(decay, tensor(weight))),
            }
            assert_eq!(average.as_ref().unwrap().tensors(), tensor(expected), "decay {decay}");
        }
    }
}
