use super::*;
use crate::Loss;

fn found(params: TrainParams) -> Vec<String> {
    let mut problems = Problems::default();
    params.check(&mut problems);
    problems.0.iter().map(ToString::to_string).collect()
}

#[test]
fn weights_that_fit_no_loss_are_named() {
    let weighted = |loss, weights: &[f64]| {
        found(TrainParams { loss, loss_weights: weights.to_vec(), ..Default::default() })
    };
    for weights in [&[][..], &[1.0, 20.0], &[0.0, 3.5]] {
        assert!(weighted(Loss::DiceCe, weights).is_empty());
    }
    assert!(weighted(Loss::Dice, &[]).is_empty());
    assert_eq!(
        weighted(Loss::Ce, &[1.0, 1.0]),
        [
            "train.loss_weights must be [] with a train.loss of one term, is [1.0, 1.0]; \"dice-ce\" and \"dice-focal\" have two"
        ]
    );
    assert_eq!(
        weighted(Loss::DiceFocal, &[1.0]),
        [
            "train.loss_weights must be two numbers, of Dice and of the pixel-wise term, or [] for the customary ones, is [1.0]"
        ]
    );
    for weights in [[0.0, 0.0], [-1.0, 2.0], [f64::NAN, 1.0], [1.0, f64::INFINITY]] {
        assert_eq!(
            weighted(Loss::DiceCe, &weights),
            [format!("train.loss_weights must be 0 or more and finite, and not both 0, is {weights:?}")]
        );
    }
}

#[test]
fn prompts_that_cannot_be_are_named() {
    let params = TrainParams::default;
    let mixed = || TrainParams { prompts: Prompts::Mixed, ..params() };
    assert!(found(TrainParams { points: 100, box_share: 0.0, ..mixed() }).is_empty());
    let percent = TrainParams { jitter_unit: JitterUnit::Percent, ..params() };
    assert!(found(TrainParams { jitter: 100, ..percent.clone() }).is_empty());
    assert!(found(TrainParams { jitter: 101, ..params() }).is_empty());
    for (params, message) in [
        (
            TrainParams { jitter: 101, ..percent },
            "train.jitter must be 0 to 100 with train.jitter_unit = \"percent\", is 101",
        ),
        (TrainParams { points: 0, ..mixed() }, "train.points must be 1 to 100, is 0"),
        (TrainParams { points: 101, ..mixed() }, "train.points must be 1 to 100, is 101"),
        (
            TrainParams { points: 2, ..params() },
            "train.points must be 1 with train.prompts = \"box\", which draws none, is 2; \"point\" and \"mixed\" draw points",
        ),
        (TrainParams { box_share: 1.5, ..mixed() }, "train.box_share must be a share from 0 to 1, is 1.5"),
        (
            TrainParams { box_share: f64::NAN, ..params() },
            "train.box_share must be a share from 0 to 1, is NaN",
        ),
        (
            TrainParams { box_share: 0.25, prompts: Prompts::Point, ..params() },
            "train.box_share has a meaning with train.prompts = \"mixed\" alone, is 0.25",
        ),
    ] {
        assert_eq!(found(params), [message]);
    }
}

#[test]
fn a_schedule_and_a_clip_norm_that_cannot_be_are_named() {
    let warm = TrainParams { warmup_steps: 5, ..Default::default() };
    assert_eq!(
        found(warm.clone()),
        [
            "train.warmup_steps must be 0 with train.schedule = \"epoch\", is 5; train.schedule = \"step\" has a warm-up"
        ]
    );
    let clipped = TrainParams { schedule: Schedule::Step, clip_norm: 1.0, ..warm };
    assert!(found(clipped.clone()).is_empty());
    for clip_norm in [-1.0, f64::NAN, f64::INFINITY] {
        let message = format!("train.clip_norm must be 0 (no clipping) or more, and finite, is {clip_norm}");
        assert_eq!(found(TrainParams { clip_norm, ..clipped.clone() }), [message]);
    }
}
