//! The figures in full: all metrics, by kind of target, under other prompts, and what the model thinks of itself.

use maud::{Markup, html};
use resect_evaluation_records::{
    Calibration, ClassMetrics, Estimate, Figures, Method, Paired, PromptKind, Property, SweepPoint, Totals,
};

use crate::charts::{self, Dot, Forest, Ink, Line, Place, Plot, Row};
use crate::format::{count, figure, metric, p_value, signed};
use crate::page::table;
use crate::{Report, ReportError};

/// A method as a reader knows it.
pub(crate) fn name(method: Method) -> &'static str {
    match method {
        Method::Box => "box, filled",
        Method::Ellipse => "ellipse in the box",
        Method::Otsu => "Otsu in the box",
        Method::Untuned => "untuned",
        Method::Tuned => "tuned",
    }
}

fn metric_name(name: &str) -> &'static str {
    match name {
        "dice" => "Dice",
        "iou" => "IoU",
        "precision" => "precision",
        "recall" => "recall",
        "hd95" => "HD95, px",
        "surface_dice" => "surface Dice",
        _ => "mean abs. error",
    }
}

/// An interval of differences.
pub(crate) fn signed_interval(interval: Option<[f64; 2]>) -> String {
    interval
        .map_or_else(|| "–".into(), |[low, high]| format!("{} to {}", signed(Some(low)), signed(Some(high))))
}

const NAMES: [&str; 7] = Figures::<Estimate>::NAMES;

pub(crate) fn results(report: &Report<'_>) -> Result<Markup, ReportError> {
    let settings = &report.metrics.settings;
    let of = |frame: fn(&Totals) -> &Figures<Estimate>| {
        let mut columns = vec!["method".to_owned()];
        columns.extend(NAMES.map(|name| metric_name(name).to_owned()));
        html! {
            div.scroll tabindex="0" role="region" aria-label="Results" {
                table.results {
                    thead { tr {
                        @for (index, column) in columns.iter().enumerate() { th.n[index > 0] scope="col" { (column) } }
                        th.n scope="col" { "missed" }
                    } }
                    tbody { @for row in &report.metrics.methods {
                        tr.own[row.method == Method::Tuned] {
                            th scope="row" { i.dot style={ "background:var(--" (row.method.name()) ")" } {} (name(row.method)) }
                            @for (name, estimate) in NAMES.iter().zip(frame(&row.all).each()) {
                                td.n {
                                    b { (metric(name, estimate.mean)) }
                                    @if let Some([low, high]) = estimate.interval {
                                        br; small { (metric(name, Some(low))) "–" (metric(name, Some(high))) }
                                    }
                                }
                            }
                            td.n { (row.all.missed) }
                        }
                    } }
                }
            }
        }
    };
    Ok(html! {
        p {
            "Means over " (count(report.metrics.targets, "target")) " at the size of the original images, with "
            (format!("{:.0} %", 100.0 * settings.confidence)) " intervals by " (settings.resamples)
            " bootstrap draws of groups. HD95 is the 95th percentile of the distance between the borders; surface Dice the share of both \
             borders within " (settings.surface_tolerance) " px of the other. " i { "Missed" } " are targets of which not a single pixel was found."
        }
        (of(|totals| &totals.original))
        h3 { "Tuned less untuned, target by target" }
        (paired(&report.metrics.comparison.original))
        details {
            summary { "The same on the low-res grid, on which the decoder is trained" }
            p { "Distances are in cells of the grid." }
            (of(|totals| &totals.low_res))
            (paired(&report.metrics.comparison.low_res))
        }
        (charts::figure(&per_target(report))?)
    })
}

fn paired(figures: &Figures<Paired>) -> Markup {
    let columns =
        ["metric", "difference", "interval", "better", "equal", "worse", "Wilcoxon"].map(str::to_owned);
    let rows = NAMES.iter().zip(figures.each()).map(|(name, pair)| {
        let p = pair.p.map_or_else(|| "–".into(), p_value);
        let [better, equal, worse] = [pair.wins, pair.ties, pair.losses].map(|number| number.to_string());
        let (difference, range) = (signed(pair.difference), signed_interval(pair.interval));
        vec![metric_name(name).into(), difference, range, better, equal, worse, p]
    });
    table(&columns, &rows.collect::<Vec<_>>())
}

/// The Dice of each target, sorted.
fn per_target(report: &Report<'_>) -> Plot {
    let mut tuned: Vec<_> = report.rows.iter().filter(|row| row.method == Method::Tuned).collect();
    tuned.sort_by(|a, b| {
        a.dice.unwrap_or(-1.0).total_cmp(&b.dice.unwrap_or(-1.0)).then_with(|| a.id.cmp(&b.id))
    });
    let untuned: std::collections::HashMap<&str, Option<f64>> = report
        .rows
        .iter()
        .filter(|row| row.method == Method::Untuned)
        .map(|row| (row.id.as_str(), row.dice))
        .collect();
    let places = |value: &dyn Fn(&resect_evaluation_records::SampleRow) -> Option<f64>| {
        let places = tuned.iter().enumerate().filter_map(|(rank, row)| {
            Some(Place { x: rank as f64 + 1.0, y: value(row)?, interval: None, of: row.id.clone() })
        });
        places.collect::<Vec<_>>()
    };
    Plot {
        title: "Dice of each target, worst to best of the tuned decoder".into(),
        x: "rank".into(),
        y: "Dice".into(),
        lines: vec![
            Line {
                name: "untuned".into(),
                ink: Ink::Untuned,
                places: places(&|row| untuned.get(row.id.as_str()).copied().flatten()),
                joined: false,
                dotted: true,
            },
            Line {
                name: "tuned".into(),
                ink: Ink::Tuned,
                places: places(&|row| row.dice),
                joined: true,
                dotted: true,
            },
        ],
        marked: None,
        square: false,
    }
}

pub(crate) fn breakdown(report: &Report<'_>) -> Result<Markup, ReportError> {
    let groups = [
        (Property::Size, "By size", size_words(report)),
        (Property::Components, "By number of components", "Connected parts of the target.".to_owned()),
        (
            Property::Flag,
            "By what the audit found",
            "A target can have several flags; \"none\" are those without any.".to_owned(),
        ),
    ];
    let charts: Vec<Markup> = groups
        .into_iter()
        .map(|(by, title, words)| {
            let drawn = charts::figure(&by_class(report, by, title))?;
            Ok::<_, ReportError>(html! { div { (drawn) p.note { (words) } } })
        })
        .collect::<Result<_, _>>()?;
    Ok(html! { div.columns { @for chart in charts { (chart) } } })
}

fn size_words(report: &Report<'_>) -> String {
    let [medium, large] = report.metrics.settings.size_bounds.map(|bound| 100.0 * bound);
    format!("Small targets cover less than {medium} % of their image, large ones {large} % or more.")
}

fn by_class(report: &Report<'_>, by: Property, title: &str) -> Forest {
    let shown =
        [report.best_baseline().map(|(method, _)| method), Some(Method::Untuned), Some(Method::Tuned)];
    let shown: Vec<Method> = shown.into_iter().flatten().collect();
    let classes = |method: Method| {
        let of = report.method(method).map(|row| row.classes.as_slice()).unwrap_or_default();
        of.iter().filter(move |class| class.by == by)
    };
    let rows = classes(Method::Tuned).filter(|class| class.totals.targets > 0).map(|class| {
        let dot = |method: Method| {
            let found: Option<&ClassMetrics> = classes(method).find(|other| other.class == class.class);
            let dice = found.map(|found| found.totals.original.dice).unwrap_or_default();
            Dot { ink: Ink::of(method), of: name(method).into(), mean: dice.mean, interval: dice.interval }
        };
        let name = format!("{} ({})", class.class, class.totals.targets);
        Row { name, dots: shown.iter().map(|method| dot(*method)).collect() }
    });
    Forest {
        title: format!("{title}: Dice"),
        unit: "Dice".into(),
        rows: rows.collect(),
        legend: shown.iter().map(|method| (name(*method).to_owned(), Ink::of(*method))).collect(),
        zero: false,
    }
}

pub(crate) fn sweep(report: &Report<'_>) -> Result<Markup, ReportError> {
    let sweep = &report.metrics.sweep;
    if sweep.is_empty() {
        return Ok(html! {
            p { "The sweep over other prompts was switched off (" code { "evaluate.sweep" } "), so nothing is known of loose or misplaced boxes." }
        });
    }
    let noise = [
        (PromptKind::BoxNoisePixels, "Box noise, in pixels: Dice", "each side moved by up to, px"),
        (
            PromptKind::BoxNoisePercent,
            "Box noise, in percent of the box: Dice",
            "each side moved by up to, %",
        ),
    ];
    let plots: Vec<Markup> = noise
        .into_iter()
        .map(|(kind, title, x)| over_amounts(sweep, kind, title, x))
        .filter(|plot| !plot.lines.is_empty())
        .map(|plot| charts::figure(&plot))
        .collect::<Result<_, _>>()?;
    let prompts = prompts(sweep);
    Ok(html! {
        p {
            "The boxes of the results are tight and come from the ground truth; a person's are not. Here each side of the box is moved in \
             or out at random, or the prompt is another one."
        }
        div.columns { @for plot in plots { (plot) } }
        @if !prompts.rows.is_empty() {
            (charts::figure(&prompts)?)
            p.note {
                "Wrong box: one of the same size where it covers the least of the target, so a low Dice is right. Multimask: masks 1 to 3, the one \
                 of highest predicted IoU; oracle: the one of highest true Dice. Tuning does not train these heads."
            }
        }
    })
}

fn over_amounts(sweep: &[SweepPoint], kind: PromptKind, title: &str, x: &str) -> Plot {
    let unit = if kind == PromptKind::BoxNoisePercent { "%" } else { "px" };
    let lines = Method::DECODERS.into_iter().map(|method| {
        let places = sweep.iter().filter(|point| point.prompt == kind).filter_map(|point| {
            // Points of these kinds have one, as was checked when they were read.
            let amount = point.amount?;
            let dice = point.decoders.iter().find(|decoder| decoder.method == method)?.dice;
            let of = format!("{amount} {unit}");
            Some(Place { x: f64::from(amount), y: dice.mean?, interval: dice.interval, of })
        });
        let (name, ink) = (name(method).to_owned(), Ink::of(method));
        Line { name, ink, places: places.collect(), joined: true, dotted: true }
    });
    let lines = lines.filter(|line| !line.places.is_empty()).collect();
    Plot { title: title.into(), x: x.into(), y: "Dice".into(), lines, marked: None, square: false }
}

fn prompts(sweep: &[SweepPoint]) -> Forest {
    let words = |kind: PromptKind| match kind {
        PromptKind::Point => Some("point"),
        PromptKind::BoxAndPoint => Some("box and point"),
        PromptKind::WrongBox => Some("wrong box"),
        PromptKind::Multimask => Some("multimask"),
        PromptKind::MultimaskOracle => Some("multimask, oracle"),
        PromptKind::BoxNoisePixels | PromptKind::BoxNoisePercent => None,
    };
    let tight =
        sweep.iter().find(|point| point.prompt == PromptKind::BoxNoisePixels && point.amount == Some(0));
    let others = sweep.iter().filter_map(|point| Some((words(point.prompt)?, point)));
    let rows = tight.map(|point| ("tight box", point)).into_iter().chain(others).map(|(prompt, point)| {
        let dots = point.decoders.iter().map(|decoder| Dot {
            ink: Ink::of(decoder.method),
            of: name(decoder.method).into(),
            mean: decoder.dice.mean,
            interval: decoder.dice.interval,
        });
        Row { name: prompt.into(), dots: dots.collect() }
    });
    Forest {
        title: "Other prompts: Dice".into(),
        unit: "Dice".into(),
        rows: rows.collect(),
        legend: Method::DECODERS.map(|method| (name(method).to_owned(), Ink::of(method))).into(),
        zero: false,
    }
}

pub(crate) fn calibration(report: &Report<'_>) -> Result<Markup, ReportError> {
    let known = Method::DECODERS.into_iter().filter_map(|method| {
        let calibration = report.method(method)?.calibration.as_ref()?;
        (calibration.targets > 0).then_some((method, calibration))
    });
    let known: Vec<_> = known.collect();
    if known.is_empty() {
        return Ok(html! { p { "No predicted IoU was recorded." } });
    }
    let lines = known.iter().map(|(method, calibration)| {
        let places = calibration.bins.iter().filter_map(|bin| {
            let of = format!("predicted {} ({})", figure(bin.predicted), count(bin.targets, "target"));
            Some(Place { x: bin.predicted?.clamp(0.0, 1.0), y: bin.actual?, interval: None, of })
        });
        let (name, ink) = (name(*method).to_owned(), Ink::of(*method));
        Line { name, ink, places: places.collect(), joined: true, dotted: true }
    });
    let plot = Plot {
        title: "Reliability: true IoU over predicted IoU".into(),
        x: "predicted IoU".into(),
        y: "true IoU".into(),
        lines: lines.collect(),
        marked: None,
        square: true,
    };
    let mut columns = vec![String::new()];
    columns.extend(known.iter().map(|(method, _)| name(*method).to_owned()));
    let measure = |words: &str, value: &dyn Fn(&Calibration) -> String| {
        let mut row = vec![words.to_owned()];
        row.extend(known.iter().map(|(_, of)| value(of)));
        row
    };
    let rows = [
        measure("bias (predicted less true)", &|of| signed(of.bias)),
        measure("mean absolute error", &|of| figure(of.mean_absolute_error)),
        measure("expected calibration error", &|of| figure(of.expected_calibration_error)),
        measure("correlation", &|of| figure(of.correlation)),
        measure("targets", &|of| of.targets.to_string()),
    ];
    Ok(html! {
        p {
            "SAM predicts the IoU of its own mask. On the diagonal that can be believed; below it the model thinks too well of itself. Tuning on \
             single masks gives the head that predicts it no gradient, so after tuning it rates masks of a decoder it does not know."
        }
        div.pair {
            (charts::figure(&plot)?)
            (table(&columns, &rows))
        }
    })
}
