//! The page of `cargo xtask compare`: runs side by side, best first.

use maud::{Markup, html};
use resect_report_job::{Comparison, ComparisonJob, Effect, Level, Ranked, Verdict, Written};

use crate::charts::{Dot, Forest, Ink, Row, Strip, Values, figure};
use crate::{ReportError, format, page};

const SCRIPT: &str = include_str!("../assets/compare.js");
/// A chart of more rows than this is no chart.
const MOST_ROWS: usize = 60;

/// Makes the page of a job.
///
/// # Errors
/// A chart that cannot be drawn, and a place that cannot be written to.
pub fn write(job: &ComparisonJob) -> Result<Written, ReportError> {
    let text = render(&job.comparison)?;
    crate::put(&job.out, &text)?;
    Ok(Written {
        bytes: text.len() as u64,
        shown: job.comparison.rows.len(),
        targets: job.comparison.rows.len(),
    })
}

fn render(comparison: &Comparison) -> Result<String, ReportError> {
    let mut sections = vec![page::Section("ranking", "Ranking", ranking(comparison))];
    if comparison.rows.len() > 1 {
        sections.push(page::Section("seeds", "Seeds", seeds(comparison)?));
    }
    if !comparison.effects.is_empty() {
        sections.push(page::Section("settings", "Each setting on its own", effects(comparison)?));
    }
    if !comparison.failed.is_empty() {
        sections.push(page::Section("failed", "Without figures", failed(comparison)));
    }
    Ok(page::shell(&comparison.title, summary(comparison), &sections, SCRIPT))
}

/// What a metric is called.
fn metric(name: &str) -> &str {
    match name {
        "dice" => "Dice",
        "iou" => "IoU",
        "hd95" => "HD95, px",
        "nsd" => "Surface Dice",
        "low_res_dice" => "Dice, low-res grid",
        other => other,
    }
}

fn number(comparison: &Comparison, value: Option<f64>) -> String {
    let decimals = if comparison.metric == "hd95" { 2 } else { 4 };
    value.map_or_else(|| "–".into(), |value| format!("{value:.decimals$}").replace('-', "−"))
}

fn signed(comparison: &Comparison, value: Option<f64>) -> String {
    let text = number(comparison, value);
    match value {
        Some(value) if value >= 0.0 => format!("+{text}"),
        _ => text,
    }
}

fn interval(comparison: &Comparison, interval: Option<[f64; 2]>) -> String {
    interval.map_or_else(
        || "–".into(),
        |[low, high]| format!("{} to {}", signed(comparison, Some(low)), signed(comparison, Some(high))),
    )
}

/// A setting without its section, where no other ends so.
fn short<'a>(comparison: &Comparison, setting: &'a str) -> &'a str {
    let last = |name: &'a str| name.rsplit('.').next().unwrap_or(name);
    let alike = |other: &&String| other.rsplit('.').next() == setting.rsplit('.').next();
    if comparison.varying.iter().filter(alike).count() > 1 { setting } else { last(setting) }
}

/// What a row is, in a few words.
fn name(comparison: &Comparison, row: &Ranked) -> String {
    let pairs = comparison.varying.iter().zip(&row.settings);
    let words = pairs.map(|(setting, value)| format!("{} {value}", short(comparison, setting)));
    let words = words.collect::<Vec<_>>().join(", ");
    if words.is_empty() { "all runs".into() } else { words }
}

fn verdict(comparison: &Comparison, verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Best => "best",
        Verdict::WithinSpread => "within the spread",
        Verdict::Behind => "",
        Verdict::NoSpread if comparison.averaged.is_empty() => "one seed",
        Verdict::NoSpread => "no two pairs",
        Verdict::OtherTruth => "another truth",
    }
}

fn summary(comparison: &Comparison) -> Markup {
    let what = metric(&comparison.metric);
    let order = if comparison.higher_is_better { "highest first" } else { "lowest first" };
    html! {
        header {
            p.kicker { "Runs side by side" }
            h1 #summary { (comparison.title) }
            @if let Some(best) = comparison.rows.first() {
                p.lead { "By " (what) " on the test part, " (order) ". First: " (name(comparison, best)) "." }
                dl.headline {
                    div.main {
                        dt { (what) ", first row" }
                        dd { (number(comparison, Some(best.mean))) }
                        dd.note { "± " (number(comparison, best.deviation)) " over " (format::count(best.runs.len(), replicate(comparison))) }
                    }
                    @if let Some((baseline, value)) = &best.baseline { div {
                        dt { "Best without training" }
                        dd { (number(comparison, Some(*value))) }
                        dd.note { (baseline) ", same targets" }
                    } }
                    div {
                        dt { "Untuned" }
                        dd { (number(comparison, best.untuned)) }
                        dd.note { "same targets" }
                    }
                    div {
                        dt { "Rows" }
                        dd { (comparison.rows.len()) }
                        dd.note { (format::count(comparison.rows.iter().map(|row| row.runs.len()).sum(), "run")) }
                    }
                }
            }
            @for note in &comparison.notes { p.warning { (note) } }
        }
    }
}

/// What a row has several of.
fn replicate(comparison: &Comparison) -> &'static str {
    if comparison.averaged.is_empty() { "seed" } else { "run" }
}

fn ranking(comparison: &Comparison) -> Markup {
    let members = match comparison.averaged.as_slice() {
        [] => "A row is the runs that differ in nothing but the seed.".to_owned(),
        averaged => format!("A row is an average over {} and seeds.", averaged.join(", ")),
    };
    let several_truths = comparison.rows.iter().any(|row| row.truth != comparison.rows[0].truth);
    html! {
        p { (members) span.hint hidden { " Click a column to sort by it." } }
        div.scroll tabindex="0" role="region" aria-label="Ranking" {
            table.sortable {
                thead { tr {
                    th.n scope="col" { "#" }
                    th.n scope="col" { (metric(&comparison.metric)) }
                    th.n scope="col" { "±" }
                    th.n scope="col" { (replicate(comparison)) "s" }
                    th.n scope="col" { "less first" }
                    th scope="col" { "" }
                    @for setting in &comparison.varying { th scope="col" title=(setting) { (short(comparison, setting)) } }
                    th.n scope="col" { "95 %" }
                    th.n scope="col" { "untuned" }
                    @if several_truths { th.n scope="col" { "truth" } }
                } }
                tbody { @for (i, row) in comparison.rows.iter().enumerate() {
                    tr.own[row.verdict == Verdict::Best] {
                        td.n { (i + 1) }
                        td.n { b { (number(comparison, Some(row.mean))) } }
                        td.n { (number(comparison, row.deviation)) }
                        td.n { (row.runs.len()) }
                        td.n { (row.difference.map_or_else(String::new, |difference| signed(comparison, Some(difference)))) }
                        td { @if !verdict(comparison, row.verdict).is_empty() {
                            span.chip.quiet[row.verdict != Verdict::Best] { (verdict(comparison, row.verdict)) }
                        } }
                        @for value in &row.settings { td { (value) } }
                        td.n { @if i > 0 { (interval(comparison, row.interval)) } }
                        td.n { (number(comparison, row.untuned)) }
                        @if several_truths { td.n { (row.truth) } }
                    }
                } }
            }
        }
        details {
            summary { "Runs" }
            (page::table(&["", "seed", "run", metric(&comparison.metric)].map(str::to_owned), &runs(comparison)))
        }
    }
}

fn runs(comparison: &Comparison) -> Vec<Vec<String>> {
    let of = |row: &Ranked| -> Vec<Vec<String>> {
        let one = |run: &resect_report_job::ComparedRun| {
            let seed = run.seed.map_or_else(|| "–".into(), |seed| seed.to_string());
            vec![name(comparison, row), seed, run.run.clone(), number(comparison, Some(run.value))]
        };
        row.runs.iter().map(one).collect()
    };
    comparison.rows.iter().flat_map(of).collect()
}

fn seeds(comparison: &Comparison) -> Result<Markup, ReportError> {
    let shown = comparison.rows.iter().take(MOST_ROWS);
    let rows = shown.map(|row| {
        let seed = |run: &resect_report_job::ComparedRun| {
            let of = run.seed.map_or_else(|| run.run.clone(), |seed| format!("seed {seed}"));
            (of, run.value)
        };
        // What cannot be told from the first has its ink.
        let ink = match row.verdict {
            Verdict::Best | Verdict::WithinSpread => Ink::Tuned,
            _ => Ink::Box,
        };
        Values {
            name: name(comparison, row),
            values: row.runs.iter().map(seed).collect(),
            mean: row.mean,
            deviation: row.deviation,
            ink,
        }
    });
    let chart = Strip {
        title: format!("Each {}, and the mean", replicate(comparison)),
        unit: metric(&comparison.metric).into(),
        rows: rows.collect(),
    };
    let left_out = comparison.rows.len().saturating_sub(MOST_ROWS);
    Ok(html! {
        p {
            "Circles are " (replicate(comparison)) "s, upright bars their means, level ones a standard deviation to each side. Rows in the "
            "colour of the first are those that these runs do not tell from it."
        }
        (figure(&chart)?)
        @if left_out > 0 { p.note { (format::count(left_out, "further row")) " in the table above alone." } }
    })
}

fn effects(comparison: &Comparison) -> Result<Markup, ReportError> {
    let (mut rows, mut firsts) = (Vec::new(), Vec::new());
    for Effect { setting, levels, .. } in &comparison.effects {
        let Some((first, others)) = levels.split_first() else { continue };
        let named = |level: &Level| format!("{} {}", short(comparison, setting), level.value);
        firsts.push(named(first));
        for level in others {
            let Some(against) = level.against else { continue };
            let dot = Dot {
                ink: Ink::Tuned,
                of: format!("{} pairs", against.pairs),
                mean: Some(against.difference),
                interval: against.interval,
            };
            rows.push(Row { name: named(level), dots: vec![dot] });
        }
    }
    let chart = Forest {
        title: "Mean difference from the setting's first value".into(),
        unit: format!("difference in {}", metric(&comparison.metric)),
        rows,
        legend: Vec::new(),
        zero: true,
    };
    Ok(html! {
        p {
            "Each run with a value is held against the run that is equal in all else, the seed included, and has the setting's first value ("
            (firsts.join(", ")) "). The interval is Student's over these pairs."
        }
        (figure(&chart)?)
        (levels(comparison))
    })
}

/// The values of each setting.
fn levels(comparison: &Comparison) -> Markup {
    let mut columns: Vec<String> =
        ["setting", "value", metric(&comparison.metric), "runs", "difference", "95 %", "pairs"]
            .map(str::to_owned)
            .into();
    let several_truths = comparison.effects.iter().any(|effect| effect.truths_differ);
    columns.extend(several_truths.then(String::new));
    let row = |effect: &Effect, level: &Level| {
        let against = level.against;
        let mut cells = vec![
            effect.setting.clone(),
            level.value.clone(),
            number(comparison, Some(level.mean)),
            level.runs.to_string(),
            against.map_or_else(|| "–".into(), |a| signed(comparison, Some(a.difference))),
            against.map_or_else(|| "–".into(), |a| interval(comparison, a.interval)),
            against.map_or_else(|| "–".into(), |a| a.pairs.to_string()),
        ];
        let caveat = if effect.truths_differ && against.is_some() { "on another truth" } else { "" };
        cells.extend(several_truths.then(|| caveat.to_owned()));
        cells
    };
    let rows =
        comparison.effects.iter().flat_map(|effect| effect.levels.iter().map(|level| row(effect, level)));
    page::table(&columns, &rows.collect::<Vec<_>>())
}

fn failed(comparison: &Comparison) -> Markup {
    let row = |failed: &resect_report_job::Failed| {
        vec![failed.run.clone(), failed.label.clone(), failed.reason.clone()]
    };
    let rows: Vec<Vec<String>> = comparison.failed.iter().map(row).collect();
    html! { div.wrap { (page::table(&["run", "", "why"].map(str::to_owned), &rows)) } }
}

#[cfg(test)]
mod tests;
