use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{Area, Chart, Ink, Spot, font, mark, range, tick};
use crate::format;

/// Means with their intervals, one row for each of several things.
pub(crate) struct Forest {
    pub title: String,
    /// What is measured.
    pub unit: String,
    pub rows: Vec<Row>,
    pub legend: Vec<(String, Ink)>,
    /// Whether 0 is what values are held against, and has a line.
    pub zero: bool,
}

/// A row of a [`Forest`].
pub(crate) struct Row {
    pub name: String,
    pub dots: Vec<Dot>,
}

/// A mean.
pub(crate) struct Dot {
    pub ink: Ink,
    /// Whose it is.
    pub of: String,
    pub mean: Option<f64>,
    pub interval: Option<[f64; 2]>,
}

/// Height of a dot's line, in pixels.
const LINE: i32 = 20;
/// Between rows.
const GAP: i32 = 14;
/// Below the rows: numbers and name of the axis.
const AXIS: i32 = 46;
/// Longest name of a row before it is cut, where there is little width.
const LONGEST_NARROW: usize = 18;

impl Forest {
    fn row_height(row: &Row) -> i32 {
        // A single dot a row leaves room to breathe.
        let gap = if row.dots.len() == 1 { 2 * GAP } else { GAP };
        LINE * row.dots.len().max(1) as i32 + gap
    }

    fn names_width(&self, narrow: bool) -> i32 {
        let longest = self.rows.iter().map(|row| short(&row.name, narrow).chars().count()).max();
        (longest.unwrap_or_default() as f64 * if narrow { 6.3 } else { 7.0 }) as i32 + 14
    }
}

fn short(name: &str, narrow: bool) -> String {
    if narrow { cut(name, LONGEST_NARROW) } else { name.to_owned() }
}

/// A name of no more than so many letters.
pub(super) fn cut(name: &str, most: usize) -> String {
    if name.chars().count() <= most {
        return name.to_owned();
    }
    name.chars().take(most - 1).chain(['…']).collect()
}

impl Chart for Forest {
    fn title(&self) -> &str {
        &self.title
    }

    fn heights(&self) -> [u32; 3] {
        let rows: i32 = self.rows.iter().map(Self::row_height).sum();
        [(rows + AXIS) as u32; 3]
    }

    fn legend(&self) -> Vec<(String, Ink)> {
        self.legend.clone()
    }

    fn table(&self) -> (Vec<String>, Vec<Vec<String>>) {
        let columns = ["", "method", &self.unit, "interval"].map(str::to_owned).to_vec();
        let rows = self.rows.iter().flat_map(|row| {
            row.dots.iter().map(|dot| {
                vec![
                    row.name.clone(),
                    dot.of.clone(),
                    format::figure(dot.mean),
                    format::interval(dot.interval),
                ]
            })
        });
        (columns, rows.collect())
    }

    fn draw(&self, area: &Area<'_>, narrow: bool) -> Result<Vec<Spot>, String> {
        let failed = |error: DrawingAreaErrorKind<_>| error.to_string();
        let (width, height) = area.dim_in_pixel();
        let (left, right) = (self.names_width(narrow), width as i32 - 16);
        let bottom = height as i32 - AXIS;
        let dots = || self.rows.iter().flat_map(|row| &row.dots);
        let values = dots().flat_map(|dot| dot.mean.into_iter().chain(dot.interval.into_iter().flatten()));
        let range = range(values.clone().chain(self.zero.then_some(0.0)));
        let span = range.end - range.start;
        let x = |value: f64| left + ((value - range.start) / span * f64::from(right - left)).round() as i32;

        let ticks = if narrow { 6 } else { 8 };
        let label = tick(span);
        let step = nice(span / f64::from(ticks));
        let first = (range.start / step - 1e-9).ceil() as i64;
        let centred = font(narrow).pos(Pos::new(HPos::Center, VPos::Top));
        for value in (first..).map(|i| i as f64 * step).take_while(|value| *value <= range.end + 1e-9) {
            let at = x(value);
            area.draw(&PathElement::new(vec![(at, 0), (at, bottom)], Ink::Grid.solid())).map_err(failed)?;
            area.draw(&Text::new(label(&value), (at, bottom + 8), centred.clone())).map_err(failed)?;
        }
        if self.zero {
            let style = Ink::Axis.solid().stroke_width(2);
            let line = PathElement::new(vec![(x(0.0), 0), (x(0.0), bottom)], style);
            area.draw(&line).map_err(failed)?;
        }
        let middle = ((left + right) / 2, bottom + 27);
        area.draw(&Text::new(self.unit.clone(), middle, centred)).map_err(failed)?;

        let mut spots = Vec::new();
        let mut top = 0;
        for row in &self.rows {
            let row_height = Self::row_height(row);
            let ink = Ink::Text.solid();
            let names = font(narrow).color(&ink).pos(Pos::new(HPos::Left, VPos::Center));
            let name = Text::new(short(&row.name, narrow), (0, top + row_height / 2), names);
            area.draw(&name).map_err(failed)?;
            for (index, dot) in row.dots.iter().enumerate() {
                let gap = row_height - LINE * row.dots.len() as i32;
                let y = top + gap / 2 + LINE * index as i32 + LINE / 2;
                let Some(mean) = dot.mean else { continue };
                if let Some([low, high]) = dot.interval {
                    let style = dot.ink.solid().stroke_width(2);
                    for line in [
                        vec![(x(low), y), (x(high), y)],
                        vec![(x(low), y - 4), (x(low), y + 4)],
                        vec![(x(high), y - 4), (x(high), y + 4)],
                    ] {
                        area.draw(&PathElement::new(line, style)).map_err(failed)?;
                    }
                }
                mark(area, (x(mean), y), dot.ink)?;
                let within =
                    dot.interval.map_or_else(String::new, |i| format!(" ({})", format::interval(Some(i))));
                let says = format!("{}, {}: {}{within}", row.name, dot.of, format::figure(Some(mean)));
                spots.push(Spot { at: (x(mean), y), says });
            }
            top += row_height;
        }
        Ok(spots)
    }
}

/// The least of 1, 2 and 5 times a power of ten that is no smaller.
pub(super) fn nice(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= step * 0.999);
    factor.unwrap_or(10.0) * power
}
