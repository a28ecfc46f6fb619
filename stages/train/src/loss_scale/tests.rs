use super::*;
use resect_sam::Cpu;

#[test]
fn steps_are_skipped_down_to_the_least_scale_and_no_further() {
    let mut scale = LossScale::new(Precision::F16).unwrap();
    for step in 1..=30 {
        let skipped = Stepped::Skipped { loss_scale: scale.bad() };
        assert_eq!(gradient_norm(skipped, 1, step).unwrap(), f64::INFINITY);
    }
    let error = gradient_norm(Stepped::Skipped { loss_scale: scale.bad() }, 1, 31).unwrap_err();
    assert!(error.to_string().contains("step 31 (epoch 1)"), "{error}");
    assert_eq!(gradient_norm(Stepped::Taken { gradient_norm: 0.5 }, 1, 32).unwrap(), 0.5);
}

#[test]
fn the_scale_moves_as_pytorchs() {
    // s = torch.amp.GradScaler("cpu"); p = torch.nn.Parameter(torch.zeros(1)); o = torch.optim.SGD([p], 1.0)
    // for g in [inf, 1, inf] + 2000 * [1]: p.grad = torch.tensor([g]); s.scale(p.sum()); s.step(o); s.update(); s.get_scale()
    let mut scale = LossScale::new(Precision::F16).unwrap();
    assert_eq!(scale.scale(), 65536.0);
    assert_eq!(scale.bad(), 32768.0);
    scale.good();
    assert_eq!(scale.bad(), 16384.0);
    for _ in 0..1999 {
        scale.good();
    }
    assert_eq!(scale.scale(), 16384.0);
    scale.good();
    assert_eq!((scale.scale(), scale.good_steps), (32768.0, 0));
}

#[test]
fn on_a_device_the_scale_moves_as_on_the_host() {
    let device = Default::default();
    let mut host = LossScale { scale: LARGEST / 2.0, good_steps: GROWTH_INTERVAL - 3 };
    let mut tensors = TensorLossScale::<Cpu>::new(host, &device);
    let good = [3, 1, 2 * GROWTH_INTERVAL + 1].map(|steps| vec![true; steps as usize]);
    for taken in good.join(&false) {
        tensors.update(&Tensor::from_data([taken], &device));
        if taken {
            host.good();
        } else {
            host.bad();
        }
        assert_eq!(tensors.fetched(), host);
    }
    assert_eq!(host, LossScale { scale: LARGEST, good_steps: 1 });
}

#[test]
fn a_scale_comes_back_and_other_precisions_have_none() {
    let dir = tempfile::tempdir().unwrap();
    let mut scale = LossScale::new(Precision::F16).unwrap();
    scale.bad();
    scale.good();
    LossScale::save(Some(&scale), dir.path()).unwrap();
    let mut found = LossScale::new(Precision::F16).unwrap();
    LossScale::restore(Some(&mut found), dir.path()).unwrap();
    assert_eq!(found, scale);
    assert_eq!([Precision::F32, Precision::Bf16].map(LossScale::new), [None, None]);
}
