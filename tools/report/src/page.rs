//! The page: head, navigation, sections.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::{Report, ReportError, figures, gallery, origin, summary};

const STYLE: &str = include_str!("../assets/report.css");
const SCRIPT: &str = include_str!("../assets/report.js");
/// Nothing is loaded from anywhere.
const POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// A section: its anchor, its title, what is in it.
pub(crate) struct Section(pub &'static str, pub &'static str, pub Markup);

pub(crate) fn render(report: &Report<'_>) -> Result<String, ReportError> {
    let sections = [
        Section("results", "Results", figures::results(report)?),
        Section("breakdown", "By kind of target", figures::breakdown(report)?),
        Section("sweep", "Other prompts", figures::sweep(report)?),
        Section("confidence", "Predicted IoU", figures::calibration(report)?),
        Section("gallery", "Gallery", gallery::render(report)),
        Section("recipe", "Recipe", origin::recipe(report)),
        Section("data", "Data", origin::data(report)),
        Section("lineage", "Lineage", origin::lineage(report)),
    ];
    Ok(shell(&report.job.title, summary::render(report)?, &sections, SCRIPT))
}

/// A page of its own, with all that it needs.
pub(crate) fn shell(title: &str, summary: Markup, sections: &[Section], script: &str) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " – Resect" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#main" { "Skip to the report" }
                nav.bar aria-label="Sections" {
                    ul {
                        li { a href="#summary" { "Summary" } }
                        @for Section(anchor, title, _) in sections {
                            li { a href={ "#" (anchor) } { (title) } }
                        }
                    }
                    button #theme type="button" hidden { "Theme: auto" }
                }
                main #main {
                    (summary)
                    @for Section(anchor, title, body) in sections {
                        section id=(anchor) aria-labelledby={ (anchor) "-title" } {
                            h2 id={ (anchor) "-title" } { (title) }
                            (body)
                        }
                    }
                }
                footer { "Made with Resect from the records of its store. For research; not a medical device." }
                script { (PreEscaped(script)) }
            }
        }
    };
    page.into_string() + "\n"
}

/// A table in a box of its own that scrolls where the page is too narrow. The first column names the rows; columns of numbers
/// stand to the right.
pub(crate) fn table(columns: &[String], rows: &[Vec<String>]) -> Markup {
    let numeric: Vec<bool> = (0..columns.len())
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            let number = |text: &String| text.starts_with(|c: char| c.is_ascii_digit() || "–−+".contains(c));
            column > 0 && cells.clone().count() > 0 && cells.clone().all(number)
        })
        .collect();
    html! {
        div.scroll tabindex="0" role="region" aria-label="Table" {
            table {
                thead { tr {
                    @for (column, numeric) in columns.iter().zip(&numeric) { th.n[*numeric] scope="col" { (column) } }
                } }
                tbody { @for row in rows { tr {
                    @for (index, (cell, numeric)) in row.iter().zip(&numeric).enumerate() {
                        @if index == 0 { th scope="row" { (cell) } } @else { td.n[*numeric] { (cell) } }
                    }
                } } }
            }
        }
    }
}

/// Names and values.
pub(crate) fn pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, Markup)>) -> Markup {
    html! {
        dl.pairs { @for (name, value) in pairs { div { dt { (name) } dd { (value) } } } }
    }
}
