use plotters::prelude::*;

use super::{Area, Chart, Ink, Spot, font, mark, range, tick};
use crate::format;

/// Lines over a number.
pub(crate) struct Plot {
    pub title: String,
    pub x: String,
    pub y: String,
    pub lines: Vec<Line>,
    /// A place along x that is marked by a line, and what it is.
    pub marked: Option<(f64, String)>,
    /// Whether both axes go from 0 to 1, with the line on which both are equal.
    pub square: bool,
}

/// A line of a [`Plot`].
pub(crate) struct Line {
    pub name: String,
    pub ink: Ink,
    pub places: Vec<Place>,
    /// Whether places are joined, marked, or both.
    pub joined: bool,
    pub dotted: bool,
}

/// A value somewhere along x.
#[derive(Clone)]
pub(crate) struct Place {
    pub x: f64,
    pub y: f64,
    pub interval: Option<[f64; 2]>,
    /// What it is the value of, such as "epoch 3".
    pub of: String,
}

impl Plot {
    fn places(&self) -> impl Iterator<Item = &Place> + Clone {
        self.lines.iter().flat_map(|line| &line.places)
    }

    fn ranges(&self) -> [std::ops::Range<f64>; 2] {
        if self.square {
            return [0.0..1.0, 0.0..1.0];
        }
        let xs = self.places().map(|place| place.x);
        let (low, high) = (xs.clone().fold(f64::INFINITY, f64::min), xs.fold(f64::NEG_INFINITY, f64::max));
        let x = match low < high {
            true => low - 0.02 * (high - low)..high + 0.02 * (high - low),
            false if low.is_finite() => low - 1.0..low + 1.0,
            false => 0.0..1.0,
        };
        let y =
            range(self.places().flat_map(|p| std::iter::once(p.y).chain(p.interval.into_iter().flatten())));
        [x, y]
    }
}

impl Chart for Plot {
    fn title(&self) -> &str {
        &self.title
    }

    fn heights(&self) -> [u32; 3] {
        if self.square { [460, 460, 340] } else { [320, 320, 270] }
    }

    fn legend(&self) -> Vec<(String, Ink)> {
        let mut legend: Vec<_> = self.lines.iter().map(|line| (line.name.clone(), line.ink)).collect();
        legend.extend(self.marked.iter().map(|(_, name)| (name.clone(), Ink::Axis)));
        legend
    }

    fn table(&self) -> (Vec<String>, Vec<Vec<String>>) {
        let columns = ["", &self.x, &self.y, "interval"].map(str::to_owned).to_vec();
        let rows = self.lines.iter().flat_map(|line| {
            line.places.iter().map(|place| {
                let x = place.of.clone();
                vec![line.name.clone(), x, format::figure(Some(place.y)), format::interval(place.interval)]
            })
        });
        let mut rows: Vec<Vec<String>> = rows.collect();
        let mut columns = columns;
        if self.places().all(|place| place.interval.is_none()) {
            columns.pop();
            rows.iter_mut().for_each(|row| row.truncate(3));
        }
        (columns, rows)
    }

    fn draw(&self, area: &Area<'_>, narrow: bool) -> Result<Vec<Spot>, String> {
        let failed = |error: DrawingAreaErrorKind<_>| error.to_string();
        let [xs, ys] = self.ranges();
        let (x_span, y_span) = (xs.end - xs.start, ys.end - ys.start);
        let mut builder = ChartBuilder::on(area);
        builder.x_label_area_size(40).y_label_area_size(if narrow { 46 } else { 56 });
        let mut chart = builder.margin(8).build_cartesian_2d(xs.clone(), ys.clone()).map_err(failed)?;
        let whole = |value: &f64| {
            if self.square {
                tick(x_span)(value)
            } else if value.fract().abs() < 1e-9 {
                format!("{value:.0}")
            } else {
                String::new()
            }
        };
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(Ink::Grid.solid())
            .axis_style(Ink::Grid.solid())
            .label_style(font(narrow))
            .axis_desc_style(font(narrow))
            .x_desc(self.x.as_str())
            .y_desc(self.y.as_str())
            .x_labels(if narrow { 5 } else { 10 })
            .y_labels(6)
            .x_label_formatter(&whole)
            .y_label_formatter(&tick(y_span))
            .draw()
            .map_err(failed)?;
        let dashes = |points: Vec<(f64, f64)>| PathElement::new(points, Ink::Axis.line().stroke_width(1));
        if self.square {
            chart.draw_series([dashes(vec![(0.0, 0.0), (1.0, 1.0)])]).map_err(failed)?;
        }
        if let Some((x, _)) = &self.marked {
            chart.draw_series([dashes(vec![(*x, ys.start), (*x, ys.end)])]).map_err(failed)?;
        }
        for line in &self.lines {
            let band: Option<Vec<[f64; 2]>> = line.places.iter().map(|place| place.interval).collect();
            if let Some(band) = band.filter(|band| line.joined && band.len() > 1) {
                let along = line.places.iter().map(|place| place.x);
                let low = along.clone().zip(&band).map(|(x, band)| (x, band[0]));
                let high = along.zip(&band).map(|(x, band)| (x, band[1]));
                let outline: Vec<_> = low.chain(high.rev()).collect();
                let fill = line.ink.solid().mix(0.14).filled();
                chart.draw_series([Polygon::new(outline, fill)]).map_err(failed)?;
            }
        }
        let mut spots = Vec::new();
        for line in &self.lines {
            let points: Vec<(f64, f64)> = line.places.iter().map(|place| (place.x, place.y)).collect();
            if line.joined {
                let style = line.ink.line().stroke_width(2);
                chart.draw_series([PathElement::new(points, style)]).map_err(failed)?;
            }
            for place in &line.places {
                let at = chart.backend_coord(&(place.x, place.y));
                let within =
                    place.interval.map_or_else(String::new, |i| format!(" ({})", format::interval(Some(i))));
                let says = format!("{}, {}: {}{within}", line.name, place.of, format::figure(Some(place.y)));
                if line.dotted {
                    mark(area, at, line.ink)?;
                }
                spots.push(Spot { at, says });
            }
        }
        Ok(spots)
    }
}
