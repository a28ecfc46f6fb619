//! `images/` and `masks/`, matched by file stem, and an optional `splits.csv`.

use super::{At, Batches, Dataset, Raw, Sample, entries, too_large};
use crate::error::IngestError;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const EXTENSIONS: [&str; 7] = ["png", "jpg", "jpeg", "tif", "tiff", "bmp", "webp"];
const SPLITS: &str = "splits.csv";

pub fn open(dir: &Path, max_bytes: u64) -> Result<Dataset, IngestError> {
    let mut pairs: BTreeMap<String, [Vec<PathBuf>; 2]> = BTreeMap::new();
    let mut ignored_files = 0;
    for (index, name) in ["images", "masks"].into_iter().enumerate() {
        let folder = dir.join(name);
        if !folder.is_dir() {
            let message = format!("has no folder {name}/: a folder dataset holds images/ and masks/");
            return Err(IngestError::layout(dir, message));
        }
        for path in entries(&folder)? {
            match stem_of_image(&path) {
                Some(stem) => pairs.entry(stem).or_default()[index].push(path),
                None => ignored_files += 1,
            }
        }
    }
    let mut samples: Vec<Sample> = pairs.into_iter().map(|(id, files)| sample(id, files)).collect();
    let splits = dir.join(SPLITS);
    if splits.is_file() {
        let rows = read_splits(&splits)?;
        assign(&mut samples, rows);
    }
    Ok(Dataset { samples, ignored_files, max_bytes, tables: None })
}

/// The name of the sample an image or mask belongs to; `None` for other files.
fn stem_of_image(path: &Path) -> Option<String> {
    let extension = path.extension()?.to_str()?.to_ascii_lowercase();
    let hidden = path.file_name()?.as_encoded_bytes().starts_with(b".");
    (!hidden && path.is_file() && EXTENSIONS.contains(&extension.as_str()))
        .then(|| path.file_stem().unwrap_or_default().to_string_lossy().into_owned())
}

fn sample(id: String, [images, masks]: [Vec<PathBuf>; 2]) -> Sample {
    let name = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let only = |paths: &[PathBuf], folder: &str, kind: &str| match paths {
        [path] => Ok(path.clone()),
        [] => Err(format!("there is no {kind} {folder}/{id}.*")),
        several => {
            let names: Vec<String> = several.iter().map(name).collect();
            Err(format!("{folder}/ holds several files of its name: {}", names.join(", ")))
        }
    };
    let image = only(&images, "images", "image");
    let mask = only(&masks, "masks", "mask");
    let place = match (images.first(), masks.first()) {
        (Some(path), _) => format!("images/{}", name(path)),
        (None, Some(path)) => format!("masks/{}", name(path)),
        (None, None) => id.clone(),
    };
    let flaw = id.contains('\u{fffd}').then(|| "its name is not UTF-8".to_owned());
    Sample {
        place,
        id,
        given_split: String::new(),
        group: String::new(),
        flaw,
        at: At::Files { image, mask },
    }
}

struct SplitRow {
    place: String,
    split: String,
    group: Option<String>,
}

fn read_splits(path: &Path) -> Result<BTreeMap<String, SplitRow>, IngestError> {
    let text = std::fs::read(path).map_err(|source| IngestError::Read { path: path.into(), source })?;
    // Spreadsheets put a byte order mark before the first header.
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
    let fail = |message: String| IngestError::layout(path, message);
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text);
    let headers = reader.headers().map_err(|e| fail(format!("is not a table: {e}")))?.clone();
    let column = |name: &str| headers.iter().position(|header| header == name);
    let (Some(id), Some(split)) = (column("id"), column("split")) else {
        let found: Vec<&str> = headers.iter().collect();
        let message = format!("needs the columns id,split[,group], its header is {}", found.join(","));
        return Err(fail(message));
    };
    let group = column("group");
    let mut rows = BTreeMap::new();
    for record in reader.records() {
        let record = record.map_err(|e| fail(format!("cannot be read: {e}")))?;
        let line = record.position().map_or(0, |position| position.line());
        let row = SplitRow {
            place: format!("{SPLITS} line {line}"),
            split: record[split].to_owned(),
            group: group.map(|group| record[group].to_owned()),
        };
        if rows.insert(record[id].to_owned(), row).is_some() {
            return Err(fail(format!("names {} twice, the second time in line {line}", &record[id])));
        }
    }
    Ok(rows)
}

/// Splits and groups of the samples that the table names; a sample or a row left over is flawed.
fn assign(samples: &mut Vec<Sample>, mut rows: BTreeMap<String, SplitRow>) {
    for sample in samples.iter_mut() {
        let Some(row) = rows.remove(&sample.id) else {
            sample.flaw_unless(false, || format!("{SPLITS} does not name it"));
            continue;
        };
        sample.flaw_unless(row.group.as_deref() != Some(""), || format!("{SPLITS} gives it no group"));
        sample.given_split = row.split;
        sample.group = row.group.unwrap_or_default();
    }
    samples.extend(rows.into_iter().map(|(id, row)| Sample {
        place: row.place,
        id,
        given_split: row.split,
        group: row.group.unwrap_or_default(),
        flaw: Some("it has neither an image nor a mask".into()),
        at: At::Nowhere,
    }));
    samples.sort_by(|a, b| a.id.cmp(&b.id));
}

pub fn batches(samples: &[Sample], size: usize, max_bytes: u64) -> Batches<'_> {
    let usable: Vec<usize> = (0..samples.len()).filter(|&i| samples[i].flaw.is_none()).collect();
    let mut rest = usable.into_iter();
    Box::new(std::iter::from_fn(move || {
        let batch: Vec<usize> = rest.by_ref().take(size).collect();
        (!batch.is_empty()).then(|| batch.into_iter().map(|index| raw(samples, index, max_bytes)).collect())
    }))
}

fn raw(samples: &[Sample], index: usize, max_bytes: u64) -> Result<Raw, IngestError> {
    match &samples[index].at {
        At::Files { image, mask } => Ok(Raw {
            sample: index,
            image: read(image, "image", max_bytes)?,
            mask: read(mask, "mask", max_bytes)?,
        }),
        _ => {
            let nothing = || Err("it has no files".to_owned());
            Ok(Raw { sample: index, image: nothing(), mask: nothing() })
        }
    }
}

/// The bytes of a file, or why it is left out.
fn read(
    path: &Result<PathBuf, String>,
    kind: &str,
    max_bytes: u64,
) -> Result<Result<Vec<u8>, String>, IngestError> {
    let path = match path {
        Ok(path) => path,
        Err(reason) => return Ok(Err(reason.clone())),
    };
    let failed = |source| IngestError::Read { path: path.clone(), source };
    let length = std::fs::metadata(path).map_err(failed)?.len();
    match too_large(kind, length, max_bytes) {
        Some(reason) => Ok(Err(reason)),
        None => Ok(Ok(std::fs::read(path).map_err(failed)?)),
    }
}
