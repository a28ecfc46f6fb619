//! Parquet files in the layout of Hugging Face `datasets`.

use super::pages::Claims;
use super::{At, Batches, Dataset, Raw, Sample, below, entries, too_large};
use crate::error::IngestError;
use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, downcast_integer_array};
use arrow_schema::{DataType, Schema};
use resect_ingest_params::split_of_file;
use std::collections::BTreeSet;
use std::fs::File;
use std::iter::Peekable;
use std::path::{Path, PathBuf};

/// The columns that the settings name.
pub struct Columns<'a> {
    pub image_column: &'a str,
    pub mask_column: &'a str,
    pub id_column: &'a str,
    pub group_column: &'a str,
}

/// The files of a dataset and the columns that hold its pictures.
pub struct Tables {
    files: Vec<PathBuf>,
    image_column: String,
    mask_column: String,
    max_bytes: u64,
}

/// Names are listed so many rows at a time.
const NAME_ROWS: usize = 8192;

pub fn open(dir: &Path, columns: Columns, max_bytes: u64) -> Result<Dataset, IngestError> {
    let mut files = Vec::new();
    find(dir, &mut files)?;
    if files.is_empty() {
        return Err(IngestError::layout(dir, "holds no .parquet file"));
    }
    let stems: Vec<String> = files
        .iter()
        .map(|file| file.file_stem().unwrap_or_default().to_string_lossy().into_owned())
        .collect();
    // `train/0000.parquet` and `test/0000.parquet`: stems that repeat do not name a row, paths do.
    let repeat = stems.iter().collect::<BTreeSet<_>>().len() < stems.len();
    let mut samples = Vec::new();
    for (file, path) in files.iter().enumerate() {
        let place = below(dir, path);
        let given_split = split_of_file(&place).to_owned();
        let prefix =
            if repeat { place.trim_end_matches(".parquet").replace('/', "-") } else { stems[file].clone() };
        for (row, name) in names(path, &columns, max_bytes)?.into_iter().enumerate() {
            let mut sample = Sample {
                place: format!("{place} row {row}"),
                id: name.id.unwrap_or_default(),
                given_split: given_split.clone(),
                group: name.group.clone().unwrap_or_default(),
                flaw: None,
                at: At::Row { file, row },
            };
            if columns.id_column.is_empty() {
                sample.id = format!("{prefix}-{row}");
            }
            let grouped = columns.group_column.is_empty() || !sample.group.is_empty();
            sample.flaw_unless(grouped, || format!("its {} is empty", columns.group_column));
            samples.push(sample);
        }
    }
    let tables = Tables {
        files,
        image_column: columns.image_column.into(),
        mask_column: columns.mask_column.into(),
        max_bytes,
    };
    Ok(Dataset { samples, ignored_files: 0, max_bytes, tables: Some(tables) })
}

fn find(dir: &Path, files: &mut Vec<PathBuf>) -> Result<(), IngestError> {
    for path in entries(dir)? {
        if path.is_dir() {
            find(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "parquet") {
            // Rows are named by it.
            if path.file_name().is_none_or(|name| name.to_str().is_none()) {
                return Err(IngestError::layout(&path, "its name is not valid UTF-8; rename it"));
            }
            files.push(path);
        }
    }
    Ok(())
}

struct Name {
    id: Option<String>,
    group: Option<String>,
}

/// Names and groups of every row; the pictures are not read, their columns are checked.
fn names(path: &Path, columns: &Columns, max_bytes: u64) -> Result<Vec<Name>, IngestError> {
    let builder = builder(path)?;
    let schema = builder.schema().clone();
    for (setting, column) in [("image_column", columns.image_column), ("mask_column", columns.mask_column)] {
        let data_type = schema.field(index_of(path, &schema, setting, column)?).data_type();
        if !holds_pictures(data_type) {
            let message = format!(
                "holds {data_type} in column \"{column}\" (layout.{setting}): expected binary, or a struct of \
                 binary bytes and path"
            );
            return Err(IngestError::layout(path, message));
        }
    }
    let rows = rows(path, &builder)?;
    let mut names: Vec<Name> = Vec::with_capacity(rows);
    let texts = [("id_column", columns.id_column), ("group_column", columns.group_column)];
    let wanted: Vec<usize> = texts
        .iter()
        .filter(|(_, column)| !column.is_empty())
        .map(|(setting, column)| index_of(path, &schema, setting, column))
        .collect::<Result<_, _>>()?;
    if wanted.is_empty() {
        names.resize_with(rows, || Name { id: None, group: None });
        return Ok(names);
    }
    let projection = ProjectionMask::roots(builder.parquet_schema(), wanted);
    claims(path, &builder, &projection, max_bytes)?;
    let mut reader = build(path, builder.with_projection(projection).with_batch_size(NAME_ROWS))?;
    while let Some(batch) = next(path, &mut reader) {
        let batch = batch?;
        let [ids, groups] = texts.map(|(_, column)| text_column(path, &batch, column));
        for (id, group) in ids?.into_iter().zip(groups?) {
            names.push(Name { id, group });
        }
    }
    if names.len() < rows {
        return Err(ends_early(path, names.len()));
    }
    Ok(names)
}

/// The rows that the footer promises. One that promises more rows than the file has bytes lies: each row is to hold two pictures.
fn rows(path: &Path, builder: &ParquetRecordBatchReaderBuilder<File>) -> Result<usize, IngestError> {
    let failed = |source| IngestError::Read { path: path.into(), source };
    let bytes = std::fs::metadata(path).map_err(failed)?.len();
    let rows = builder.metadata().file_metadata().num_rows();
    let possible = u64::try_from(rows).ok().filter(|&rows| rows <= bytes);
    possible.and_then(|rows| usize::try_from(rows).ok()).ok_or_else(|| {
        IngestError::layout(path, format!("is damaged: its footer states {rows} rows in {bytes} bytes"))
    })
}

fn ends_early(path: &Path, rows: usize) -> IngestError {
    IngestError::layout(path, format!("is damaged: it has {rows} rows, its footer states more"))
}

/// What the pages of the wanted columns claim to hold, where that is within the limit.
fn claims(
    path: &Path,
    builder: &ParquetRecordBatchReaderBuilder<File>,
    wanted: &ProjectionMask,
    max_bytes: u64,
) -> Result<Claims, IngestError> {
    let file = File::open(path).map_err(|source| IngestError::Read { path: path.into(), source })?;
    let mut claims = Claims::default();
    for group in builder.metadata().row_groups() {
        let columns = group.columns().iter().enumerate();
        for (_, column) in columns.filter(|(leaf, _)| wanted.leaf_included(*leaf)) {
            claims.add(&file, column).map_err(|e| damaged(path, e))?;
            if claims.page > max_bytes {
                let message = format!(
                    "has a page of {} bytes in column \"{}\", more than ingest.max_bytes = {max_bytes}",
                    claims.page,
                    column.column_path().string()
                );
                return Err(IngestError::layout(path, message));
            }
        }
    }
    Ok(claims)
}

/// A column as text, row by row: names are sometimes numbers. All rows are empty where the column is not wanted.
fn text_column(path: &Path, batch: &RecordBatch, column: &str) -> Result<Vec<Option<String>>, IngestError> {
    let Some(array) = batch.column_by_name(column) else { return Ok(vec![None; batch.num_rows()]) };
    let array = array.as_ref();
    downcast_integer_array!(
        array => Ok(array.iter().map(|number| number.map(|number| number.to_string())).collect()),
        DataType::Utf8 => Ok(array.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()),
        other => Err(IngestError::layout(path, format!("holds {other} in column \"{column}\", not text")))
    )
}

fn holds_pictures(data_type: &DataType) -> bool {
    match data_type {
        DataType::Struct(fields) => {
            fields.find("bytes").is_some_and(|(_, f)| *f.data_type() == DataType::Binary)
        }
        other => *other == DataType::Binary,
    }
}

/// The encoded picture in a row.
fn picture(column: Option<&ArrayRef>, row: usize, kind: &str, max_bytes: u64) -> Result<Vec<u8>, String> {
    let missing = || format!("it has no {kind}");
    let mut column = column.ok_or_else(missing)?;
    if let Some(parts) = column.as_struct_opt() {
        if parts.is_null(row) {
            return Err(missing());
        }
        column = parts.column_by_name("bytes").ok_or_else(missing)?;
        if column.is_null(row) {
            return Err(format!("its {kind} is a path without bytes: embed the files in the dataset"));
        }
    }
    if column.is_null(row) {
        return Err(missing());
    }
    let bytes = column.as_binary_opt::<i32>().ok_or_else(missing)?.value(row);
    too_large(kind, bytes.len() as u64, max_bytes).map_or_else(|| Ok(bytes.to_vec()), Err)
}

impl Tables {
    /// Reads the pictures of the samples that are not flawed, row group by row group, at most `size` rows at once.
    pub fn batches<'a>(&'a self, samples: &'a [Sample], size: usize) -> Result<Batches<'a>, IngestError> {
        let mut wanted: Vec<Vec<(usize, usize)>> = vec![Vec::new(); self.files.len()];
        for (index, sample) in samples.iter().enumerate() {
            if let (None, At::Row { file, row }) = (&sample.flaw, &sample.at) {
                wanted[*file].push((*row, index));
            }
        }
        Ok(Box::new(self.files.iter().zip(wanted).flat_map(move |(path, wanted)| {
            match self.batches_of(path, wanted, size) {
                Ok(batches) => batches,
                Err(error) => Box::new(std::iter::once(Err(error))),
            }
        })))
    }

    /// `wanted`: row and sample, by row.
    fn batches_of<'a>(
        &'a self,
        path: &'a Path,
        wanted: Vec<(usize, usize)>,
        size: usize,
    ) -> Result<Batches<'a>, IngestError> {
        let Some(&(last, _)) = wanted.last() else { return Ok(Box::new(std::iter::empty())) };
        let builder = builder(path)?;
        let schema = builder.schema().clone();
        let roots = [
            index_of(path, &schema, "image_column", &self.image_column)?,
            index_of(path, &schema, "mask_column", &self.mask_column)?,
        ];
        let projection = ProjectionMask::roots(builder.parquet_schema(), roots);
        let claims = claims(path, &builder, &projection, self.max_bytes)?;
        // Each row of a batch may be the one large picture of a dictionary.
        let size =
            size.min(usize::try_from(self.max_bytes / claims.dictionary.max(1)).unwrap_or(size)).max(1);
        let reader = builder.with_projection(projection).with_batch_size(size).with_limit(last + 1);
        let mut reader = build(path, reader)?;
        let (mut first, mut wanted) = (0, wanted.into_iter().peekable());
        Ok(Box::new(std::iter::from_fn(move || {
            let Some(batch) = next(path, &mut reader) else {
                // Said once: nothing is wanted after it.
                return wanted.by_ref().last().map(|_| Err(ends_early(path, first)));
            };
            Some(batch.map(|batch| {
                let raws = self.raws(&batch, first, &mut wanted);
                first += batch.num_rows();
                raws
            }))
        })))
    }

    /// The pictures of the wanted rows of a batch, whose first row has the number `first` in its file.
    fn raws(
        &self,
        batch: &RecordBatch,
        first: usize,
        wanted: &mut Peekable<impl Iterator<Item = (usize, usize)>>,
    ) -> Vec<Raw> {
        let image = batch.column_by_name(&self.image_column);
        let mask = batch.column_by_name(&self.mask_column);
        let mut raws = Vec::new();
        while let Some((row, sample)) = wanted.next_if(|&(row, _)| row < first + batch.num_rows()) {
            let row = row - first;
            raws.push(Raw {
                sample,
                image: picture(image, row, "image", self.max_bytes),
                mask: picture(mask, row, "mask", self.max_bytes),
            });
        }
        raws
    }
}

fn builder(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>, IngestError> {
    let file = File::open(path).map_err(|source| IngestError::Read { path: path.into(), source })?;
    // What Parquet itself says of a column is plain: binary, text, numbers. The Arrow types it was written from, which writers
    // note beside it, would add large, view and dictionary forms of the same.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    guarded(path, || ParquetRecordBatchReaderBuilder::try_new_with_options(file, options))
}

fn build(
    path: &Path,
    builder: ParquetRecordBatchReaderBuilder<File>,
) -> Result<ParquetRecordBatchReader, IngestError> {
    guarded(path, || builder.build())
}

fn next(path: &Path, reader: &mut ParquetRecordBatchReader) -> Option<Result<RecordBatch, IngestError>> {
    guarded(path, || reader.next().transpose()).transpose()
}

/// What the reader says; a bug that a damaged file finds in it is an error of that file.
fn guarded<T, E: std::fmt::Display>(
    path: &Path,
    read: impl FnOnce() -> Result<T, E>,
) -> Result<T, IngestError> {
    match resect_caught::caught(read) {
        Some(read) => read.map_err(|e| damaged(path, e)),
        None => Err(damaged(path, "its reader gave up on it")),
    }
}

fn damaged(path: &Path, error: impl std::fmt::Display) -> IngestError {
    IngestError::layout(path, format!("cannot be read as Parquet: {error}"))
}

/// The position of a column; or an error that says what there is instead.
fn index_of(path: &Path, schema: &Schema, setting: &'static str, column: &str) -> Result<usize, IngestError> {
    if let Ok(index) = schema.index_of(column) {
        return Ok(index);
    }
    let available: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    let likeness = |name: &String| strsim::jaro_winkler(&name.to_lowercase(), &column.to_lowercase());
    let nearest = available.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    Err(IngestError::Column {
        path: path.into(),
        setting,
        column: column.into(),
        nearest: nearest.filter(|name| likeness(name) > 0.7).cloned(),
        available,
    })
}
