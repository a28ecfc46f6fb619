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

use crate::{ArrangeError, BoxPrompt, PointPrompt, Prompt, PromptError, WrittenPrompt, arrange};

/// The prompts for one image, in the order of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct ImagePrompts {
    /// The image as the file names it.
    pub image: String,
    /// Its prompts.
    pub prompts: Vec<WrittenPrompt>,
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
    let mut images: Ordered<Vec<WrittenPrompt>> = Ordered::default();
    for (index, entry) in entries.into_iter().enumerate() {
        let mask = entry.mask.map(|mask| beside(path, &mask));
        let prompt = Prompt { bounds: entry.bounds, points: entry.points, mask };
        if prompt.is_empty() {
            return Err(wrong(path, format!("[{index}]"), "it has neither box nor points nor mask"));
        }
        let from = format!("{}, [{index}]", name(path));
        images.of(entry.image).push(WrittenPrompt { prompt, from });
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
mod tests;
