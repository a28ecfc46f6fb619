pub(crate) mod reference;

use super::*;
use burn_autodiff::Autodiff;
use resect_layers::Cpu;

#[test]
fn values_and_gradients_are_those_of_the_libraries() {
    let device = Default::default();
    for case in reference::cases() {
        for expected in &case.results {
            let tensor = |data: Vec<f32>| {
                Tensor::<Autodiff<Cpu>, 4>::from_data(TensorData::new(data, case.shape), &device)
            };
            let logits = tensor(case.logits.clone()).require_grad();
            let masks = tensor(case.masks.iter().map(|&m| f32::from(m)).collect());
            let objective = expected.objective();
            let terms = objective.terms(logits.clone(), masks, &case.images());
            let n = case.shape[0] as f64;
            let gradients = objective.sum(&terms).div_scalar(n).backward();
            let gradient: Vec<f32> = logits.grad(&gradients).unwrap().into_data().to_vec().unwrap();
            let numbers = |term: &Tensor<_, 1>| term.to_data().iter::<f64>().collect::<Vec<_>>();
            let pairs = numbers(&terms.dice).into_iter().zip(numbers(&terms.pixelwise));
            let sum: Values = pairs.map(|(dice, pixelwise)| objective.values(dice, pixelwise)).sum();
            expected.compare(&case, sum / n, &gradient);
        }
    }
}

#[test]
fn weights_are_the_customary_ones_unless_given() {
    let weights = |loss, loss_weights: &[f64]| {
        let params = TrainParams { loss, loss_weights: loss_weights.to_vec(), ..Default::default() };
        Objective::new(&params).weights
    };
    assert_eq!(weights(Loss::DiceCe, &[]), [1.0, 1.0]);
    assert_eq!(weights(Loss::DiceFocal, &[]), [1.0, 20.0]);
    assert_eq!(weights(Loss::DiceFocal, &[2.0, 0.0]), [2.0, 0.0]);
}
