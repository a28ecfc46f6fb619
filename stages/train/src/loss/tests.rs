pub(crate) mod reference;

use super::*;

#[test]
fn values_and_gradients_are_those_of_the_libraries() {
    reference::compare_backend(crate::backend::loss);
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
