//! Prompts files.
//!
//! **CSV**, with a header; columns in any order:
//!
//! | column | |
//! |---|---|
//! | `image` | required: a file name |
//! | `x0`, `y0`, `x1`, `y1` | a box |
//! | `x`, `y`, `label` | a point; the label is 1, 0 or -1 |
//! | `mask` | a file with a mask to start from, relative to the prompts file |
//! | `prompt` | rows of an image with the same text here are one prompt: at most one box, any number of points |
//!
//! A row holds a box, a point, a mask or several of these. Rows without `prompt` follow the rules of the command line
//! ([`arrange`]): each box is a prompt, and points belong to the image's one box.
//!
//! **JSON**: a list of prompts, `{"image": "a.png", "box": [x0, y0, x1, y1], "points": [[x, y, label], ...], "mask": "m.png"}`,
//! of which `image` and one other must be there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::{ArrangeError, BoxPrompt, PointPrompt, Prompt, PromptError, arrange};

/// The prompts for one image, in the order of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct ImagePrompts {
    /// The image as the file names it.
    pub image: String,
    /// Its prompts.
    pub prompts: Vec<Prompt>,
}

/// A prompts file that cannot be used. Messages leave their source to the one who prints the chain.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be opened or read.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Its name ends in neither of the two.
    #[error("{}: prompts come from a .csv or .json file", path.display())]
    Kind {
        /// The file.
        path: PathBuf,
    },
    /// Something in it is wrong.
    #[error("{}, {place}: {message}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Where: "line 3, x0", "[2].box".
        place: String,
        /// What is wrong.
        message: String,
    },
    /// It holds no prompt.
    #[error("{} holds no prompt", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// Reads a prompts file: images in the order in which each first occurs.
///
/// # Errors
/// A file that cannot be read, or the first thing in it that is wrong, with its place.
pub fn read(path: &Path) -> Result<Vec<ImagePrompts>, FileError> {
    let kind = path.extension().map(|kind| kind.to_string_lossy().to_lowercase());
    let parse = match kind.as_deref() {
        Some("csv") => csv_prompts,
        Some("json") => json_prompts,
        _ => return Err(FileError::Kind { path: path.into() }),
    };
    let text = std::fs::read(path).map_err(|source| FileError::Io { path: path.into(), source })?;
    let prompts = parse(path, &text)?;
    if prompts.is_empty() { Err(FileError::Empty { path: path.into() }) } else { Ok(prompts) }
}

fn wrong(path: &Path, place: String, message: impl ToString) -> FileError {
    FileError::Content { path: path.into(), place, message: message.to_string() }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A mask file is named relative to the prompts file.
fn beside(path: &Path, mask: &str) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).join(mask)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    image: String,
    #[serde(rename = "box", default)]
    bounds: Option<BoxPrompt>,
    #[serde(default)]
    points: Vec<PointPrompt>,
    #[serde(default)]
    mask: Option<String>,
}

fn json_prompts(path: &Path, text: &[u8]) -> Result<Vec<ImagePrompts>, FileError> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let entries: Vec<Entry> = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let place = error.path().to_string();
        wrong(path, if place == "." { "at its top".into() } else { place }, error.inner())
    })?;
    reader.end().map_err(|error| wrong(path, "at its end".into(), error))?;
    let mut images: Ordered<Vec<Prompt>> = Ordered::default();
    for (index, entry) in entries.into_iter().enumerate() {
        let mask = entry.mask.map(|mask| beside(path, &mask));
        let prompt = Prompt {
            bounds: entry.bounds,
            points: entry.points,
            mask,
            from: format!("{}, [{index}]", name(path)),
        };
        if prompt.bounds.is_none() && prompt.points.is_empty() && prompt.mask.is_none() {
            return Err(wrong(path, format!("[{index}]"), "it has neither box nor points nor mask"));
        }
        images.of(entry.image).push(prompt);
    }
    Ok(images.list.into_iter().map(|(image, prompts)| ImagePrompts { image, prompts }).collect())
}

const COLUMNS: [&str; 10] = ["image", "prompt", "x0", "y0", "x1", "y1", "x", "y", "label", "mask"];

/// What the rows of one prompt, or those of an image without `prompt`, say.
#[derive(Default)]
struct Rows {
    boxes: Vec<(BoxPrompt, String)>,
    points: Vec<PointPrompt>,
    mask: Option<PathBuf>,
    /// Of the first of them.
    line: u64,
}

fn csv_prompts(path: &Path, text: &[u8]) -> Result<Vec<ImagePrompts>, FileError> {
    // Spreadsheets begin a file with this mark.
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text);
    let unreadable = |error: csv::Error| {
        let place = error.position().map_or_else(|| "at its top".into(), |at| format!("line {}", at.line()));
        wrong(path, place, error)
    };
    let header = reader.headers().map_err(unreadable)?.clone();
    if let Some(other) = header.iter().find(|column| !COLUMNS.contains(column)) {
        let message = format!("there is no column \"{other}\"; there are {}", COLUMNS.join(", "));
        return Err(wrong(path, "line 1".into(), message));
    }
    if !header.iter().any(|column| column == "image") {
        return Err(wrong(path, "line 1".into(), "the column \"image\" is missing"));
    }
    // Image, then the text under `prompt`, both in the order of the file.
    let mut images: Ordered<Ordered<Rows>> = Ordered::default();
    for record in reader.records() {
        let record = record.map_err(unreadable)?;
        let line = record.position().map_or(0, csv::Position::line);
        let row = Row { path, line, fields: header.iter().zip(&record).collect() };
        let image = row.text("image").ok_or_else(|| row.wrong("image", "it is empty"))?;
        let (bounds, point, mask) = (row.bounds()?, row.point()?, row.text("mask"));
        if bounds.is_none() && point.is_none() && mask.is_none() {
            return Err(wrong(path, format!("line {line}"), "it has neither box nor point nor mask"));
        }
        let prompt = row.text("prompt").unwrap_or_default();
        let rows = images.of(image.to_owned()).of(prompt.to_owned());
        if rows.line == 0 {
            rows.line = line;
        }
        if !prompt.is_empty() && bounds.is_some() && !rows.boxes.is_empty() {
            return Err(row.wrong("prompt", format!("prompt {prompt} of {image} has a box already")));
        }
        rows.boxes.extend(bounds.map(|bounds| (bounds, format!("{}, line {line}", name(path)))));
        rows.points.extend(point);
        if let Some(mask) = mask
            && rows.mask.replace(beside(path, mask)).is_some()
        {
            return Err(row.wrong("mask", "there is one for this prompt already"));
        }
    }
    let mut found = Vec::new();
    for (image, prompts) in images.list {
        let mut all = Vec::new();
        for Rows { boxes, points, mask, line } in prompts.list.into_iter().map(|(_, rows)| rows) {
            let from = format!("{}, line {line}", name(path));
            all.extend(arrange(boxes, points, mask, from).map_err(|error| {
                let hint = match error {
                    ArrangeError::Nothing => "",
                    _ => "; give rows of one prompt the same text in a column \"prompt\"",
                };
                wrong(path, format!("line {line}"), format!("{image}: {error}{hint}"))
            })?);
        }
        found.push(ImagePrompts { image, prompts: all });
    }
    Ok(found)
}

struct Row<'a> {
    path: &'a Path,
    line: u64,
    fields: BTreeMap<&'a str, &'a str>,
}

impl Row<'_> {
    fn text(&self, column: &str) -> Option<&str> {
        self.fields.get(column).copied().filter(|text| !text.is_empty())
    }

    fn wrong(&self, column: &str, message: impl ToString) -> FileError {
        wrong(self.path, format!("line {}, {column}", self.line), message)
    }

    /// The numbers in some columns: all of them or none.
    fn numbers<const N: usize>(&self, columns: [&str; N]) -> Result<Option<[f64; N]>, FileError> {
        if columns.iter().all(|column| self.text(column).is_none()) {
            return Ok(None);
        }
        let mut numbers = [0.0; N];
        for (number, column) in numbers.iter_mut().zip(columns) {
            let text = self.text(column).ok_or_else(|| {
                self.wrong(column, format!("it is empty, although others of {} are not", columns.join(", ")))
            })?;
            *number = text.parse().map_err(|_| self.wrong(column, format!("\"{text}\" is no number")))?;
        }
        Ok(Some(numbers))
    }

    fn bounds(&self) -> Result<Option<BoxPrompt>, FileError> {
        let numbers = self.numbers(["x0", "y0", "x1", "y1"])?;
        numbers.map(BoxPrompt::new).transpose().map_err(|error| self.of_row(error))
    }

    fn point(&self) -> Result<Option<PointPrompt>, FileError> {
        let numbers = self.numbers(["x", "y", "label"])?;
        numbers.map(PointPrompt::new).transpose().map_err(|error| self.of_row(error))
    }

    fn of_row(&self, error: PromptError) -> FileError {
        wrong(self.path, format!("line {}", self.line), error)
    }
}

/// A map that keeps the order in which its names came.
struct Ordered<T> {
    list: Vec<(String, T)>,
    places: BTreeMap<String, usize>,
}

impl<T> Default for Ordered<T> {
    fn default() -> Self {
        Self { list: Vec::new(), places: BTreeMap::new() }
    }
}

impl<T: Default> Ordered<T> {
    fn of(&mut self, name: String) -> &mut T {
        let place = *self.places.entry(name.clone()).or_insert(self.list.len());
        if place == self.list.len() {
            self.list.push((name, T::default()));
        }
        &mut self.list[place].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str, text: &str) -> Result<Vec<ImagePrompts>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        read(&path).map_err(|error| error.to_string())
    }

    /// Of each prompt: whether it has a box, how many points, whether it has a mask.
    type Shape = (bool, usize, bool);

    fn shape(images: &[ImagePrompts]) -> Vec<(&str, Vec<Shape>)> {
        let prompt = |p: &Prompt| (p.bounds.is_some(), p.points.len(), p.mask.is_some());
        images.iter().map(|i| (i.image.as_str(), i.prompts.iter().map(prompt).collect())).collect()
    }

    #[test]
    fn csv_rows_are_boxes_and_points_of_an_image() {
        let text = "\u{feff}image, x0, y0, x1, y1\nb.png, 1, 2, 3.5, 4\na.png,0,0,5,5\nb.png,7,7,9,9\n";
        let found = parse("prompts.csv", text).unwrap();
        assert_eq!(shape(&found), [("b.png", vec![(true, 0, false); 2]), ("a.png", vec![(true, 0, false)])]);
        assert_eq!(found[0].prompts[1].from, "prompts.csv, line 4");
        assert_eq!(found[0].prompts[0].bounds.unwrap().x1, 3.5);
        let text = "image,prompt,x0,y0,x1,y1,x,y,label,mask\n\
                    a.png,left,1,2,3,4,,,,\na.png,left,,,,,2,3,1,\na.png,right,5,5,9,9,6,6,0,m.png\na.png,left,,,,,2,2,0,";
        assert_eq!(
            shape(&parse("p.CSV", text).unwrap()),
            [("a.png", vec![(true, 2, false), (true, 1, true)])]
        );
        let text = "image,x,y,label\na.png,1,2,1\na.png,3,4,-1\n";
        assert_eq!(shape(&parse("p.csv", text).unwrap()), [("a.png", vec![(false, 2, false)])]);
    }

    #[test]
    fn what_is_wrong_with_csv_is_said_with_its_line_and_column() {
        for (text, want) in [
            ("image,x0,y0,x1,y1\na.png,1,b,3,4", "p.csv, line 2, y0: \"b\" is no number"),
            ("image,x0,y0,x1,y1\na.png,1,,3,4", "line 2, y0: it is empty, although"),
            ("image,x0,y0,x1,y1\na.png,5,1,3,4", "line 2: the box 5,1,3,4 is empty"),
            ("image,x,y,label\na.png,5,1,7", "line 2: the label 7 is none"),
            ("image,x,y,label\n,5,1,1", "line 2, image: it is empty"),
            ("image,x,y,lable\na.png,5,1,1", "line 1: there is no column \"lable\""),
            ("x,y,label\n5,1,1", "line 1: the column \"image\" is missing"),
            ("image,x,y,label\na.png,,,", "line 2: it has neither box nor point"),
            ("image,x,y,label\na.png,1", "line 2"),
            (
                "image,x0,y0,x1,y1,x,y,label\na.png,1,1,3,4,,,\na.png,1,1,3,4,2,2,1",
                "line 2: a.png: there are points beside 2 boxes, and it is not said which belongs to which; give rows",
            ),
            (
                "image,prompt,x0,y0,x1,y1\na,k,1,1,3,4\na,k,1,1,3,4",
                "line 3, prompt: prompt k of a has a box already",
            ),
            ("image,x0,y0,x1,y1\n", "holds no prompt"),
        ] {
            let error = parse("p.csv", text).unwrap_err();
            assert!(error.contains(want), "{want}\nis not in\n{error}");
        }
    }

    #[test]
    fn json_is_a_list_of_prompts() {
        let text = r#"[{"image": "a.png", "box": [1, 2, 3, 4], "points": [[1, 2, 0]]}, {"image": "b.png", "mask": "m.png"},
            {"image": "a.png", "points": [[1.5, 2, 1], [3, 3, -1]]}]"#;
        assert_eq!(
            shape(&parse("p.json", text).unwrap()),
            [("a.png", vec![(true, 1, false), (false, 2, false)]), ("b.png", vec![(false, 0, true)])]
        );
        for (text, want) in [
            (r#"[{"image": "a", "box": [1, 2, 3]}]"#, "p.json, [0].box"),
            (r#"[{"image": "a", "box": [9, 2, 3, 4]}]"#, "[0].box: the box 9,2,3,4 is empty"),
            (r#"[{"image": "a", "points": [[1, 2, 1], [1, 2, 7]]}]"#, "[0].points[1]: the label 7 is none"),
            (r#"[{"image": "a", "points": []}]"#, "[0]: it has neither"),
            (r#"[{"image": "a", "bx": [1, 2, 3, 4]}]"#, "unknown field `bx`"),
            (r#"[{"box": [1, 2, 3, 4]}]"#, "missing field `image`"),
            (r#"{"image": "a"}"#, "at its top: invalid type: map"),
            ("[", "EOF while parsing"),
            ("[]", "holds no prompt"),
        ] {
            let error = parse("p.json", text).unwrap_err();
            assert!(error.contains(want), "{want}\nis not in\n{error}");
        }
        assert!(parse("p.txt", "").unwrap_err().contains("a .csv or .json file"));
    }
}
