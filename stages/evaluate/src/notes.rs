//! The evaluation in a few lines, for whoever watches the run.

use resect_evaluation_records::{Method, MethodMetrics, Metrics, PromptKind, Property, SweepPoint};

/// All notes, one line each.
pub(crate) fn notes(metrics: &Metrics) -> Vec<String> {
    let mut lines = vec![format!(
        "{} test targets on {} images, tight boxes; tuned is epoch {} of {}",
        metrics.targets, metrics.images, metrics.checkpoint.epoch, metrics.checkpoint.epochs
    )];
    lines.extend(by_method(metrics));
    lines.extend(by_size(metrics));
    lines.extend(by_noise(metrics, PromptKind::BoxNoisePixels, "px"));
    lines.extend(by_noise(metrics, PromptKind::BoxNoisePercent, "%"));
    lines.extend(by_prompt(metrics));
    lines.extend(against_untuned(metrics));
    lines.extend(lead(metrics));
    lines
}

fn by_method(metrics: &Metrics) -> impl Iterator<Item = String> {
    let head = [
        format!("{:<9}{:^31}   {:>13}", "", "original size", "low-res grid"),
        format!(
            "{:<9}{:>7} {:>7} {:>7} {:>7}   {:>7} {:>7}",
            "", "Dice", "IoU", "HD95", "NSD", "Dice", "IoU"
        ),
    ];
    let rows = metrics.methods.iter().map(|MethodMetrics { method, all, .. }| {
        let (original, low_res) = (&all.original, &all.low_res);
        let [dice, iou, nsd, low_dice, low_iou] =
            [original.dice, original.iou, original.surface_dice, low_res.dice, low_res.iou]
                .map(|estimate| figure(estimate.mean));
        let hd95 = original.hd95.mean.map_or_else(|| "-".into(), |pixels| format!("{pixels:.1}"));
        let name = method.name();
        format!("{name:<9}{dice:>7} {iou:>7} {hd95:>7} {nsd:>7}   {low_dice:>7} {low_iou:>7}")
    });
    head.into_iter().chain(rows)
}

fn by_size(metrics: &Metrics) -> Vec<String> {
    let (Some(untuned), Some(tuned)) = (of(metrics, Method::Untuned), of(metrics, Method::Tuned)) else {
        return Vec::new();
    };
    let [medium, large] = metrics.settings.size_bounds.map(|bound| format!("{}%", round(100.0 * bound)));
    let mut lines =
        vec![format!("{:<23}{:>7} {:>7}   targets", "Dice by share of image", "untuned", "tuned")];
    for (class, says) in [
        ("small", format!("small, below {medium}")),
        ("medium", format!("medium, below {large}")),
        ("large", format!("large, from {large}")),
    ] {
        let totals = |row: &MethodMetrics| {
            let found = row.classes.iter().find(|of| of.by == Property::Size && of.class == class);
            found.map(|found| (figure(found.totals.original.dice.mean), found.totals.targets))
        };
        if let (Some((before, _)), Some((after, targets))) = (totals(untuned), totals(tuned)) {
            lines.push(format!("{says:<23}{before:>7} {after:>7}   {targets:>7}"));
        }
    }
    lines
}

/// Width of the first column of the sweep's tables.
const SWEEP_NAMES: usize = 23;

/// Dice of both decoders over the noise of boxes.
fn by_noise(metrics: &Metrics, prompt: PromptKind, unit: &str) -> Vec<String> {
    let points: Vec<&SweepPoint> = metrics.sweep.iter().filter(|point| point.prompt == prompt).collect();
    let amounts =
        points.iter().map(|point| point.amount.map_or_else(|| "-".into(), |amount| amount.to_string()));
    table(&format!("Dice by box noise, {unit}"), &points, amounts)
}

/// Dice of both decoders by other prompts.
fn by_prompt(metrics: &Metrics) -> Vec<String> {
    let noise = [PromptKind::BoxNoisePixels, PromptKind::BoxNoisePercent];
    let points: Vec<&SweepPoint> =
        metrics.sweep.iter().filter(|point| !noise.contains(&point.prompt)).collect();
    let names = points.iter().map(|point| match point.prompt {
        PromptKind::Point => "point".into(),
        PromptKind::BoxAndPoint => "box+pt".into(),
        PromptKind::WrongBox => "wrong".into(),
        PromptKind::Multimask => "multi".into(),
        PromptKind::MultimaskOracle => "oracle".into(),
        noise => noise.name().to_owned(),
    });
    table("Dice by prompt", &points, names)
}

fn table(title: &str, points: &[&SweepPoint], heads: impl Iterator<Item = String>) -> Vec<String> {
    if points.is_empty() {
        return Vec::new();
    }
    let row = |name: &str, cells: Vec<String>| {
        let cells: Vec<String> = cells.iter().map(|cell| format!("{cell:>7}")).collect();
        format!("{name:<SWEEP_NAMES$}{}", cells.join(" "))
    };
    let mut lines = vec![row(title, heads.collect())];
    for method in Method::DECODERS {
        let dice = |point: &&SweepPoint| {
            let found = point.decoders.iter().find(|figures| figures.method == method);
            figure(found.and_then(|figures| figures.dice.mean))
        };
        lines.push(row(method.name(), points.iter().map(dice).collect()));
    }
    lines
}

/// What tuning changed, target by target.
fn against_untuned(metrics: &Metrics) -> Option<String> {
    let dice = &metrics.comparison.original.dice;
    let difference = dice.difference?;
    let interval = dice.interval.map(|[low, high]| format!(" (95 % {low:+.4} to {high:+.4})"));
    let p = dice.p.map(|p| if p < 1e-4 { ", p < 0.0001".into() } else { format!(", p = {p:.4}") });
    Some(format!(
        "tuned less untuned: {difference:+.4} Dice{}; better on {} of {} targets{}",
        interval.unwrap_or_default(),
        dice.wins,
        dice.targets,
        p.unwrap_or_default()
    ))
}

/// By how much tuning beats, or does not beat, the best of the rest.
fn lead(metrics: &Metrics) -> Option<String> {
    let dice = |row: &MethodMetrics| row.all.original.dice.mean;
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
mod tests;
