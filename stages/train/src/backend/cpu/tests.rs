use super::*;
use crate::loss::Values;
use crate::loss::tests::reference;
use burn::tensor::TensorData;
use resect_layers::Layers;

#[test]
fn the_loss_and_its_gradient_are_those_of_the_libraries() {
    let device = Default::default();
    for case in reference::cases() {
        for expected in &case.results {
            let tensor = |data: Vec<f32>| {
                Tensor::<Autodiff<Cpu>, 4>::from_data(TensorData::new(data, case.shape), &device)
            };
            let logits = tensor(case.logits.clone()).require_grad();
            let masks = tensor(case.masks.iter().map(|&mask| f32::from(mask)).collect());
            let (objective, n) = (expected.objective(), case.shape[0] as f64);
            // Scaled, as a loss of half precision is.
            let (total, terms) = loss(objective, logits.clone(), masks, &case.images(), 1.0 / n);
            let gradients = total.clone().mul_scalar(8.0).backward();
            let gradient = logits.grad(&gradients).unwrap().div_scalar(8.0);
            let terms: Vec<f64> = terms.into_data().iter::<f64>().collect();
            let sum: Values = terms.chunks(2).map(|term| objective.values(term[0], term[1])).sum();
            let total: f64 = total.into_scalar().elem();
            assert!((total - (sum / n).total()).abs() < 1e-6 * total.abs().max(1.0));
            expected.compare(&case, sum / n, &gradient.into_data().to_vec::<f32>().unwrap());
        }
    }
}

#[test]
fn pieces_come_to_their_places_and_gaps_are_zero() {
    let device = Default::default();
    let piece = |numbers: &[f32]| Tensor::<Cpu, 1>::from_data(numbers, &device);
    let pieces = || vec![(6, piece(&[4.0])), (1, piece(&[1.0, 2.0, 3.0]))];
    let found: Vec<f32> = Cpu::join(pieces(), 9, &device).into_data().to_vec().unwrap();
    assert_eq!(found, [0.0, 1.0, 2.0, 3.0, 0.0, 0.0, 4.0, 0.0, 0.0]);
    // Parts of a vector, and another format.
    let vector = piece(&[9.0, 1.0, 2.0, 3.0]);
    let part = vector.slice_dim(0, 1..4).cast(FloatDType::F16);
    let found: Vec<f32> =
        Cpu::join(vec![(6, piece(&[4.0])), (1, part)], 9, &device).into_data().to_vec().unwrap();
    assert_eq!(found, [0.0, 1.0, 2.0, 3.0, 0.0, 0.0, 4.0, 0.0, 0.0]);
    assert_eq!(Cpu::storage(resect_numeric::Precision::F16), FloatDType::F32);
}

#[test]
fn embeddings_come_in_single_precision() {
    let half: Vec<burn::tensor::f16> = (0..24).map(|i| burn::tensor::f16::from_f32(i as f32 / 4.0)).collect();
    let single: Vec<f32> = (0..24).map(|i| i as f32).collect();
    let samples = [(0, Embedding::F16(&half)), (1, Embedding::F32(&single))];
    let found = Cpu::embeddings(&OnDevice::default(), &samples, [2, 3, 4]);
    assert_eq!(found.dims(), [2, 2, 3, 4]);
    let found: Vec<f32> = found.into_data().to_vec().unwrap();
    assert!(found[..24].iter().zip(&single).all(|(found, i)| *found == i / 4.0) && found[24..] == single);
}
