use super::*;
use resect_layers::Cpu;

/// The scale after some steps that were taken or not.
fn after(start: SavedScale, steps: &[bool]) -> SavedScale {
    let device = Default::default();
    let mut scale = LossScale::<Cpu>::of(start, &device);
    steps.iter().for_each(|taken| scale.update(&Tensor::from_data([*taken], &device)));
    scale.fetched()
}

const FIRST: SavedScale = SavedScale { scale: START, good_steps: 0 };

#[test]
fn steps_are_skipped_down_to_the_least_scale_and_no_further() {
    for step in 1..=31 {
        let skipped = Stepped::Skipped { loss_scale: after(FIRST, &vec![false; step]).scale };
        match gradient_norm(skipped, 1, step as u32) {
            Ok(norm) => assert!(norm == f64::INFINITY && step <= 30),
            Err(error) => assert!(step == 31 && error.to_string().contains("step 31 (epoch 1)"), "{error}"),
        }
    }
    assert_eq!(gradient_norm(Stepped::Taken { gradient_norm: 0.5 }, 1, 32).unwrap(), 0.5);
}

#[test]
fn the_scale_moves_as_pytorchs() {
    // s = torch.amp.GradScaler("cpu"); p = torch.nn.Parameter(torch.zeros(1)); o = torch.optim.SGD([p], 1.0)
    // for g in [inf, 1, inf] + 2000 * [1]: p.grad = torch.tensor([g]); s.scale(p.sum()); s.step(o); s.update(); s.get_scale()
    assert_eq!(FIRST.scale, 65536.0);
    assert_eq!(after(FIRST, &[false]).scale, 32768.0);
    let start = after(FIRST, &[false, true, false]);
    assert_eq!(start, SavedScale { scale: 16384.0, good_steps: 0 });
    assert_eq!(after(start, &[true; 1999]).scale, 16384.0);
    assert_eq!(after(start, &[true; 2000]), SavedScale { scale: 32768.0, good_steps: 0 });
}

#[test]
fn the_scale_stays_within_the_range_of_a_single() {
    let large = SavedScale { scale: LARGEST / 2.0, good_steps: GROWTH_INTERVAL - 1 };
    assert_eq!(after(large, &[true]).scale, LARGEST);
    let largest = SavedScale { scale: LARGEST, good_steps: GROWTH_INTERVAL - 1 };
    assert_eq!(after(largest, &[true, true]), SavedScale { scale: LARGEST, good_steps: 1 });
}

#[test]
fn a_scale_comes_back_and_other_precisions_have_none() {
    let (dir, device) = (tempfile::tempdir().unwrap(), Default::default());
    let mut scale = LossScale::<Cpu>::new(Precision::F16, &device).unwrap();
    [false, true].iter().for_each(|taken| scale.update(&Tensor::from_data([*taken], &device)));
    LossScale::save(Some(&scale), dir.path()).unwrap();
    let mut found = LossScale::<Cpu>::new(Precision::F16, &device).unwrap();
    LossScale::restore(Some(&mut found), dir.path()).unwrap();
    assert_eq!(found.fetched(), scale.fetched());
    let none = [Precision::F32, Precision::Bf16].map(|precision| LossScale::<Cpu>::new(precision, &device));
    assert!(none.iter().all(Option::is_none));
}
