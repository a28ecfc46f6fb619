//! Charts as inline SVG, drawn by `plotters`.
//!
//! `plotters` knows fixed colours alone. So each [`Ink`] is drawn in a colour that stands for it and becomes a variable of the style
//! sheet afterwards, and light, dark and print are matters of style. Each chart is drawn for several widths, because a chart that is merely shrunk has letters nobody can read. Places that have a value get a circle with a `<title>`.

mod forest;
mod plot;
mod strip;

pub(crate) use forest::{Dot, Forest, Row};
pub(crate) use plot::{Line, Place, Plot};
pub(crate) use strip::{Strip, Values};

use std::fmt::Write;

use maud::{Markup, PreEscaped, html};
use plotters::prelude::*;
use plotters::style::Color;
use resect_evaluation_records::Method;

use crate::ReportError;

/// What a part of a chart stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ink {
    Text,
    Axis,
    Grid,
    Tuned,
    Untuned,
    Box,
    Ellipse,
    Otsu,
    Train,
    Validation,
}

impl Ink {
    const ALL: [Self; 10] = [
        Self::Text,
        Self::Axis,
        Self::Grid,
        Self::Tuned,
        Self::Untuned,
        Self::Box,
        Self::Ellipse,
        Self::Otsu,
        Self::Train,
        Self::Validation,
    ];

    /// The ink of a method, everywhere.
    pub fn of(method: Method) -> Self {
        match method {
            Method::Box => Self::Box,
            Method::Ellipse => Self::Ellipse,
            Method::Otsu => Self::Otsu,
            Method::Untuned => Self::Untuned,
            Method::Tuned => Self::Tuned,
        }
    }

    /// Its variable in the style sheet.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Axis => "muted",
            Self::Grid => "line",
            Self::Tuned => "tuned",
            Self::Untuned => "untuned",
            Self::Box => "box",
            Self::Ellipse => "ellipse",
            Self::Otsu => "otsu",
            Self::Train => "train",
            Self::Validation => "validation",
        }
    }

    /// Whether its lines are dashed: inks that meet in one chart differ in more than colour.
    pub fn dashed(self) -> bool {
        matches!(self, Self::Untuned | Self::Train | Self::Axis)
    }

    fn shade(self, kind: u8) -> RGBColor {
        let index = Self::ALL.iter().position(|ink| *ink == self).unwrap_or_default();
        RGBColor(0xA5, kind, index as u8)
    }

    /// For areas, marks and whole lines.
    fn solid(self) -> RGBColor {
        self.shade(0x00)
    }

    /// For lines that tell inks apart.
    fn line(self) -> RGBColor {
        self.shade(0x01)
    }
}

/// How wide and high a chart is, in its own pixels.
#[derive(Clone, Copy)]
struct Frame {
    /// By which the style sheet knows it.
    class: &'static str,
    width: u32,
    height: u32,
}

/// A chart that can be drawn to any size.
pub(crate) trait Chart {
    /// What it shows: its name for those who cannot see it.
    fn title(&self) -> &str;
    /// Heights where there is enough width, where there is half of that, and where there is little.
    fn heights(&self) -> [u32; 3];
    /// Names and inks of what is in it.
    fn legend(&self) -> Vec<(String, Ink)>;
    /// Its numbers: names of columns, rows.
    fn table(&self) -> (Vec<String>, Vec<Vec<String>>);
    /// Draws it; the places that have a value, and what stands there.
    fn draw(&self, area: &Area<'_>, narrow: bool) -> Result<Vec<Spot>, String>;
}

/// What is drawn on.
type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// A place of the drawing that says what it means.
pub(crate) struct Spot {
    pub at: (i32, i32),
    pub says: String,
}

/// A chart with its legend, and its numbers below it.
pub(crate) fn figure(chart: &impl Chart) -> Result<Markup, ReportError> {
    let [wide, medium, narrow] = chart.heights();
    let frames = [
        Frame { class: "wide", width: 1080, height: wide },
        Frame { class: "medium", width: 540, height: medium },
        Frame { class: "narrow", width: 340, height: narrow },
    ];
    let drawn: Vec<String> = frames.into_iter().map(|frame| svg(chart, frame)).collect::<Result<_, _>>()?;
    let (columns, rows) = chart.table();
    let legend = chart.legend();
    Ok(html! {
        figure.chart {
            figcaption { (chart.title()) }
            @if legend.len() > 1 {
                ul.legend { @for (name, ink) in &legend {
                    li { (swatch(*ink)) (name) }
                } }
            }
            @for drawing in drawn { (PreEscaped(drawing)) }
            details.numbers {
                summary { "Numbers" }
                (crate::page::table(&columns, &rows))
            }
        }
    })
}

/// A piece of line and a mark as the charts have them.
fn swatch(ink: Ink) -> Markup {
    let paint = format!("var(--{})", ink.name());
    let dash = ink.dashed().then_some("4 2.5");
    html! {
        svg.swatch viewBox="0 0 24 12" aria-hidden="true" {
            line x1="1" y1="6" x2="23" y2="6" stroke=(paint) stroke-width="2" stroke-dasharray=[dash] {}
            @match ink {
                Ink::Untuned => { polygon points="12,1.5 17,10 7,10" fill=(paint) {} }
                Ink::Axis | Ink::Grid => {}
                Ink::Box | Ink::Ellipse | Ink::Otsu => { rect x="8" y="2" width="8" height="8" fill=(paint) {} }
                _ => { circle cx="12" cy="6" r="4" fill=(paint) {} }
            }
        }
    }
}

fn svg(chart: &impl Chart, frame: Frame) -> Result<String, ReportError> {
    let cannot = |message: String| ReportError::Chart { chart: chart.title().into(), message };
    let mut text = String::new();
    let spots = {
        let area = SVGBackend::with_string(&mut text, (frame.width, frame.height)).into_drawing_area();
        let spots = chart.draw(&area, frame.class == "narrow").map_err(cannot)?;
        area.present().map_err(|error| cannot(error.to_string()))?;
        spots
    };
    Ok(dress(&text, &spots, chart.title(), frame))
}

/// Turns a drawing into a part of the page.
fn dress(drawing: &str, spots: &[Spot], title: &str, frame: Frame) -> String {
    let Frame { class, width, height } = frame;
    let mut text = drawing.to_owned();
    for ink in Ink::ALL {
        let variable = format!("var(--{})", ink.name());
        let hex = |RGBColor(r, g, b): RGBColor| format!("#{r:02X}{g:02X}{b:02X}");
        let dash = if ink.dashed() { "\" stroke-dasharray=\"6 4" } else { "" };
        text = text
            .replace(&format!("stroke=\"{}", hex(ink.line())), &format!("stroke=\"{variable}{dash}"))
            .replace(&hex(ink.line()), &variable)
            .replace(&hex(ink.solid()), &variable);
    }
    let mut marks = String::new();
    for Spot { at: (x, y), says } in spots {
        let says = html! { (says) }.into_string();
        let _ = write!(
            marks,
            "<circle class=\"spot\" cx=\"{x}\" cy=\"{y}\" r=\"9\"><title>{says}</title></circle>"
        );
    }
    let inner = text.split_once('>').map_or("", |(_, rest)| rest).trim_end().trim_end_matches("</svg>");
    let label = html! { (title) }.into_string().replace('"', "&quot;");
    format!(
        "<svg class=\"drawing {class}\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{label}\">{inner}{marks}</svg>"
    )
}

/// Text of a chart.
fn font(narrow: bool) -> TextStyle<'static> {
    let size = if narrow { 12 } else { 13 };
    ("sans-serif", size).into_font().color(&Ink::Axis.solid())
}

/// Draws the mark of an ink at a point in pixels.
fn mark(area: &Area<'_>, at: (i32, i32), ink: Ink) -> Result<(), String> {
    let (fill, (x, y)) = (ink.solid().filled(), at);
    let drawn = match ink {
        Ink::Untuned => area.draw(&Polygon::new(vec![(x, y - 6), (x + 6, y + 5), (x - 6, y + 5)], fill)),
        Ink::Box | Ink::Ellipse | Ink::Otsu => {
            area.draw(&Rectangle::new([(x - 5, y - 5), (x + 5, y + 5)], fill))
        }
        _ => area.draw(&Circle::new(at, 5, fill)),
    };
    drawn.map_err(|error| error.to_string())
}

/// A range that holds all values with round ends, within 0 to 1 where they lie there.
fn range(values: impl Iterator<Item = f64> + Clone) -> std::ops::Range<f64> {
    let finite = values.filter(|value| value.is_finite());
    let low = finite.clone().fold(f64::INFINITY, f64::min);
    let high = finite.fold(f64::NEG_INFINITY, f64::max);
    if low > high {
        return 0.0..1.0;
    }
    let span = (high - low).max(0.02);
    let step = 10f64.powf(span.log10().floor()) / 2.0;
    let down = ((low - 0.04 * span) / step).floor() * step;
    let up = ((high + 0.04 * span) / step).ceil() * step;
    let down = if low >= 0.0 { down.max(0.0) } else { down };
    down..if high <= 1.0 { up.min(1.0).max(down + step) } else { up }
}

/// Labels of an axis of this range, with no more decimals than they need.
fn tick(span: f64) -> impl Fn(&f64) -> String {
    let decimals = match span {
        span if span >= 6.0 => 0,
        span if span >= 0.35 => 1,
        span if span >= 0.035 => 2,
        _ => 3,
    };
    move |value| format!("{value:.decimals$}").replace('-', "−")
}

#[cfg(test)]
mod tests;
