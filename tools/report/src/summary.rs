//! The first screen: what was trained on what, how good it is, and what speaks against believing it.

use maud::{Markup, html};
use resect_checkpoint_records::SelectedBy;
use resect_evaluation_records::Method;
use resect_report_job::{SeedFigures, SeedRow};
use resect_target_records::Split;

use crate::charts::{self, Dot, Forest, Ink, Line, Place, Plot, Row};
use crate::format::{count, figure, interval, moment, p_value, signed};
use crate::{Part, Report, ReportError, figures};

pub(crate) fn render(report: &Report<'_>) -> Result<Markup, ReportError> {
    let job = report.job;
    Ok(html! {
        header #summary {
            p.kicker {
                "Fine-tuning report"
                @if let Some(run) = &job.run { " · run " (run.name) " · " (moment(&run.started)) }
            }
            h1 { (job.title) }
            p.lead { (told(report)) }
            @for warning in warnings(report) { p.warning role="note" { (warning) } }
            (headline(report))
            div.pair {
                (charts::figure(&methods(report))?)
                (curve(report)?)
                (seeds(report))
            }
        }
    })
}

/// What was trained on what, in words.
fn told(report: &Report<'_>) -> Markup {
    let (job, summary) = (report.job, &report.summary);
    let [train, validation, test] = report.parts.map(|part| count(part.images, "image"));
    let [_, validation_part, _] = report.parts;
    html! {
        "The mask decoder of " strong { (job.base.name) } " was tuned on " strong { (job.dataset.name) } ": " (train) " to train on, "
        @if validation_part.images > 0 { (validation) " to choose the epoch by, " }
        (test) " with " (count(report.metrics.targets, "target")) " reported here. "
        @let early = if summary.stopped_early { " before it stopped early" } else { "" };
        "It was trained for " (count(summary.epochs as usize, "epoch")) (early) "; epoch " (summary.epoch) " was kept, "
        (chosen(report)) " Every target is prompted with the tight box around its ground truth."
    }
}

/// How the kept epoch was chosen, and whether what is reported had a part in it.
fn chosen(report: &Report<'_>) -> String {
    let summary = &report.summary;
    let [_, validation, _] = report.parts;
    match summary.selected_by {
        SelectedBy::ValidationDice => {
            let dice = figure(summary.validation_dice);
            let apart = match report.leaks.selected {
                0 => ", none of which is reported or looks like one that is",
                _ => "",
            };
            format!(
                "the best on {} for validation (Dice {dice} on the low-res grid){apart}.",
                count(validation.images, "image")
            )
        }
        SelectedBy::LastEpoch if validation.images == 0 => {
            "the last one: no validation part, no choice.".into()
        }
        SelectedBy::LastEpoch => "the last one, as asked.".into(),
    }
}

/// What speaks against believing the figures.
fn warnings(report: &Report<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    let tuned = report.mean_dice(Method::Tuned);
    if let (Some(tuned), Some((best, dice))) = (tuned, report.best_baseline())
        && tuned <= dice
    {
        warnings.push(format!(
            "Tuned is no better than {}, which needs no model: Dice {} against {}.",
            figures::name(best),
            figure(Some(tuned)),
            figure(Some(dice))
        ));
    }
    if let (Some(tuned), Some(untuned)) = (tuned, report.mean_dice(Method::Untuned))
        && tuned <= untuned
    {
        let (tuned, untuned) = (figure(Some(tuned)), figure(Some(untuned)));
        warnings
            .push(format!("Tuning did not help: Dice {tuned} against {untuned} of the untuned checkpoint."));
    }
    if report.job.base.made_up {
        warnings.push(
            "The base has random weights. The figures show that the pipeline works, and say nothing of SAM's quality.".into(),
        );
    }
    if report.job.dataset.made_up {
        warnings.push("The images are synthetic: phantoms with exact masks, no patients.".into());
    }
    let leaks = report.leaks;
    if leaks.selected > 0 && report.summary.selected_by == SelectedBy::ValidationDice {
        warnings.push(format!(
            "The epoch was selected on what is reported: {} of the test part {} in the validation part, too, by pixels, group or \
             look. The figures are too good.",
            count(leaks.selected, "image"),
            if leaks.selected == 1 { "lies" } else { "lie" }
        ));
    }
    if leaks.trained > 0 {
        warnings.push(format!(
            "{} of the test part {} a counterpart in the training part, by pixels, group or look. The figures are too good.",
            count(leaks.trained, "image"),
            if leaks.trained == 1 { "has" } else { "have" }
        ));
    }
    if report.metrics.groups < 2 {
        warnings.push("All reported targets belong to one group: there are no intervals.".into());
    }
    warnings
}

/// The figures to remember.
fn headline(report: &Report<'_>) -> Markup {
    let metrics = &report.metrics;
    let dice = report.method(Method::Tuned).map(|row| row.all.original.dice).unwrap_or_default();
    let against = metrics.comparison.original.dice;
    let share = format!("{:.0} % interval", 100.0 * metrics.settings.confidence);
    let baseline = report.best_baseline();
    let ahead = baseline.and_then(|(_, other)| Some(dice.mean? - other));
    let [_, _, test] = report.parts;
    html! {
        dl.headline {
            div.main {
                dt { "Dice, tuned" }
                dd { (figure(dice.mean)) }
                dd.note { (share) " " (interval(dice.interval)) }
            }
            div {
                dt { "Against untuned" }
                dd { (signed(against.difference)) }
                dd.note {
                    (share) " " (figures::signed_interval(against.interval))
                    @if let Some(p) = against.p { ", " (p_value(p)) }
                    br; "better on " (against.wins) ", worse on " (against.losses) ", equal on " (against.ties)
                }
            }
            @if let Some((method, other)) = baseline {
                div {
                    dt { "Against the best baseline" }
                    dd { (signed(ahead)) }
                    dd.note { (figures::name(method)) ": " (figure(Some(other))) (better_than(report, method)) }
                }
            }
            div {
                dt { "Reported on" }
                dd { (metrics.targets) }
                dd.note { (targets_on(test)) br; "groups drawn for intervals: " (metrics.groups) }
            }
        }
    }
}

fn targets_on(test: Part) -> String {
    debug_assert_eq!(test.split, Split::Test);
    format!("targets on {}", count(test.images, "image"))
}

/// On how many targets the tuned decoder beats a method.
fn better_than(report: &Report<'_>, method: Method) -> Markup {
    let of = |method: Method| report.rows.iter().filter(move |row| row.method == method);
    let tuned: std::collections::HashMap<&str, f64> =
        of(Method::Tuned).filter_map(|row| Some((row.id.as_str(), row.dice?))).collect();
    let pairs = of(method).filter_map(|row| Some((tuned.get(row.id.as_str())?, row.dice?)));
    let (all, better) =
        pairs.fold((0, 0), |(all, better), (tuned, other)| (all + 1, better + usize::from(*tuned > other)));
    html! { br; "tuned is better on " (better) " of " (all) }
}

/// The methods beside one another.
fn methods(report: &Report<'_>) -> Forest {
    let rows = report.metrics.methods.iter().map(|row| {
        let (of, dice) = (row.method.name().to_owned(), row.all.original.dice);
        let dot = Dot { ink: Ink::of(row.method), of, mean: dice.mean, interval: dice.interval };
        Row { name: figures::name(row.method).into(), dots: vec![dot] }
    });
    Forest {
        title: format!("Dice with {:.0} % intervals", 100.0 * report.metrics.settings.confidence),
        unit: "Dice".into(),
        rows: rows.collect(),
        legend: Vec::new(),
        zero: false,
    }
}

/// Loss and Dice over the epochs.
fn curve(report: &Report<'_>) -> Result<Markup, ReportError> {
    let line = |name: &str, ink, value: fn(&resect_checkpoint_records::Epoch) -> Option<f64>| {
        let places = report.epochs.iter().filter_map(|epoch| {
            let of =
                if epoch.epoch == 0 { "before training".into() } else { format!("epoch {}", epoch.epoch) };
            Some(Place {
                x: f64::from(epoch.epoch),
                y: value(epoch).filter(|y| y.is_finite())?,
                interval: None,
                of,
            })
        });
        let places: Vec<Place> = places.collect();
        let dotted = places.len() <= 40;
        (!places.is_empty()).then(|| Line { name: name.into(), ink, places, joined: true, dotted })
    };
    let kept = (f64::from(report.summary.epoch), format!("epoch {}, kept", report.summary.epoch));
    let plot = |title: &str, y: &str, lines: Vec<Option<Line>>| Plot {
        title: title.into(),
        x: "epoch".into(),
        y: y.into(),
        lines: lines.into_iter().flatten().collect(),
        marked: Some(kept.clone()),
        square: false,
    };
    let loss = plot(
        "Training curve: loss",
        "loss",
        vec![
            line("training", Ink::Train, |epoch| epoch.train_loss),
            line("validation", Ink::Validation, |epoch| epoch.validation_loss),
        ],
    );
    let dice = plot(
        "Training curve: validation Dice, low-res grid",
        "Dice",
        vec![line("validation", Ink::Validation, |epoch| epoch.validation_dice)],
    );
    Ok(html! {
        (charts::figure(&loss)?)
        @if !dice.lines.is_empty() { (charts::figure(&dice)?) }
    })
}

/// Each seed, mean and deviation.
fn seeds(report: &Report<'_>) -> Markup {
    let Some(seeds) = &report.job.seeds else { return html! {} };
    let row = |name: String, figures: SeedFigures, epoch: Option<u32>| {
        let epoch = epoch.map_or_else(|| "–".into(), |epoch| epoch.to_string());
        vec![name, figure(figures.dice), figure(figures.iou), epoch]
    };
    let of_seed = |of: &SeedRow| {
        let shown = if of.seed == seeds.shown { " (shown here)" } else { "" };
        row(format!("seed {}{shown}", of.seed), of.figures, of.epoch)
    };
    let mut rows: Vec<Vec<String>> = seeds.rows.iter().map(of_seed).collect();
    rows.push(row("mean".into(), seeds.mean, None));
    rows.push(row("standard deviation".into(), seeds.standard_deviation, None));
    let columns = ["tuned", "Dice", "IoU", "epoch"].map(str::to_owned);
    html! {
        div.seeds {
            h2.minor { (count(seeds.rows.len(), "seed")) }
            p.note {
                "The same split and embeddings, tuned once with each seed: the noise of training alone. All else on this page is seed "
                (seeds.shown) "."
            }
            (crate::page::table(&columns, &rows))
        }
    }
}
