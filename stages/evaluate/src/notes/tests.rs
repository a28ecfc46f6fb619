use resect_checkpoint_records::SelectedBy;
use resect_evaluation_records::{
    ClassMetrics, Comparison, Estimate, FORMAT, Figures, Kept, Paired, Settings, SweepFigures, Totals,
};
use resect_target_records::Split;

use super::*;

fn estimate(mean: f64) -> Estimate {
    Estimate { targets: 5, mean: Some(mean), interval: None }
}

fn totals(dice: f64, targets: usize) -> Totals {
    let figures = Figures {
        dice: if targets > 0 { estimate(dice) } else { Estimate::default() },
        iou: estimate(dice / 2.0),
        hd95: estimate(100.0 * (1.0 - dice)),
        ..Figures::default()
    };
    Totals { targets, missed: 0, original: figures, low_res: figures }
}

fn metrics(dice: [f64; 5]) -> Metrics {
    let methods = Method::ALL.into_iter().zip(dice).map(|(method, dice)| {
        let class = |class: &str, totals| ClassMetrics { by: Property::Size, class: class.into(), totals };
        let small = class("small", totals(dice - 0.1, 2));
        let medium = class("medium", totals(dice, 3));
        let classes = vec![small, medium, class("large", totals(0.0, 0))];
        MethodMetrics { method, all: totals(dice, 5), classes, calibration: None }
    });
    let point = |prompt, amount, dice: f64| {
        let figures = |method, dice| SweepFigures {
            method,
            dice: estimate(dice),
            iou: estimate(dice),
            predicted_iou: estimate(dice),
        };
        let decoders = vec![figures(Method::Untuned, dice / 2.0), figures(Method::Tuned, dice)];
        SweepPoint { prompt, amount, decoders }
    };
    let paired = Paired {
        targets: 5,
        difference: Some(dice[4] - dice[3]),
        interval: Some([0.1, 0.5]),
        wins: 4,
        ties: 0,
        losses: 1,
        p: Some(0.125),
    };
    let figures = Figures { dice: paired, ..Figures::default() };
    Metrics {
        format: FORMAT.into(),
        split: Split::Test,
        targets: 5,
        images: 4,
        groups: 4,
        checkpoint: Kept {
            epoch: 3,
            epochs: 4,
            selected_by: SelectedBy::ValidationDice,
            validation_dice: None,
        },
        settings: Settings {
            size_bounds: [0.07, 0.2],
            surface_tolerance: 2.0,
            resamples: 100,
            seed: 0,
            confidence: 0.95,
        },
        methods: methods.collect(),
        comparison: Comparison { original: figures, low_res: figures },
        sweep: vec![
            point(PromptKind::BoxNoisePixels, Some(0), 0.9),
            point(PromptKind::BoxNoisePixels, Some(100), 0.5),
            point(PromptKind::BoxNoisePercent, Some(20), 0.8),
            point(PromptKind::Point, None, 0.25),
            point(PromptKind::WrongBox, None, 0.125),
        ],
    }
}

#[test]
fn the_notes_are_aligned_and_name_the_lead() {
    let expected = [
        "5 test targets on 4 images, tight boxes; tuned is epoch 3 of 4",
        "                  original size             low-res grid",
        "            Dice     IoU    HD95     NSD      Dice     IoU",
        "box       0.7000  0.3500    30.0       -    0.7000  0.3500",
        "ellipse   0.8500  0.4250    15.0       -    0.8500  0.4250",
        "otsu      0.6000  0.3000    40.0       -    0.6000  0.3000",
        "untuned   0.5000  0.2500    50.0       -    0.5000  0.2500",
        "tuned     0.9000  0.4500    10.0       -    0.9000  0.4500",
        "Dice by share of image untuned   tuned   targets",
        "small, below 7%         0.4000  0.8000         2",
        "medium, below 20%       0.5000  0.9000         3",
        "large, from 20%              -       -         0",
        "Dice by box noise, px        0     100",
        "untuned                 0.4500  0.2500",
        "tuned                   0.9000  0.5000",
        "Dice by box noise, %        20",
        "untuned                 0.4000",
        "tuned                   0.8000",
        "Dice by prompt           point   wrong",
        "untuned                 0.1250  0.0625",
        "tuned                   0.2500  0.1250",
        "tuned less untuned: +0.4000 Dice (95 % +0.1000 to +0.5000); better on 4 of 5 targets, p = 0.1250",
        "tuned leads the best of the others (ellipse) by 0.0500 Dice",
    ];
    assert_eq!(notes(&metrics([0.7, 0.85, 0.6, 0.5, 0.9])), expected);
}

#[test]
fn a_loss_is_called_one() {
    let last = |dice| notes(&metrics(dice)).pop().unwrap();
    let trails = last([0.7, 0.85, 0.6, 0.5, 0.8]);
    assert_eq!(trails, "tuned TRAILS the best of the others (ellipse) by 0.0500 Dice");
    assert_eq!(last([0.1, 0.2, 0.3, 0.8, 0.8]), "tuned equals the best of the others (untuned)");
}
