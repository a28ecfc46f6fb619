use super::*;
use crate::loss::tests::reference::cases;
use resect_train_params::{Loss, TrainParams};

#[test]
fn values_and_gradients_are_those_of_the_libraries() {
    for case in cases() {
        let cells = case.shape[2] * case.shape[3];
        let share = 1.0 / case.shape[0] as f64;
        for expected in &case.results {
            // What is there before must not matter.
            let mut gradient = vec![f32::NAN; case.logits.len()];
            let samples = case.logits.chunks(cells).zip(case.masks.chunks(cells));
            let samples = samples.zip(case.images()).zip(gradient.chunks_mut(cells));
            let losses = samples.map(|(((logits, mask), image), gradient)| {
                let loss = SampleLoss::of(expected.objective(), image, logits, mask, gradient);
                loss.gradient(logits, mask, share, gradient);
                loss.values()
            });
            let mean = losses.sum::<Values>() / case.shape[0] as f64;
            expected.compare(&case, mean, &gradient);
        }
    }
}

#[test]
fn a_logit_that_is_no_number_is_a_loss_that_is_none() {
    for loss in [Loss::DiceCe, Loss::Dice, Loss::Ce, Loss::DiceFocal] {
        let objective = Objective::new(&TrainParams { loss, ..Default::default() });
        for x in [f32::NAN, f32::INFINITY] {
            let (logits, mask) = ([0.0, x, 0.0, 0.0], [1u8, 0, 0, 0]);
            let loss = SampleLoss::of(objective, Size::square(2), &logits, &mask, &mut [0.0; 4]);
            let total = loss.values().total();
            assert!(!total.is_finite(), "{x}: {total}");
        }
    }
}
