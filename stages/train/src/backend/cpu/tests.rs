use super::*;
use crate::loss::tests::reference;
use resect_layers::Layers;

#[test]
fn the_loss_and_its_gradient_are_those_of_the_libraries() {
    reference::compare_backend(loss);
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
