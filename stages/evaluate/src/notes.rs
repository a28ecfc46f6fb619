//! The evaluation in a few lines, for whoever watches the run.

use crate::evaluation::{Method, MethodMetrics, Metrics};

/// All notes, one line each.
pub(crate) fn notes(metrics: &Metrics) -> Vec<String> {
    let mut lines = vec![format!(
        "{} test targets on {} images, tight boxes; tuned is epoch {} of {}",
        metrics.samples, metrics.images, metrics.checkpoint.epoch, metrics.checkpoint.epochs
    )];
    lines.extend(by_method(metrics));
    lines.extend(by_size(metrics));
    lines.extend(lead(metrics));
    lines
}

fn by_method(metrics: &Metrics) -> impl Iterator<Item = String> {
    let head = [
        format!("{:<9}{:^15}   {:>13}", "", "original size", "low-res grid"),
        format!("{:<9}{:>7} {:>7}   {:>7} {:>7}", "", "Dice", "IoU", "Dice", "IoU"),
    ];
    let rows = metrics.methods.iter().map(|MethodMetrics { method, all, .. }| {
        let [dice, iou, low_dice, low_iou] =
            [all.dice, all.iou, all.low_res_dice, all.low_res_iou].map(figure);
        format!("{:<9}{dice:>7} {iou:>7}   {low_dice:>7} {low_iou:>7}", method.name())
    });
    head.into_iter().chain(rows)
}

fn by_size(metrics: &Metrics) -> Vec<String> {
    let (Some(untuned), Some(tuned)) = (of(metrics, Method::Untuned), of(metrics, Method::Tuned)) else {
        return Vec::new();
    };
    let [medium, large] = metrics.size_bounds.map(|bound| format!("{}%", round(100.0 * bound)));
    let mut lines =
        vec![format!("{:<23}{:>7} {:>7}   targets", "Dice by share of image", "untuned", "tuned")];
    for (class, untuned, tuned) in [
        (format!("small, below {medium}"), &untuned.small, &tuned.small),
        (format!("medium, below {large}"), &untuned.medium, &tuned.medium),
        (format!("large, from {large}"), &untuned.large, &tuned.large),
    ] {
        let (before, after) = (figure(untuned.dice), figure(tuned.dice));
        lines.push(format!("{class:<23}{before:>7} {after:>7}   {:>7}", tuned.samples));
    }
    lines
}

/// By how much tuning beats, or does not beat, the best of the rest.
fn lead(metrics: &Metrics) -> Option<String> {
    let dice = |row: &MethodMetrics| row.all.dice;
    let tuned = of(metrics, Method::Tuned).and_then(dice)?;
    let others = metrics.methods.iter().filter(|row| row.method != Method::Tuned);
    let (best, rival) =
        others.filter_map(|row| Some((dice(row)?, row.method))).max_by(|a, b| a.0.total_cmp(&b.0))?;
    let difference = (tuned - best).abs();
    Some(match tuned.total_cmp(&best) {
        std::cmp::Ordering::Greater => {
            format!("tuned leads the best of the others ({rival}) by {difference:.4} Dice")
        }
        std::cmp::Ordering::Less => {
            format!("tuned TRAILS the best of the others ({rival}) by {difference:.4} Dice")
        }
        std::cmp::Ordering::Equal => format!("tuned equals the best of the others ({rival})"),
    })
}

fn of(metrics: &Metrics, method: Method) -> Option<&MethodMetrics> {
    metrics.methods.iter().find(|row| row.method == method)
}

fn figure(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.4}"))
}

/// 100 x 0.07 is 7.000000000000001: percentages are shown to a hundredth.
fn round(percent: f64) -> f64 {
    (percent * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use resect_data::checkpoint::SelectedBy;
    use resect_data::targets::Split;

    use super::*;
    use crate::evaluation::{FORMAT, Kept};
    use crate::metrics::Means;

    fn metrics(dice: [f64; 5]) -> Metrics {
        let means = |dice: f64, samples| Means {
            samples,
            dice: (samples > 0).then_some(dice),
            iou: Some(dice / 2.0),
            low_res_samples: samples,
            low_res_dice: Some(dice),
            low_res_iou: Some(dice / 2.0),
        };
        let methods = Method::ALL.into_iter().zip(dice).map(|(method, dice)| MethodMetrics {
            method,
            all: means(dice, 5),
            small: means(dice - 0.1, 2),
            medium: means(dice, 3),
            large: means(0.0, 0),
        });
        Metrics {
            format: FORMAT.into(),
            split: Split::Test,
            samples: 5,
            images: 4,
            checkpoint: Kept {
                epoch: 3,
                epochs: 4,
                selected_by: SelectedBy::ValidationDice,
                validation_dice: None,
            },
            size_bounds: [0.07, 0.2],
            methods: methods.collect(),
        }
    }

    #[test]
    fn the_notes_are_aligned_and_name_the_lead() {
        let expected = [
            "5 test targets on 4 images, tight boxes; tuned is epoch 3 of 4",
            "          original size     low-res grid",
            "            Dice     IoU      Dice     IoU",
            "box       0.7000  0.3500    0.7000  0.3500",
            "ellipse   0.8500  0.4250    0.8500  0.4250",
            "otsu      0.6000  0.3000    0.6000  0.3000",
            "untuned   0.5000  0.2500    0.5000  0.2500",
            "tuned     0.9000  0.4500    0.9000  0.4500",
            "Dice by share of image untuned   tuned   targets",
            "small, below 7%         0.4000  0.8000         2",
            "medium, below 20%       0.5000  0.9000         3",
            "large, from 20%              -       -         0",
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
}
