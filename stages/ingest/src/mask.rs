//! From a grey mask to what is to be segmented.
//!
//! A mask is held as its horizontal runs: a few kilobytes where the bitmap has hundreds, and connected components,
//! boxes and areas fall out of them. That is why the labelling is done here, in thirty lines, and not by
//! `imageproc`, which would add a linear algebra library to the build.

use resect_geometry::{Mask, PixelBox, Size};
use resect_params::{MaskParams, Targets};
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
mod tests {
    use super::*;

    fn grey(rows: &[&str]) -> Grey {
        let value = |b: u8| match b {
            b'#' => 255,
            b'.' => 0,
            digit => digit - b'0',
        };
        let size = Size::new(rows.len() as u32, rows[0].len() as u32);
        Grey { size, values: rows.iter().flat_map(|row| row.bytes().map(value)).collect() }
    }

    fn params(speck_pixels: u32, targets: Targets) -> MaskParams {
        MaskParams { speck_pixels, targets, ..MaskParams::default() }
    }

    #[test]
    fn runs_are_the_mask() {
        let grey = grey(&["#.##", "....", ".##.", "...#"]);
        let mask = Mask::new(grey.size, grey.values.iter().map(|&v| v > 0).collect());
        let runs = Runs::of(&grey, |v| v >= 128);
        assert_eq!(runs.to_mask(), mask);
        assert_eq!(runs.bounding_box(), mask.bounding_box());
        assert_eq!(runs.area(), 6);
    }

    /// Against a flood fill, on random masks of many densities; and their boxes.
    #[test]
    fn components_are_those_of_a_flood_fill() {
        for case in 0..200u32 {
            let size = Size::new(1 + case % 13, 1 + case % 17);
            let mut rng = resect_seed::stream("test", 0, &[&case.to_le_bytes()]);
            let values = (0..size.pixels())
                .map(|_| if resect_seed::below(&mut rng, 100) < 10 + case % 80 { 255 } else { 0 })
                .collect();
            let grey = Grey { size, values };
            let runs = Runs::of(&grey, |v| v > 0);
            assert_eq!(box_above_zero(&grey), runs.bounding_box(), "case {case}");
            let found = runs.components(MOST_PIECES).unwrap();
            let found: Vec<Mask> = found.iter().map(Runs::to_mask).collect();
            assert_eq!(found, flood(&grey), "case {case}");
        }
    }

    #[test]
    fn noise_beyond_all_pieces_is_no_mask() {
        let size = Size::new(2001, 2003);
        let apart = |i: usize| (i / 2003).is_multiple_of(2) && (i % 2003).is_multiple_of(2);
        let values = (0..size.pixels()).map(|i| if apart(i) { 255 } else { 0 }).collect();
        let reason = segment(&Grey { size, values }, &params(0, Targets::Components)).unwrap_err();
        assert_eq!(reason, "the mask falls into more than 1000000 pieces: that is noise");
    }

    fn flood(grey: &Grey) -> Vec<Mask> {
        let (width, height) = (grey.size.width as usize, grey.size.height as usize);
        let mut left: Vec<bool> = grey.values.iter().map(|&v| v > 0).collect();
        let mut found = Vec::new();
        while let Some(start) = left.iter().position(|&p| p) {
            let mut pixels = vec![false; left.len()];
            let mut stack = vec![start];
            while let Some(at) = stack.pop() {
                if !std::mem::take(&mut left[at]) {
                    continue;
                }
                pixels[at] = true;
                let (x, y) = (at % width, at / width);
                for y in y.saturating_sub(1)..(y + 2).min(height) {
                    stack.extend((x.saturating_sub(1)..(x + 2).min(width)).map(|x| y * width + x));
                }
            }
            found.push(Mask::new(grey.size, pixels));
        }
        found
    }

    #[test]
    fn specks_go_and_the_largest_stays() {
        let mask = grey(&["#....", "...##", "...##", "##..."]);
        let found = segment(&mask, &params(2, Targets::Whole)).unwrap();
        assert_eq!((found.specks, found.components, found.corner_speck), (1, 2, true));
        let found = segment(&mask, &params(100, Targets::Whole)).unwrap();
        assert_eq!((found.specks, found.components), (2, 1));
        assert_eq!(found.pieces[0].runs.bounding_box(), Some(PixelBox { x0: 3, y0: 1, x1: 4, y1: 2 }));
        let found = segment(&mask, &params(0, Targets::Whole)).unwrap();
        assert_eq!((found.specks, found.components, found.pieces[0].components), (0, 3, 3));
    }

    #[test]
    fn each_component_is_a_piece_of_its_own_from_top_to_bottom() {
        let mask = grey(&["...##", ".#...", ".#.##"]);
        let found = segment(&mask, &params(0, Targets::Components)).unwrap();
        let boxes: Vec<_> = found.pieces.iter().filter_map(|p| p.runs.bounding_box()).collect();
        assert_eq!(boxes[0], PixelBox { x0: 3, y0: 0, x1: 4, y1: 0 });
        assert_eq!(boxes[1], PixelBox { x0: 1, y0: 1, x1: 1, y1: 2 });
        assert_eq!(boxes[2], PixelBox { x0: 3, y0: 2, x1: 4, y1: 2 });
    }

    #[test]
    fn jpeg_noise_is_seen_and_does_not_move_the_box() {
        let found = segment(&grey(&["2....", "..##1"]), &params(0, Targets::Whole)).unwrap();
        assert!(found.noisy && found.box_moves_above_zero && !found.corner_speck);
        let found = segment(&grey(&[".....", "..##."]), &params(0, Targets::Whole)).unwrap();
        assert!(!found.noisy && !found.box_moves_above_zero && found.touches_border);
    }

    #[test]
    fn an_empty_mask_and_a_misread_one_are_told_apart() {
        let why = |rows: &[&str], params: &MaskParams| segment(&grey(rows), params).unwrap_err();
        let mut params = MaskParams::default();
        assert_eq!(why(&["..", ".."], &params), "the mask is empty");
        assert!(why(&["..", ".1"], &params).contains("looks like 0/1, set mask.threshold = 1"));
        assert!(why(&["..", ".7"], &params).contains("0/7, set mask.threshold = 7"));
        assert!(why(&[".2", ".1"], &params).contains("mask.labels"));
        params.labels = vec![3, 4];
        let reason = why(&[".2", ".1"], &params);
        assert!(reason.contains("[3, 4]") && reason.contains("0, 1, 2"), "{reason}");
        params.labels = vec![2];
        assert_eq!(segment(&grey(&[".2", "#1"]), &params).unwrap().pieces[0].runs.area(), 1);
    }
}
