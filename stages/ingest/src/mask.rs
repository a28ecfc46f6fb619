//! From a grey mask to what is to be segmented.
//!
//! A mask is held as its horizontal runs: a few kilobytes where the bitmap has hundreds, and connected components,
//! boxes and areas fall out of them. That is why the labelling is done here, in thirty lines, and not by
//! `imageproc`, which would add a linear algebra library to the build.

use resect_geometry::{Mask, PixelBox, Size};
use resect_ingest_params::{MaskParams, Targets};
use resect_pixels::Grey;

/// Foreground pixels `x0..=x1` of row `y`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    y: u32,
    x0: u32,
    x1: u32,
}

/// A binary mask as its maximal horizontal runs, in row order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runs {
    size: Size,
    runs: Vec<Run>,
}

impl Runs {
    /// The pixels for which `foreground` holds.
    fn of(grey: &Grey, foreground: impl Fn(u8) -> bool) -> Self {
        let mut runs = Vec::new();
        for (y, row) in (0u32..).zip(grey.values.chunks_exact(grey.size.width as usize)) {
            let mut start = None;
            for (x, &value) in (0u32..).zip(row) {
                match (start, foreground(value)) {
                    (None, true) => start = Some(x),
                    (Some(x0), false) => {
                        runs.push(Run { y, x0, x1: x - 1 });
                        start = None;
                    }
                    _ => {}
                }
            }
            runs.extend(start.map(|x0| Run { y, x0, x1: grey.size.width - 1 }));
        }
        Self { size: grey.size, runs }
    }

    /// Foreground pixels.
    pub fn area(&self) -> u64 {
        self.runs.iter().map(|run| u64::from(run.x1 - run.x0 + 1)).sum()
    }

    /// Share of the image's area.
    pub fn area_fraction(&self) -> f64 {
        self.area() as f64 / self.size.pixels() as f64
    }

    /// The tight box; `None` without foreground.
    pub fn bounding_box(&self) -> Option<PixelBox> {
        Some(PixelBox {
            x0: self.runs.iter().map(|run| run.x0).min()?,
            y0: self.runs.first()?.y,
            x1: self.runs.iter().map(|run| run.x1).max()?,
            y1: self.runs.last()?.y,
        })
    }

    /// Whether foreground lies on the border of the image.
    pub fn touches_border(&self) -> bool {
        self.bounding_box().is_some_and(|b| {
            b.x0 == 0 || b.y0 == 0 || b.x1 == self.size.width - 1 || b.y1 == self.size.height - 1
        })
    }

    /// The bitmap.
    pub fn to_mask(&self) -> Mask {
        let width = self.size.width as usize;
        let mut pixels = vec![false; self.size.pixels()];
        for run in &self.runs {
            pixels[run.y as usize * width..][run.x0 as usize..=run.x1 as usize].fill(true);
        }
        Mask::new(self.size, pixels)
    }

    /// Connected components (8 neighbours), by their first pixel in row order; none if there are more than `most`.
    pub fn components(&self, most: usize) -> Option<Vec<Runs>> {
        // Union-find over runs; the root of a set is its first run.
        let mut parent: Vec<usize> = (0..self.runs.len()).collect();
        let mut above = 0;
        for (i, run) in self.runs.iter().enumerate() {
            // `above` skips what lies left of this run in the row above, or in rows further up.
            while above < i && {
                let over = self.runs[above];
                over.y + 1 < run.y || over.y + 1 == run.y && over.x1 + 1 < run.x0
            } {
                above += 1;
            }
            let over = self.runs[above..i].iter().take_while(|over| over.y < run.y && over.x0 <= run.x1 + 1);
            for j in above..above + over.count() {
                let (a, b) = (root(&mut parent, i), root(&mut parent, j));
                parent[a.max(b)] = a.min(b);
            }
        }
        let mut components: Vec<Runs> = Vec::new();
        let mut number = vec![0; self.runs.len()];
        for (i, &run) in self.runs.iter().enumerate() {
            let root = root(&mut parent, i);
            if root == i {
                if components.len() == most {
                    return None;
                }
                number[i] = components.len();
                components.push(Runs { size: self.size, runs: Vec::new() });
            }
            components[number[root]].runs.push(run);
        }
        Some(components)
    }

    /// All foreground of several masks of one size, none of which overlap.
    fn union(size: Size, parts: &[Runs]) -> Self {
        let mut runs: Vec<Run> = parts.iter().flat_map(|part| part.runs.iter().copied()).collect();
        runs.sort_unstable_by_key(|run| (run.y, run.x0));
        Self { size, runs }
    }
}

fn root(parent: &mut [usize], mut i: usize) -> usize {
    while parent[i] != i {
        parent[i] = parent[parent[i]];
        i = parent[i];
    }
    i
}

/// More pieces than this are noise, and take memory each.
const MOST_PIECES: usize = 1_000_000;

/// One thing to segment.
#[derive(Clone, Debug)]
pub struct Piece {
    /// Its mask.
    pub runs: Runs,
    /// Its connected components.
    pub components: u32,
}

/// What a mask holds once specks are gone, and what was found on the way.
#[derive(Clone, Debug)]
pub struct Segmented {
    /// One piece, or one for each component.
    pub pieces: Vec<Piece>,
    /// Foreground share of the image, all pieces together.
    pub area_fraction: f64,
    /// Foreground lies on the border of the image.
    pub touches_border: bool,
    /// The mask holds more than two values.
    pub noisy: bool,
    /// Components removed as specks.
    pub specks: u32,
    /// One of them covers the pixel (0, 0).
    pub corner_speck: bool,
    /// Components kept.
    pub components: u32,
    /// The box of everything above 0 is another one than the box at the threshold.
    pub box_moves_above_zero: bool,
}

/// Makes a mask binary, removes specks and cuts it into pieces; or says why it is of no use.
pub fn segment(grey: &Grey, params: &MaskParams) -> Result<Segmented, String> {
    let mut seen = [false; 256];
    grey.values.iter().for_each(|&value| seen[usize::from(value)] = true);
    let by_label = !params.labels.is_empty();
    let all = if by_label {
        Runs::of(grey, |value| params.labels.contains(&value))
    } else {
        Runs::of(grey, |value| value >= params.threshold)
    };
    let Some(raw_box) = all.bounding_box() else {
        return Err(why_empty(&seen, params));
    };
    let box_moves_above_zero = !by_label && box_above_zero(grey) != Some(raw_box);

    let Some(mut kept) = all.components(MOST_PIECES) else {
        return Err(format!("the mask falls into more than {MOST_PIECES} pieces: that is noise"));
    };
    let largest = kept.iter().map(Runs::area).max().unwrap_or(0);
    let least = largest.min(u64::from(params.speck_pixels));
    let specks: Vec<Runs> = kept.extract_if(.., |component| component.area() < least).collect();
    let whole = Runs::union(grey.size, &kept);
    let components = kept.len() as u32;
    Ok(Segmented {
        area_fraction: whole.area_fraction(),
        touches_border: whole.touches_border(),
        noisy: seen.iter().filter(|&&seen| seen).count() > 2,
        specks: specks.len() as u32,
        corner_speck: specks.iter().any(|speck| speck.runs[0].y == 0 && speck.runs[0].x0 == 0),
        components,
        box_moves_above_zero,
        pieces: match params.targets {
            Targets::Whole => vec![Piece { runs: whole, components }],
            Targets::Components => kept.into_iter().map(|runs| Piece { runs, components: 1 }).collect(),
        },
    })
}

/// The tight box of everything above 0. (Not by runs, of which noise has many.)
fn box_above_zero(grey: &Grey) -> Option<PixelBox> {
    let above = |value: &u8| *value > 0;
    let rows = || (0u32..).zip(grey.values.chunks_exact(grey.size.width as usize));
    let (mut x0, mut x1) = (usize::MAX, 0);
    for (_, row) in rows() {
        // Only what widens the box counts.
        if let Some(first) = row.iter().take(x0).position(above) {
            x0 = first;
        }
        if let Some(last) = row.iter().skip(x1).rposition(above) {
            x1 += last;
        }
    }
    let mut filled = rows().filter(|(_, row)| row.iter().any(above)).map(|(y, _)| y);
    let y0 = filled.next()?;
    Some(PixelBox { x0: x0 as u32, y0, x1: x1 as u32, y1: filled.last().unwrap_or(y0) })
}

/// A mask without foreground is empty, or read with the wrong setting: the second has a way out.
fn why_empty(seen: &[bool; 256], params: &MaskParams) -> String {
    let values: Vec<usize> = (0..256).filter(|&value| seen[value]).collect();
    let max = values.last().copied().unwrap_or(0);
    if max == 0 {
        return "the mask is empty".into();
    }
    if !params.labels.is_empty() {
        let shown: Vec<String> = values.iter().take(8).map(ToString::to_string).collect();
        let more = if values.len() > 8 { ", ..." } else { "" };
        return format!(
            "none of mask.labels = {:?} occurs in the mask, its values are {}{more}",
            params.labels,
            shown.join(", ")
        );
    }
    let hint = match (max, values.len()) {
        (1, _) => "it looks like 0/1, set mask.threshold = 1".to_owned(),
        (_, 2) => format!("it looks like 0/{max}, set mask.threshold = {max}"),
        _ => "if its values are labels, set mask.labels".to_owned(),
    };
    format!("the mask's largest value is {max}, below mask.threshold = {}: {hint}", params.threshold)
}

#[cfg(test)]
mod tests;
