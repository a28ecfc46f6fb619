//! The gallery: every target with its outlines, worst first. Cards are plain HTML; the script filters, sorts and enlarges them.

use maud::{Markup, PreEscaped, html};
use resect_evaluation_records::{FLAGS, Method, SizeClass};
use resect_geometry::Size;
use serde_json::json;

use crate::Report;
use crate::cases::{Case, MOST_CASES, Outline};
use crate::format::{count, figure, metric, signed};

/// Masks that can be switched: class, name, key.
const MASKS: [(&str, &str, &str); 4] =
    [("truth", "truth", "T"), ("untuned", "untuned", "U"), ("tuned", "tuned", "N"), ("box", "box", "B")];

pub(crate) fn render(report: &Report<'_>) -> Markup {
    let all = report.metrics.targets;
    let cut = all > report.cases.len();
    html! {
        p {
            "Worst first, by the Dice of the tuned decoder. "
            @if cut { strong { "The " (MOST_CASES) " worst of " (all) " are shown. " } }
            "Outlines follow the edges of pixels of the original image. Select a picture to enlarge it."
        }
        div #tools.tools hidden {
            (switches("grid"))
            div.filters {
                label { "Sort "
                    select #sort {
                        option value="worst" { "worst first" }
                        option value="best" { "best first" }
                        option value="improved" { "most improved" }
                        option value="worsened" { "most worsened" }
                    }
                }
                label { "Size "
                    select #size {
                        option value="" { "all" }
                        @for class in SizeClass::ALL { option value=(class.name()) { (class.name()) } }
                    }
                }
                label { "Flag "
                    select #flag {
                        option value="" { "all" }
                        option value="none" { "none" }
                        @for flag in FLAGS { option value=(flag) { (flag) } }
                    }
                }
                label { "Dice from " input #low type="number" min="0" max="1" step="0.05" value="0"; }
                label { "to " input #high type="number" min="0" max="1" step="0.05" value="1"; }
                button #reset type="button" { "Reset" }
            }
            p #shown role="status" aria-live="polite" { (count(report.cases.len(), "target")) }
        }
        ol #cards.cards {
            @for (index, case) in report.cases.iter().enumerate() { (card(index, case)) }
        }
        dialog #large aria-labelledby="large-title" {
            div.large-bar {
                h3 #large-title {}
                p #large-place {}
                button #close type="button" aria-label="Close" { "✕" }
            }
            div.large-body {
                div #large-picture {}
                div.large-side {
                    (switches("dialog"))
                    div #large-figures {}
                    div.large-moves {
                        button #previous type="button" { "← Previous" }
                        button #next type="button" { "Next →" }
                    }
                    p.note { "Keys: ← → move, T U N B switch masks, Esc closes." }
                }
            }
        }
        script #cases type="application/json" { (PreEscaped(data(&report.cases))) }
    }
}

fn switches(place: &str) -> Markup {
    html! {
        fieldset.switches {
            legend { "Masks" }
            @for (class, name, key) in MASKS {
                label class={ "switch s-" (class) } {
                    input type="checkbox" checked data-mask=(class) id={ (place) "-" (class) };
                    svg.swatch viewBox="0 0 24 12" aria-hidden="true" { line class={ "m-" (class) } x1="1" y1="6" x2="23" y2="6" {} }
                    (name) " " kbd { (key) }
                }
            }
        }
    }
}

fn card(index: usize, case: &Case) -> Markup {
    let row = &case.rows[1];
    let id = &case.target.id;
    html! {
        li.card id={ "case-" (index) } data-index=(index) {
            button.open type="button" aria-label={ "Enlarge " (id) } { (picture(case)) }
            div.words {
                h3 title=(id) { (id) }
                p.dice {
                    span.tuned { "tuned " b { (figure(case.dice(Method::Tuned))) } }
                    span.untuned { "untuned " b { (figure(case.dice(Method::Untuned))) } }
                    span.gain { (signed(case.gain())) }
                }
                ul.chips {
                    li { (row.size_class.name()) }
                    @if row.components > 1 { li { (row.components) " parts" } }
                    @for flag in case.flags() { li.flag { (flag) } }
                    @match case.outlines[0] {
                        Outline::Speckle => { li { "untuned: no clear outline" } }
                        Outline::Empty => { li { "untuned: nothing found" } }
                        Outline::Path(_) => {}
                    }
                    @match case.outlines[1] {
                        Outline::Speckle => { li { "tuned: no clear outline" } }
                        Outline::Empty => { li { "tuned: nothing found" } }
                        Outline::Path(_) => {}
                    }
                }
                details { summary { "Figures" } (figures(case)) }
            }
        }
    }
}

fn picture(case: &Case) -> Markup {
    let Size { height, width } = case.target.original();
    let bounds = case.target.bounding_box();
    let path = |class: &str, data: &str| html! { path class={ "m-" (class) } d=(data) {} };
    html! {
        span.picture style={ "aspect-ratio:" (width) "/" (height) } {
            img src=(case.picture) width=(case.size.width) height=(case.size.height) decoding="async" alt={ "Image of " (case.target.id) };
            svg viewBox={ "0 0 " (width) " " (height) } preserveAspectRatio="none" aria-hidden="true" {
                rect.m-box x=(bounds.x0) y=(bounds.y0) width=(bounds.x1 - bounds.x0 + 1) height=(bounds.y1 - bounds.y0 + 1) {}
                (path("truth", &case.truth))
                @for (class, outline) in ["untuned", "tuned"].iter().zip(&case.outlines) {
                    @if let Outline::Path(data) = outline { (path(class, data)) }
                }
            }
        }
    }
}

/// What is known of both masks.
fn figures(case: &Case) -> Markup {
    let [untuned, tuned] = &case.rows;
    let rows = [
        ("Dice", "dice", untuned.dice, tuned.dice),
        ("IoU", "iou", untuned.iou, tuned.iou),
        ("predicted IoU", "iou", untuned.predicted_iou, tuned.predicted_iou),
        ("precision", "precision", untuned.precision, tuned.precision),
        ("recall", "recall", untuned.recall, tuned.recall),
        ("HD95, px", "hd95", untuned.hd95, tuned.hd95),
        ("surface Dice", "surface_dice", untuned.surface_dice, tuned.surface_dice),
    ];
    let columns = ["", "untuned", "tuned"].map(str::to_owned);
    let rows = rows.map(|(label, name, untuned, tuned)| {
        vec![label.to_owned(), metric(name, untuned), metric(name, tuned)]
    });
    let target = &case.target;
    html! {
        (crate::page::table(&columns, &rows))
        p.note {
            "sample " (target.sample) ", group " (target.group) ", " (target.width) " × " (target.height) " px, "
            (format!("{:.1} %", 100.0 * target.area_fraction)) " of the image"
        }
    }
}

/// What the script sorts and filters by. No `<` stands in it, so nothing in it ends the element.
fn data(cases: &[Case]) -> String {
    let rows = cases.iter().map(|case| {
        json!({
            "id": case.target.id,
            "dice": case.dice(Method::Tuned),
            "gain": case.gain(),
            "size": case.rows[1].size_class,
            "flags": case.flags(),
        })
    });
    serde_json::Value::from(rows.collect::<Vec<_>>()).to_string().replace('<', "\\u003c")
}
