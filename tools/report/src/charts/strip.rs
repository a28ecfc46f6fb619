use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::forest::{cut, nice};
use super::{Area, Chart, Ink, Spot, font, range, tick};
use crate::format;

/// Values of several things, a row each, with their mean and one standard deviation to each side of it.
pub(crate) struct Strip {
    pub title: String,
    /// What is measured.
    pub unit: String,
    pub rows: Vec<Values>,
}

/// A row of a [`Strip`].
pub(crate) struct Values {
    pub name: String,
    /// What each is, and its value.
    pub values: Vec<(String, f64)>,
    pub mean: f64,
    /// None of a single value.
    pub deviation: Option<f64>,
    /// Of the mean and the values.
    pub ink: Ink,
}

/// Height of a row, in pixels.
const ROW: i32 = 26;
/// The same where its name stands above it.
const TALL_ROW: i32 = 42;
/// Below this width names stand above their rows: beside them, little would be left for the values.
const WIDE: u32 = 800;
/// No name is longer, in letters.
const LONGEST: usize = 64;
/// Width of a tick's label and the gap beside it, in pixels.
const TICK: i32 = 56;
/// Below the rows: numbers and name of the axis.
const AXIS: i32 = 46;

impl Chart for Strip {
    fn title(&self) -> &str {
        &self.title
    }

    fn heights(&self) -> [u32; 3] {
        [ROW, TALL_ROW, TALL_ROW].map(|row| (self.rows.len() as i32 * row + AXIS) as u32)
    }

    fn legend(&self) -> Vec<(String, Ink)> {
        Vec::new()
    }

    fn table(&self) -> (Vec<String>, Vec<Vec<String>>) {
        let columns = ["", "of", &self.unit].map(str::to_owned).to_vec();
        let rows = self.rows.iter().flat_map(|row| {
            let values = row.values.iter().map(|(of, value)| (of.clone(), *value));
            let deviation = row.deviation.map(|deviation| ("deviation".to_owned(), deviation));
            let all = values.chain([("mean".to_owned(), row.mean)]).chain(deviation);
            all.map(|(of, value)| vec![row.name.clone(), of, format::figure(Some(value))])
        });
        (columns, rows.collect())
    }

    fn draw(&self, area: &Area<'_>, narrow: bool) -> Result<Vec<Spot>, String> {
        let failed = |error: DrawingAreaErrorKind<_>| error.to_string();
        let (width, height) = area.dim_in_pixel();
        let stacked = width < WIDE;
        let longest = self.rows.iter().map(|row| cut(&row.name, LONGEST).chars().count()).max();
        let left = if stacked { 16 } else { longest.unwrap_or_default() as i32 * 7 + 14 };
        let (right, bottom) = (width as i32 - 16, height as i32 - AXIS);
        let all = self.rows.iter().flat_map(|row| {
            let ends = row.deviation.map(|deviation| [row.mean - deviation, row.mean + deviation]);
            row.values.iter().map(|(_, value)| *value).chain(ends.into_iter().flatten())
        });
        let range = range(all);
        let span = range.end - range.start;
        let x = |value: f64| left + ((value - range.start) / span * f64::from(right - left)).round() as i32;

        let step = nice(span / f64::from(((right - left) / TICK).clamp(1, 8)));
        // As many decimals as tell one tick from the next.
        let label = tick(3.5 * step);
        let first = (range.start / step - 1e-9).ceil() as i64;
        let centred = font(narrow).pos(Pos::new(HPos::Center, VPos::Top));
        for value in (first..).map(|i| i as f64 * step).take_while(|value| *value <= range.end + 1e-9) {
            let at = x(value);
            area.draw(&PathElement::new(vec![(at, 0), (at, bottom)], Ink::Grid.solid())).map_err(failed)?;
            area.draw(&Text::new(label(&value), (at, bottom + 8), centred.clone())).map_err(failed)?;
        }
        let middle = ((left + right) / 2, bottom + 27);
        area.draw(&Text::new(self.unit.clone(), middle, centred)).map_err(failed)?;

        let mut spots = Vec::new();
        for (i, row) in self.rows.iter().enumerate() {
            let (name_y, y) = match (i as i32, stacked) {
                (i, false) => (i * ROW + ROW / 2, i * ROW + ROW / 2),
                (i, true) => (i * TALL_ROW + 10, i * TALL_ROW + 28),
            };
            let ink = Ink::Text.solid();
            let names = font(narrow).color(&ink).pos(Pos::new(HPos::Left, VPos::Center));
            area.draw(&Text::new(cut(&row.name, LONGEST), (0, name_y), names)).map_err(failed)?;
            if let Some(deviation) = row.deviation {
                let ends = [row.mean - deviation, row.mean + deviation].map(|end| (x(end), y));
                let line = PathElement::new(ends, row.ink.solid().stroke_width(1));
                area.draw(&line).map_err(failed)?;
            }
            for (of, value) in &row.values {
                let at = (x(*value), y);
                area.draw(&Circle::new(at, 4, row.ink.solid().stroke_width(2))).map_err(failed)?;
                spots
                    .push(Spot { at, says: format!("{}, {of}: {}", row.name, format::figure(Some(*value))) });
            }
            let at = x(row.mean);
            let bar = PathElement::new(vec![(at, y - 9), (at, y + 9)], row.ink.solid().stroke_width(3));
            area.draw(&bar).map_err(failed)?;
        }
        Ok(spots)
    }
}
