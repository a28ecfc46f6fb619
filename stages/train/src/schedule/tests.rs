use super::*;

#[test]
fn the_cosine_is_pytorchs() {
    let params =
        TrainParams { epochs: 30, learning_rate: 1e-5, min_learning_rate: 1e-7, ..Default::default() };
    // torch.optim.lr_scheduler.CosineAnnealingLR(AdamW(lr=1e-5), T_max=30, eta_min=1e-7), epochs 1, 2, 16, 30.
    let rate = LearningRate::new(&params, 60).unwrap();
    for (epoch, expected) in
        [(1, 1e-5), (2, 9.972_883_382_072_953e-6), (16, 5.05e-6), (30, 1.271_166_179_270_466_7e-7)]
    {
        let found = rate.of(epoch, 2 * epoch);
        assert!((found - expected).abs() < 1e-16, "epoch {epoch}: {found}");
    }
}

#[test]
fn the_step_after_the_warm_up_has_the_full_rate() {
    let params =
        TrainParams { schedule: Schedule::Step, warmup_steps: 3, learning_rate: 4.0, ..Default::default() };
    let rate = LearningRate::new(&params, 5).unwrap();
    assert_eq!([1, 2, 3, 4].map(|step| rate.of(1, step)), [1.0, 2.0, 3.0, 4.0]);
    assert!((rate.of(1, 5) - 2.0).abs() < 1e-6);
    let at_once = TrainParams { warmup_steps: 0, ..params.clone() };
    assert_eq!(LearningRate::new(&at_once, 5).unwrap().of(1, 1), 4.0);
}

#[test]
fn a_warm_up_that_never_ends_is_refused() {
    let params = TrainParams { schedule: Schedule::Step, warmup_steps: 5, ..Default::default() };
    let error = LearningRate::new(&params, 5).err().unwrap();
    assert_eq!(
        error.to_string(),
        "train.warmup_steps is 5, but all of training takes 5 steps; lower it or raise train.epochs"
    );
    assert!(LearningRate::new(&params, 6).is_ok());
}
